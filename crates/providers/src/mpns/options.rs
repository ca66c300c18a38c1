//! The bounds of an MPNS client, each with the number that someone chose.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;

use crate::identity::Identity;

/// Times and bounds of an [`MpnsClient`](super::MpnsClient).
#[derive(Clone, Debug)]
pub struct MpnsOptions {
    /// From the look-up of the name to the end of the TLS handshake; 5 s.
    pub connect_timeout: Duration,
    /// From `send` to its outcome; 10 s.
    pub exchange_timeout: Duration,
    /// Head of an answer at most, and body at most, each; 64 KiB, at least 8 KiB.
    pub response_bytes: usize,
    /// Whether a channel's host may be, or resolve to, an address that is not public. For tests and closed networks: the channel
    /// URI comes from the wire.
    pub allow_private_addresses: bool,
    /// Whom to trust for `https` channels; nobody.
    pub roots: Arc<RootCertStore>,
    /// The certificate of an authenticated service, shown to `https` channels that ask for it.
    pub identity: Option<Identity>,
    /// Exchanges at once, over all hosts; 256. Those beyond wait.
    pub max_exchanges: usize,
    /// Exchanges at once with one host, so that a slow one leaves room for others; 64.
    pub max_exchanges_per_host: usize,
    /// Connections that are kept open unused, over all hosts; 64.
    pub max_idle: usize,
    /// How long a connection is kept open unused; 30 s.
    pub idle_timeout: Duration,
    /// The first pause after a failed connect to a host, doubled by each further one, with jitter; 250 ms. In it pushes to that host are
    /// deferred at once: most of these hosts went away with the service in 2018.
    pub backoff_first: Duration,
    /// The longest such pause; 30 s.
    pub backoff_longest: Duration,
}

impl Default for MpnsOptions {
    fn default() -> MpnsOptions {
        MpnsOptions {
            connect_timeout: Duration::from_secs(5),
            exchange_timeout: Duration::from_secs(10),
            response_bytes: 64 * 1024,
            allow_private_addresses: false,
            roots: Arc::new(RootCertStore::empty()),
            identity: None,
            max_exchanges: 256,
            max_exchanges_per_host: 64,
            max_idle: 64,
            idle_timeout: Duration::from_secs(30),
            backoff_first: Duration::from_millis(250),
            backoff_longest: Duration::from_secs(30),
        }
    }
}

//! The bounds of an APNs client, each with the number that someone chose.

use std::time::Duration;

/// Times and bounds of an [`ApnsClient`](super::ApnsClient). The defaults are what Apple's service needs.
#[derive(Clone, Debug)]
pub struct ApnsOptions {
    /// From `send` to its outcome: waiting for a stream, writing, the answer and its body, re-sends; 10 s.
    pub exchange_timeout: Duration,
    /// From the look-up of the name to the end of the TLS handshake; 5 s.
    pub connect_timeout: Duration,
    /// How long a connection may be silent, with no push on it, before it is asked with a PING; 60 s.
    pub ping_interval: Duration,
    /// How long nothing may come back while streams wait before the connection is asked with a PING; 1 s.
    pub stall_interval: Duration,
    /// How long the answer to a PING may take before the connection is given up; 3 s.
    pub ping_timeout: Duration,
    /// Connections at most; 4. One carries streams ÷ round trip time pushes a second (1000 / 50 ms = 20 000).
    pub max_connections: usize,
    /// Streams at most on one connection, whatever the peer would allow; 1000, Apple's own number.
    pub max_streams: usize,
    /// Pushes that may wait for a stream; 10 000. At it a push is deferred at once.
    pub max_waiting: usize,
    /// After this without a push a connection beyond the first is closed; 10 min.
    pub idle_timeout: Duration,
    /// The first pause after a failed connect, doubled by each further one, with jitter; 250 ms.
    pub backoff_first: Duration,
    /// The longest pause between two connects to a peer that does not take them; 30 s.
    pub backoff_longest: Duration,
    /// Connects that may follow each other at once; 8. Apple takes rapid reconnects for an attack.
    pub connect_burst: u32,
    /// The pace of connects beyond that; one each 100 ms.
    pub connect_interval: Duration,
    /// Times that a push which the peer provably has not processed (GOAWAY, REFUSED_STREAM) is sent again; 5.
    pub max_resends: u32,
}

impl Default for ApnsOptions {
    fn default() -> ApnsOptions {
        ApnsOptions {
            exchange_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(60),
            stall_interval: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(3),
            max_connections: 4,
            max_streams: 1000,
            max_waiting: 10_000,
            idle_timeout: Duration::from_secs(600),
            backoff_first: Duration::from_millis(250),
            backoff_longest: Duration::from_secs(30),
            connect_burst: 8,
            connect_interval: Duration::from_millis(100),
            max_resends: 5,
        }
    }
}

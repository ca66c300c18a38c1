//! What an APNs client has done and holds, as plain numbers.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A snapshot of one client. Counters only grow; the first five members and the last are gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApnsStats {
    /// Connections that take pushes.
    pub connections: u64,
    /// Pushes on streams, those of connections that are going away too.
    pub streams_in_flight: u64,
    /// Streams that the peer allows now, over all connections that take pushes.
    pub stream_limit: u64,
    /// Pushes that wait for a stream.
    pub waiting: u64,
    /// 1 while the last connects have failed and pushes are deferred at once.
    pub unreachable: u64,
    /// Connections that were made.
    pub connects: u64,
    /// Connects that failed: name, TCP, TLS or HTTP/2.
    pub connect_failures: u64,
    /// Connections that the peer ended with a GOAWAY.
    pub goaways: u64,
    /// Connections that were given up because a PING or every stream stayed unanswered.
    pub stalls: u64,
    /// PINGs that stayed unanswered.
    pub pings_lost: u64,
    /// Pushes that were sent again because the peer proved that it had not processed them.
    pub resent: u64,
    /// Pushes of which nobody can know whether the peer took them.
    pub ambiguous: u64,
    /// Pushes deferred because too many waited for a stream.
    pub queue_full: u64,
    /// Pushes deferred at once because the peer was known to be unreachable.
    pub failed_fast: u64,
    /// Provider tokens that were signed, by all clients that share them.
    pub tokens_minted: u64,
    /// Renewals of the provider token that Apple forced.
    pub token_renewals: u64,
    /// Seconds that Apple's clock was ahead of ours when it last refused a provider token and said the time; 0 before.
    pub clock_skew_seconds: i64,
}

impl ApnsStats {
    /// The counters with their labels, for metrics.
    pub fn events(&self) -> [(&'static str, u64); 11] {
        [
            ("connect", self.connects),
            ("connect_failure", self.connect_failures),
            ("goaway", self.goaways),
            ("stall", self.stalls),
            ("ping_lost", self.pings_lost),
            ("resent", self.resent),
            ("ambiguous", self.ambiguous),
            ("queue_full", self.queue_full),
            ("failed_fast", self.failed_fast),
            ("token_minted", self.tokens_minted),
            ("token_renewal", self.token_renewals),
        ]
    }
}

/// The counters behind a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) streams: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) connect_failures: AtomicU64,
    pub(crate) goaways: AtomicU64,
    pub(crate) stalls: AtomicU64,
    pub(crate) pings_lost: AtomicU64,
    pub(crate) resent: AtomicU64,
    pub(crate) ambiguous: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) failed_fast: AtomicU64,
    pub(crate) token_renewals: AtomicU64,
    pub(crate) clock_skew: AtomicI64,
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How many.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

//! What an MPNS client has done and holds, as plain numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of one client. Counters only grow; the first two members are gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MpnsStats {
    /// Exchanges on their way, those that wait for their turn too.
    pub in_flight: u64,
    /// Connections that are kept open unused.
    pub idle: u64,
    /// Connections that were made.
    pub connects: u64,
    /// Connects that failed: name, TCP or TLS.
    pub connect_failures: u64,
    /// Pushes deferred at once because their host was known to be unreachable.
    pub failed_fast: u64,
    /// Exchanges on a connection that another had used before.
    pub reused: u64,
    /// Pushes refused because the channel's host is, or resolves to, an address that is not public.
    pub private_addresses: u64,
    /// Pushes of which nobody can know whether the service took them.
    pub ambiguous: u64,
}

impl MpnsStats {
    /// The counters with their labels, for metrics.
    pub fn events(&self) -> [(&'static str, u64); 6] {
        [
            ("connect", self.connects),
            ("connect_failure", self.connect_failures),
            ("failed_fast", self.failed_fast),
            ("reused", self.reused),
            ("private_address", self.private_addresses),
            ("ambiguous", self.ambiguous),
        ]
    }
}

/// The counters behind a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) in_flight: AtomicU64,
    pub(crate) idle: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) connect_failures: AtomicU64,
    pub(crate) failed_fast: AtomicU64,
    pub(crate) reused: AtomicU64,
    pub(crate) private_addresses: AtomicU64,
    pub(crate) ambiguous: AtomicU64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> MpnsStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MpnsStats {
            in_flight: read(&self.in_flight),
            idle: read(&self.idle),
            connects: read(&self.connects),
            connect_failures: read(&self.connect_failures),
            failed_fast: read(&self.failed_fast),
            reused: read(&self.reused),
            private_addresses: read(&self.private_addresses),
            ambiguous: read(&self.ambiguous),
        }
    }
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One as long as this lives.
pub(crate) struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    pub(crate) fn new(counter: &'a AtomicU64) -> Gauge<'a> {
        count(counter);
        Gauge(counter)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

//! Until when a push is worth delivering.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The moment after which a notification is worthless, in whole UNIX seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expiry(u64);

impl Expiry {
    /// The moment `ttl` after `from`.
    pub fn after(from: SystemTime, ttl: Duration) -> Expiry {
        let from = from.duration_since(UNIX_EPOCH).unwrap_or_default();
        Expiry(from.saturating_add(ttl).as_secs())
    }

    /// From UNIX seconds.
    pub const fn from_unix_seconds(seconds: u64) -> Expiry {
        Expiry(seconds)
    }

    /// UNIX seconds: what `apns-expiration` carries.
    pub fn unix_seconds(self) -> u64 {
        self.0
    }

    /// Whether the moment has come.
    pub fn is_past(self, now: SystemTime) -> bool {
        now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() >= self.0
    }
}

//! Every bound of the spool, with a number that somebody chose.

use std::time::Duration;

/// The bounds. What happens at each is said beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Waiting entries in one lane; an append beyond is refused.
    pub lane_entries: u64,
    /// Waiting bytes in one lane; an append beyond is refused.
    pub lane_bytes: u64,
    /// Waiting entries of one owner in all lanes; an append beyond is refused.
    pub owner_entries: u64,
    /// Waiting bytes of one owner in all lanes; an append beyond is refused.
    pub owner_bytes: u64,
    /// The largest entry, in bytes; a larger one is refused.
    pub entry_bytes: usize,
    /// Free bytes on the disk below which appends are refused, so that what waits can still be settled.
    pub disk_reserve: u64,
    /// Leases at once, in all lanes; beyond, `lease` gives fewer than asked for.
    pub leases: usize,
    /// After so many leases that lapsed one after the other, an entry is parked.
    pub tries: u32,
    /// How long the id of a settled entry is remembered.
    pub seen_for: Duration,
    /// How many ids of settled entries are remembered; beyond, the oldest are forgotten.
    pub seen_entries: u64,
    /// How long a gone device is remembered.
    pub gone_for: Duration,
    /// How many gone devices are remembered; beyond, the oldest are forgotten.
    pub gone_entries: u64,
    /// How long a buried or parked entry is kept.
    pub grave_for: Duration,
    /// How many buried and parked entries are kept; beyond, the oldest are dropped.
    pub grave_entries: u64,
    /// So many ids of the newest entries are kept in memory alone; after a crash some five times as many entries are looked at.
    pub recent_ids: usize,
    /// How long the log becomes before it is begun anew, in pages of 4 KiB, and somewhat longer under load: so much is read at a
    /// start after a crash.
    pub log_pages: u32,
    /// So many new pages of the log are folded into the database beside the appends that follow. More at once delay those for
    /// longer, fewer cost more syncs.
    pub fold_pages: u32,
    /// Verbs that wait for the writer; beyond, callers wait in line without a place in memory of the writer's.
    pub backlog: usize,
}

impl Default for Options {
    fn default() -> Options {
        const GIB: u64 = 1 << 30;
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Options {
            // Ten minutes of 3000 MESSAGEs a second while a provider is down.
            lane_entries: 2_000_000,
            lane_bytes: 4 * GIB,
            owner_entries: 1_000_000,
            owner_bytes: 2 * GIB,
            entry_bytes: 64 << 10,
            disk_reserve: GIB / 4,
            leases: 16_384,
            tries: 3,
            // Longer than any SIP element resends (32 s) and than an administrator's "try that again".
            seen_for: Duration::from_secs(60 * 60),
            seen_entries: 1_000_000,
            gone_for: 180 * DAY,
            gone_entries: 200_000,
            grave_for: 30 * DAY,
            grave_entries: 100_000,
            recent_ids: 16_384,
            log_pages: 16_384,
            fold_pages: 160,
            backlog: 4096,
        }
    }
}

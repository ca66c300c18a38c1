//! What waits, on disk: bytes under an id, a lane and a due time, until they are settled.
//!
//! It knows nothing of pushes, partners or providers, reads no bytes that it keeps, and decides nothing: who is due is a
//! matter of the clock that the caller passes in, and what becomes of a lease is the caller's verdict.
//!
//! One file, one process, one writer thread (SQLite, `src/sqlite`). A verb is a future that ends when its transaction is on
//! disk; all verbs that are called while the disk is busy share the next transaction and its one sync.
//!
//! ```text
//! append ─► waiting ──lease──► leased ──settle──► Done   (id remembered for the dedup window)
//!              ▲                  │ └───────────► Bury   (kept for the operator: retry or drop)
//!              └─── Defer, lapse ─┘ lapsed thrice, or checksum wrong: parked, likewise kept
//! ```

mod entry;
mod error;
mod options;
mod spool;
mod sqlite;
mod turns;

pub use entry::{
    Altered, Appended, Changed, Count, Cursor, Entry, Filter, Fingerprint, Gone, Lane, Lease,
    Leases, Page, Selection, Settled, Settlement, State, Stats, Summary,
};
pub use error::{Bound, Damage, OpenError, SpoolError};
pub use options::Options;
pub use spool::{Health, Spool, Unsettled};
pub use turns::{Turn, Turns};

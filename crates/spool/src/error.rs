//! What can go wrong, by what the caller can do about it.

use std::path::PathBuf;

/// Why a verb did nothing. Nothing of what was asked for has happened, or it is not known to be on disk: never answer
/// 2xx for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// There is no room: shed, or let the sender come again.
    #[error("the spool is full: {0}")]
    Full(Bound),
    /// One entry is larger than any may be.
    #[error("expected an entry of at most {limit} bytes, got {got}")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
        /// What came, in bytes.
        got: usize,
    },
    /// The file system has become read-only.
    #[error("the spool's file system is read-only")]
    ReadOnly,
    /// The disk has failed; the file is closed, and opened again and verified when the next verb comes.
    /// The number is SQLite's extended result code.
    #[error("the spool's disk has failed (SQLite {0})")]
    Io(i32),
    /// What is on disk is not what was written there: an operator must look.
    #[error("the spool is damaged: {0}")]
    Damaged(Damage),
    /// The spool was closed, or its writer has died.
    #[error("the spool is closed")]
    Closed,
}

impl SpoolError {
    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            SpoolError::Full(bound) => bound.label(),
            SpoolError::TooLarge { .. } => "too_large",
            SpoolError::ReadOnly => "read_only",
            SpoolError::Io(_) => "io",
            SpoolError::Damaged(_) => "damaged",
            SpoolError::Closed => "closed",
        }
    }
}

/// Which room is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Bound {
    /// The disk has less left than [`Options::disk_reserve`](crate::Options::disk_reserve).
    #[error("the disk has less left than its reserve")]
    DiskReserve,
    /// The disk has nothing left (ENOSPC, EDQUOT).
    #[error("the disk has nothing left")]
    Disk,
    /// Too many entries in the queue.
    #[error("too many entries in its lane")]
    LaneEntries,
    /// Too many bytes in the queue.
    #[error("too many bytes in its lane")]
    LaneBytes,
    /// Too many entries on this account.
    #[error("too many entries of its owner")]
    OwnerEntries,
    /// Too many bytes on this account.
    #[error("too many bytes of its owner")]
    OwnerBytes,
}

impl Bound {
    /// All, in the order of the metrics.
    pub const ALL: [Bound; 6] = [
        Bound::DiskReserve,
        Bound::Disk,
        Bound::LaneEntries,
        Bound::LaneBytes,
        Bound::OwnerEntries,
        Bound::OwnerBytes,
    ];

    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Bound::DiskReserve => "disk_reserve",
            Bound::Disk => "disk",
            Bound::LaneEntries => "lane_entries",
            Bound::LaneBytes => "lane_bytes",
            Bound::OwnerEntries => "owner_entries",
            Bound::OwnerBytes => "owner_bytes",
        }
    }
}

/// How the spool is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// SQLite finds its own structures broken.
    #[error("the database is malformed (SQLite {0})")]
    Database(i32),
    /// After a failure of the disk the file was opened again, and what had been acknowledged is not in it.
    #[error("the disk has lost acknowledged writes")]
    LostWrites,
}

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it: ask that one, or wait for its end.
    #[error("{0} is in use by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A later program has written it.
    #[error("{0} has schema {found}, expected at most {known}: it was written by a later version", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that this program knows.
        known: i64,
    },
    /// It is no spool.
    #[error("{0} is not a spool: {found}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// The file system refuses; the path or its rights are wrong.
    #[error("{0} cannot be opened", path.display())]
    Path {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It opens, and the first reads or writes fail.
    #[error("{0} cannot be used", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// How.
        source: SpoolError,
    },
}

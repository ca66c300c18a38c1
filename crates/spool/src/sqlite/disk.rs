//! What the file system says: how much room is left, whether it may be written, and what is really on it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, StatVfsMountFlags};

/// Watches the room that is left on the disk of one file.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    reserve: u64,
    looked: Option<Instant>,
    low: bool,
}

impl Disk {
    pub(super) fn new(path: &Path, reserve: u64) -> Disk {
        Disk {
            path: path.to_owned(),
            reserve,
            looked: None,
            low: false,
        }
    }

    /// Whether less than the reserve is left; asked of the system ten times a second at most.
    pub(super) fn is_low(&mut self) -> bool {
        if self
            .looked
            .is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN)
        {
            self.looked = Some(Instant::now());
            // A file system that does not answer here will say so at the next write.
            if let Ok(room) = rustix::fs::statvfs(&self.path) {
                self.low = room.f_bavail.saturating_mul(room.f_frsize) < self.reserve;
            }
        }
        self.low
    }

    /// Whether the file system has been mounted read-only, as ext4 does with itself after an error.
    pub(super) fn is_read_only(&self) -> bool {
        rustix::fs::statvfs(&self.path)
            .is_ok_and(|room| room.f_flag.contains(StatVfsMountFlags::RDONLY))
    }

    /// Makes the kernel forget what it holds of the database and its log, so that the next read is of the disk.
    ///
    /// After a failed fsync Linux marks the pages clean: they read back as if they had been written.
    pub(super) fn forget_cached(&self) {
        for path in [self.path.clone(), wal(&self.path)] {
            if let Ok(file) = File::open(&path) {
                // Advice only. Where it is not taken, the checkpoint that follows writes everything once more.
                let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
            }
        }
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(100);

fn wal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

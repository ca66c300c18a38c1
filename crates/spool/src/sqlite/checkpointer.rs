//! The thread that folds the log into the database while the writer goes on committing.
//!
//! One connection may copy pages from the log into the database and sync both while another one appends to the log; neither waits for the
//! other but at the disk itself. What the log gets meanwhile is left for the next time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use super::schema;
use super::store::checkpoint;

/// A connection of its own on a thread of its own. Dropped, it finishes what it does and closes the connection, so that whoever
/// opens the file anew shares nothing with it.
#[derive(Debug)]
pub(super) struct Checkpointer {
    orders: Option<SyncSender<()>>,
    thread: Option<JoinHandle<rusqlite::Result<()>>>,
}

impl Checkpointer {
    /// For a file that is open already.
    pub(super) fn start(path: PathBuf) -> io::Result<Checkpointer> {
        // No order waits: whoever is idle takes it.
        let (orders, inbox) = sync_channel(0);
        let thread = thread::Builder::new()
            .name("checkpointer".to_owned())
            .spawn(move || run(&path, &inbox))?;
        Ok(Checkpointer {
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// Begins to fold in what the log has now, unless it is at it. `false` after a failure, which was its end.
    pub(super) fn order(&self) -> bool {
        let order = self.orders.as_ref().map(|orders| orders.try_send(()));
        matches!(order, Some(Ok(()) | Err(TrySendError::Full(()))))
    }

    /// Waits until it has finished, and says whether it has failed.
    pub(super) fn end(&mut self) -> rusqlite::Result<()> {
        self.orders = None;
        let ended = self.thread.take().map(JoinHandle::join);
        ended.and_then(Result::ok).unwrap_or(Ok(()))
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        // The log keeps what was not folded in, and whoever drops this folds it in or has given the file up.
        let _ = self.end();
    }
}

fn run(path: &Path, orders: &Receiver<()>) -> rusqlite::Result<()> {
    let connection = schema::beside(path)?;
    while orders.recv().is_ok() {
        checkpoint(&connection, "PASSIVE")?;
    }
    Ok(())
}

//! The writer without its thread: a turn is one batch, and whoever holds the turns says when it comes.
//!
//! For simulations, where time stands still while nothing happens and a power cut can come between the disk and the answer.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::error::OpenError;
use crate::options::Options;
use crate::spool::{Shared, Spool};
use crate::sqlite::{self, Command, Worked, Writer};

/// The writer of one [`Spool`]. Dropped, it leaves what a killed process leaves.
pub struct Turns {
    writer: Writer,
    commands: mpsc::Receiver<Command>,
}

/// What one turn has done: it is on disk, or has failed, and nobody knows yet. Dropped, nobody ever will.
pub struct Turn {
    worked: Worked,
    closer: Option<oneshot::Sender<()>>,
}

impl Turns {
    /// Opens the file as [`Spool::open`] does, but starts no thread: every verb waits for its turn.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<(Spool, Turns), OpenError> {
        let shared = Arc::<Shared>::default();
        let (commands, inbox) = mpsc::channel(options.backlog.max(1));
        let spool = Spool::new(commands, Arc::clone(&shared), &options);
        let writer = Writer::open(path.as_ref().to_owned(), options, shared)?;
        let turns = Turns {
            writer,
            commands: inbox,
        };
        Ok((spool, turns))
    }

    /// Waits until something is asked and then for the `disk`; does that and all that was asked meanwhile in one transaction. `None`
    /// after a close, and when nobody can ask any more.
    pub async fn next(&mut self, disk: impl Future<Output = ()>) -> Option<Turn> {
        let first = self.commands.recv().await?;
        disk.await;
        let (batch, closer) = sqlite::collect(first, &mut self.commands);
        let worked = self.writer.work(batch);
        self.writer.fold_in(false);
        if closer.is_some() {
            self.writer.close();
            self.commands.close();
        }
        Some(Turn { worked, closer })
    }

    /// Forgets a bounded part of what may be forgotten by now; the thread does this about once a second.
    pub fn tidy(&mut self) {
        self.writer.tidy();
    }
}

impl Turn {
    /// Answers those who asked.
    pub fn tell(self) {
        self.worked.tell();
        if let Some(closer) = self.closer {
            let _ = closer.send(()); // nobody may wait for it
        }
    }
}

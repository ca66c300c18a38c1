//! The thread that owns the database: batches of verbs, one sync for each, and what to do when the disk fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::ffi;
use tokio::sync::mpsc::{Receiver, error::TryRecvError};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::books::Holds;
use super::disk::Disk;
use super::remembered;
use super::store::{Session, Store, classify};
use crate::error::{Bound, Damage, OpenError, SpoolError};
use crate::options::Options;
use crate::spool::Shared;

/// What the thread is asked to do.
pub(crate) enum Command {
    /// A verb.
    Work(Box<dyn Work>),
    /// Finish what was asked before, fold the log in, close, say so.
    Close(oneshot::Sender<()>),
}

/// A verb with the one who waits for it.
pub(crate) trait Work: Send {
    /// Does it, inside a transaction. A refusal is kept for [`Work::finish`]; an error means that the transaction fails.
    fn run(&mut self, session: &mut Session<'_>) -> rusqlite::Result<()>;
    /// Says what became of it, once the transaction is on disk or has failed.
    fn finish(self: Box<Self>, outcome: Result<(), SpoolError>);
    /// Whether anybody still waits.
    fn is_wanted(&self) -> bool;
    /// The caller's clock, where the verb has one.
    fn now(&self) -> Option<SystemTime>;
}

/// A batch whose transaction has ended, before anybody hears of it.
pub(crate) struct Worked {
    batch: Vec<Box<dyn Work>>,
    outcome: Result<(), SpoolError>,
}

impl Worked {
    /// Says to each what became of it, in the order of asking.
    pub(crate) fn tell(self) {
        for work in self.batch {
            work.finish(self.outcome);
        }
    }
}

/// What waits now, up to a batch or a close.
pub(crate) fn collect(
    first: Command,
    commands: &mut Receiver<Command>,
) -> (Vec<Box<dyn Work>>, Option<oneshot::Sender<()>>) {
    let mut batch = Vec::new();
    let mut next = Some(first);
    while let Some(command) = next.take() {
        match command {
            Command::Work(work) => batch.push(work),
            Command::Close(done) => return (batch, Some(done)),
        }
        if batch.len() < BATCH {
            next = commands.try_recv().ok();
        }
    }
    (batch, None)
}

/// The most verbs in one transaction: with the largest entries some 30 MiB.
const BATCH: usize = 512;
/// How long a failed disk is left alone, at first and at most.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often there is a look at what can be forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// How often a part of it is done while there is more to forget and the writer is never idle.
const TIDY_PACE: Duration = Duration::from_millis(50);
/// Unused pages that stay in the file for the next backlog: 16 MiB.
const FREE_PAGES: i64 = 4096;
/// Pages given back at once: about a millisecond.
const VACUUM_PAGES: i64 = 256;

pub(crate) struct Writer {
    path: PathBuf,
    options: Options,
    shared: Arc<Shared>,
    database: Database,
    holds: Holds,
    disk: Disk,
    /// The last transaction that somebody was told of.
    acknowledged: i64,
    /// The latest moment that a caller has named.
    now: SystemTime,
    tidied: Instant,
    /// Whether the last tidying gave pages back.
    shrinking: bool,
}

enum Database {
    Open(Box<Store>),
    Failed {
        error: SpoolError,
        again: Instant,
        pause: Duration,
    },
}

impl Writer {
    /// Opens the file; what was acknowledged before is in it.
    pub(crate) fn open(
        path: PathBuf,
        options: Options,
        shared: Arc<Shared>,
    ) -> Result<Writer, OpenError> {
        let store = Store::open(&path, &options)?;
        Ok(Writer {
            disk: Disk::new(&path, options.disk_reserve),
            acknowledged: store.batch(),
            database: Database::Open(Box::new(store)),
            holds: Holds::default(),
            now: UNIX_EPOCH,
            tidied: Instant::now(),
            shrinking: false,
            path,
            options,
            shared,
        })
    }

    /// Works until it is closed or nobody can ask any more.
    pub(crate) fn run(mut self, mut commands: Receiver<Command>) {
        let mut unfinished = false;
        let closer = loop {
            let first = match commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Empty) if unfinished || self.tidying_is_due() => {
                    unfinished = self.tidy();
                    continue;
                }
                Err(_) => match commands.blocking_recv() {
                    Some(command) => command,
                    None => break None,
                },
            };
            let (batch, closer) = collect(first, &mut commands);
            self.work(batch).tell();
            self.fold_in(true);
            if closer.is_some() {
                break closer;
            }
            // Never idle: tidy all the same, at a pace that leaves the disk to the others.
            let pace = if unfinished {
                TIDY_PACE
            } else {
                2 * TIDY_EVERY
            };
            if self.tidied.elapsed() >= pace {
                unfinished = self.tidy();
            }
        };
        self.close();
        // Whoever asked after the close gets `Closed` from the channel.
        drop(commands);
        if let Some(done) = closer {
            let _ = done.send(()); // nobody may wait for it
        }
    }

    /// Does a batch in one transaction. It is on disk or has failed, and nobody has been told yet.
    pub(crate) fn work(&mut self, mut batch: Vec<Box<dyn Work>>) -> Worked {
        batch.retain(|work| work.is_wanted());
        if let Some(latest) = batch.iter().filter_map(|work| work.now()).max() {
            self.now = self.now.max(latest);
        }
        let outcome =
            self.transact(|session| batch.iter_mut().try_for_each(|work| work.run(session)));
        self.shared.count_batch(batch.len(), outcome);
        Worked { batch, outcome }
    }

    /// Folds the log in when it is long enough, in parts `beside` the transactions that follow or all at once. Nobody waits for it
    /// who has been answered already.
    pub(crate) fn fold_in(&mut self, beside: bool) {
        let Database::Open(store) = &mut self.database else {
            return;
        };
        // On a disk with little room the log is kept short: it takes none from the settlements to come.
        let most = if self.disk.is_low() {
            self.options.fold_pages
        } else {
            self.options.log_pages
        };
        let folded = store.log().and_then(|log| {
            if log.pages >= most.into() {
                store.finish_log()
            } else if beside && log.left >= self.options.fold_pages.into() {
                store.checkpoint_beside()
            } else {
                Ok(())
            }
        });
        if let Err(failure) = folded {
            self.fail(&failure);
        }
    }

    /// Runs `steps` in one transaction. When this returns `Ok`, they are on disk.
    fn transact(
        &mut self,
        steps: impl FnOnce(&mut Session<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), SpoolError> {
        self.reopen_when_due();
        let store = match &mut self.database {
            Database::Open(store) => store,
            Database::Failed { error, .. } => return Err(*error),
        };
        let disk_is_low = self.disk.is_low();
        let mut session = Session {
            store,
            holds: &mut self.holds,
            options: &self.options,
            disk_is_low,
        };
        let result = session
            .store
            .begin()
            .and_then(|()| steps(&mut session))
            .and_then(|()| session.store.commit());
        match result {
            Ok(wrote) => {
                self.holds.commit();
                self.acknowledged = store.batch();
                self.shared.count_commit(wrote);
                self.shared
                    .set_trouble(disk_is_low.then_some(SpoolError::Full(Bound::DiskReserve)));
                Ok(())
            }
            Err(failure) => {
                self.holds.roll_back();
                Err(self.fail(&failure))
            }
        }
    }

    /// Undoes the transaction, where one is open. Where more than room was missing, the connection is given up: a sync that failed must
    /// not be repeated, because Linux may call pages clean that never reached the disk.
    fn fail(&mut self, failure: &rusqlite::Error) -> SpoolError {
        let mut error = classify(failure);
        if matches!(error, SpoolError::Io(_)) && self.disk.is_read_only() {
            error = SpoolError::ReadOnly;
        }
        error!(error = %error, "a transaction of the spool has failed");
        let keeps = match &mut self.database {
            Database::Open(store) => {
                error == SpoolError::Full(Bound::Disk) && store.roll_back().is_ok()
            }
            Database::Failed { .. } => false,
        };
        if !keeps {
            self.give_up(error, PAUSE);
        }
        self.shared.set_trouble(Some(error));
        error
    }

    fn give_up(&mut self, error: SpoolError, pause: Duration) {
        // Dropping the connection closes the file; the log stays as it is.
        self.database = Database::Failed {
            error,
            again: Instant::now() + pause,
            pause,
        };
    }

    fn reopen_when_due(&mut self) {
        let Database::Failed { again, pause, .. } = self.database else {
            return;
        };
        if Instant::now() < again {
            return;
        }
        match self.reopen() {
            Ok(store) => {
                info!("the spool is open again, everything acknowledged is in it");
                self.shared.count_reopened();
                self.database = Database::Open(Box::new(store));
            }
            Err(error) => {
                error!(error = %error, "the spool cannot be opened again");
                self.give_up(error, (pause * 2).min(LONGEST_PAUSE));
                self.shared.set_trouble(Some(error));
            }
        }
    }

    /// Opens the file from what the disk holds, writes and syncs all of it anew, and compares.
    fn reopen(&mut self) -> Result<Store, SpoolError> {
        self.disk.forget_cached();
        let mut store = Store::open(&self.path, &self.options).map_err(|error| match error {
            OpenError::Unusable { source, .. } => source,
            OpenError::Locked { .. } => SpoolError::Io(ffi::SQLITE_BUSY),
            OpenError::Path { .. } => SpoolError::Io(ffi::SQLITE_CANTOPEN),
            OpenError::Newer { .. } | OpenError::Foreign { .. } => {
                SpoolError::Damaged(Damage::Database(ffi::SQLITE_NOTADB))
            }
        })?;
        store.checkpoint().map_err(|error| classify(&error))?;
        if store.batch() < self.acknowledged {
            return Err(SpoolError::Damaged(Damage::LostWrites));
        }
        Ok(store)
    }

    fn tidying_is_due(&self) -> bool {
        self.now > UNIX_EPOCH && self.tidied.elapsed() >= TIDY_EVERY
    }

    /// Forgets a bounded part of what may be forgotten; says whether there is more.
    pub(crate) fn tidy(&mut self) -> bool {
        self.tidied = Instant::now();
        let now = self.now;
        let (mut more, mut shrinking) = (false, false);
        let done = self.transact(|session| {
            more = remembered::tidy(session, now)?;
            shrinking = vacuum(session)?;
            Ok(())
        });
        if done.is_err() {
            return false;
        }
        // The file becomes shorter when the log that says so is folded in.
        if self.shrinking
            && !shrinking
            && let Database::Open(store) = &mut self.database
            && let Err(failure) = store.checkpoint()
        {
            self.fail(&failure);
        }
        self.shrinking = shrinking;
        more || shrinking
    }

    pub(crate) fn close(&mut self) {
        if let Database::Open(store) = &mut self.database
            && let Err(failure) = store.checkpoint()
        {
            // The log keeps everything; the next start reads it.
            error!(error = %classify(&failure), "the log of the spool was not folded in");
        }
        self.give_up(SpoolError::Closed, LONGEST_PAUSE);
    }
}

/// Gives unused pages back to the file system.
fn vacuum(session: &mut Session<'_>) -> rusqlite::Result<bool> {
    let connection = &session.store.connection;
    let free: i64 = connection
        .prepare_cached("PRAGMA freelist_count")?
        .query_row([], |row| row.get(0))?;
    if free <= FREE_PAGES + VACUUM_PAGES {
        return Ok(false);
    }
    let mut vacuum =
        connection.prepare_cached(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A disk that lies cannot be found out with a disk that does not; the number of the last acknowledged transaction
    /// can be set ahead of what is in the file, which is the same to the writer.
    #[test]
    fn acknowledged_writes_that_are_missing_after_a_failure_are_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        let mut writer = Writer::open(path, Options::default(), Arc::default()).unwrap();
        writer.give_up(SpoolError::Io(0), Duration::ZERO);
        assert_eq!(writer.transact(|_| Ok(())), Ok(()));

        writer.acknowledged += 1;
        writer.give_up(SpoolError::Io(0), Duration::ZERO);
        let lost = SpoolError::Damaged(Damage::LostWrites);
        assert_eq!(writer.transact(|_| Ok(())), Err(lost));
        assert_eq!(
            writer.transact(|_| Ok(())),
            Err(lost),
            "not by asking twice either"
        );
    }
}

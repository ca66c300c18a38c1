//! The handle: every verb as a future.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::entry::{
    Appended, Changed, Cursor, Entry, Filter, Fingerprint, Gone, Lane, Lease, Leases, Page,
    Selection, Settled, Settlement, Stats, Summary,
};
use crate::error::{OpenError, SpoolError};
use crate::options::Options;
use crate::sqlite::{self, Command, Fault, Session, Work, Writer};

/// A spool that is open. Clones share it; when the last one is dropped, the writer finishes what it was asked and closes
/// the file.
///
/// A future that is dropped before its end may or may not have happened: an append then is absorbed when it comes
/// again, and a lease lapses.
#[derive(Clone, Debug)]
pub struct Spool {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    entry_bytes: usize,
}

/// A lease that could not be settled, to try again with: the work has been done, and nobody else has the entry yet.
#[derive(Debug)]
pub struct Unsettled {
    /// The lease, as good as before.
    pub lease: Lease,
    /// What was to become of it.
    pub settlement: Settlement,
    /// Why it has not.
    pub error: SpoolError,
}

/// How the spool is, and what it has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why appends are refused at the moment, as of the last transaction; `None` when all is well.
    pub trouble: Option<SpoolError>,
    /// Transactions that are on disk and wrote something: each cost one sync.
    pub commits: u64,
    /// Verbs that have ended, refused ones too.
    pub verbs: u64,
    /// Verbs that failed because their transaction did.
    pub failures: u64,
    /// How often the file was opened again after the disk had failed.
    pub reopened: u64,
}

impl Spool {
    /// Opens the file, or makes it, and starts the writer. Blocks until the file is open: reading the log after a crash
    /// takes as long as reading some megabytes, however much waits.
    ///
    /// Other processes are kept out while it is open. This one must open a file once and share the handle: there are no locks inside
    /// a process.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Spool, OpenError> {
        let path = path.as_ref();
        let shared = Arc::<Shared>::default();
        let (commands, inbox) = mpsc::channel(options.backlog.max(1));
        let spool = Spool::new(commands, Arc::clone(&shared), &options);
        let writer = Writer::open(path.to_owned(), options, shared)?;
        thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer.run(inbox))
            .map_err(|source| OpenError::Path {
                path: path.to_owned(),
                source,
            })?;
        Ok(spool)
    }

    /// The handle of a writer that takes these commands.
    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        shared: Arc<Shared>,
        options: &Options,
    ) -> Spool {
        Spool {
            commands,
            shared,
            entry_bytes: options.entry_bytes,
        }
    }

    /// Puts entries in, all or none; when this returns `Ok`, they are on disk. Ids that are known are absorbed.
    pub async fn append(
        &self,
        entries: Vec<Entry>,
        now: SystemTime,
    ) -> Result<Appended, SpoolError> {
        for entry in &entries {
            for (limit, got) in [
                (self.entry_bytes, entry.bytes.len()),
                (Entry::OWNER_BYTES, entry.owner.len()),
            ] {
                if got > limit {
                    return Err(SpoolError::TooLarge { limit, got });
                }
            }
        }
        self.call(Some(now), move |session| {
            sqlite::append(session, &entries, now)
        })
        .await
    }

    /// Takes up to `limit` entries of a lane that are due, the longest due first, for `hold_for`.
    pub async fn lease(
        &self,
        lane: Lane,
        limit: usize,
        hold_for: Duration,
        now: SystemTime,
    ) -> Result<Leases, SpoolError> {
        self.call(Some(now), move |session| {
            sqlite::lease(session, lane, limit, hold_for, now)
        })
        .await
    }

    /// Says what became of a leased entry; when this returns `Ok`, it is on disk.
    pub async fn settle(
        &self,
        lease: Lease,
        settlement: Settlement,
        now: SystemTime,
    ) -> Result<Settled, Box<Unsettled>> {
        let ticket = lease.ticket;
        let asked = settlement.clone();
        let settled = self.call(Some(now), move |session| {
            sqlite::settle(session, ticket, &asked, now)
        });
        settled.await.map_err(|error| {
            Box::new(Unsettled {
                lease,
                settlement,
                error,
            })
        })
    }

    /// Says what became of a waiting entry that nobody has leased; [`Settled::Stale`] where there is none.
    pub async fn settle_unleased(
        &self,
        id: Uuid,
        settlement: Settlement,
        now: SystemTime,
    ) -> Result<Settled, SpoolError> {
        self.call(Some(now), move |session| {
            sqlite::settle_unleased(session, id, &settlement, now)
        })
        .await
    }

    /// Drops the waiting entries of a key that came no later than this: something newer of theirs is where it was to go, without
    /// having been here. Those that are leased are dropped when they are deferred.
    pub async fn supersede(
        &self,
        lane: Lane,
        key: Fingerprint,
        came: SystemTime,
        now: SystemTime,
    ) -> Result<Vec<Uuid>, SpoolError> {
        self.call(Some(now), move |session| {
            sqlite::supersede(session, lane, key, came, now)
        })
        .await
    }

    /// Makes room: drops up to `limit` entries of a lane that are due and whose time has passed. Superseded entries
    /// need no shedding, [`Spool::append`] has dropped them.
    pub async fn shed(
        &self,
        lane: Lane,
        limit: usize,
        now: SystemTime,
    ) -> Result<Vec<Uuid>, SpoolError> {
        self.call(Some(now), move |session| {
            sqlite::shed(session, lane, limit, now)
        })
        .await
    }

    /// Remembers ids for the dedup window although they never waited here.
    pub async fn remember(&self, ids: Vec<Uuid>, now: SystemTime) -> Result<(), SpoolError> {
        self.call(Some(now), move |session| {
            Ok(sqlite::remember(session, &ids, now)?)
        })
        .await
    }

    /// Whether an id was settled or remembered within the dedup window. Entries that are still here do not count.
    pub async fn is_seen(&self, id: Uuid, now: SystemTime) -> Result<bool, SpoolError> {
        self.call(Some(now), move |session| {
            Ok(sqlite::is_seen(session, id, now)?)
        })
        .await
    }

    /// Writes down that devices are gone; what was known of them is replaced.
    pub async fn note_gone(&self, list: Vec<Gone>) -> Result<(), SpoolError> {
        let now = list.iter().map(|gone| gone.noted).max();
        self.call(now, move |session| sqlite::note_gone(session, &list))
            .await
    }

    /// What is known of a device that is gone.
    pub async fn gone(&self, device: Fingerprint) -> Result<Option<Gone>, SpoolError> {
        self.call(None, move |session| sqlite::gone(session, device))
            .await
    }

    /// Up to `limit` devices that are gone, in the order of their digests, after one of them.
    pub async fn gone_page(
        &self,
        after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<Gone>, SpoolError> {
        self.call(None, move |session| {
            sqlite::gone_page(session, after, limit)
        })
        .await
    }

    /// Forgets that a device is gone; `false` where nothing was known of it.
    pub async fn forget_gone(&self, device: Fingerprint) -> Result<bool, SpoolError> {
        self.call(None, move |session| sqlite::forget_gone(session, device))
            .await
    }

    /// A page of entries in the order of appending; at most 1000 of them.
    pub async fn list(
        &self,
        filter: Filter,
        after: Cursor,
        limit: usize,
        now: SystemTime,
    ) -> Result<Page, SpoolError> {
        self.call(Some(now), move |session| {
            sqlite::list(session, &filter, after, limit, now)
        })
        .await
    }

    /// One entry with its bytes, whatever its checksum says.
    pub async fn show(
        &self,
        id: Uuid,
        now: SystemTime,
    ) -> Result<Option<(Summary, Vec<u8>)>, SpoolError> {
        self.call(Some(now), move |session| sqlite::show(session, id, now))
            .await
    }

    /// Makes entries due at once, with all their attempts before them; buried and parked ones wait again. Leased ones
    /// are left alone.
    pub async fn retry(
        &self,
        selection: Selection,
        now: SystemTime,
    ) -> Result<Changed, SpoolError> {
        self.call(Some(now), move |session| {
            sqlite::retry(session, &selection, now)
        })
        .await
    }

    /// Removes entries for good; a sender may send them again. Leased ones are left alone.
    pub async fn discard(
        &self,
        selection: Selection,
        now: SystemTime,
    ) -> Result<Changed, SpoolError> {
        self.call(Some(now), move |session| {
            sqlite::drop_entries(session, &selection, now)
        })
        .await
    }

    /// What lies in the spool. Costs the same however much it is.
    pub async fn stats(&self, now: SystemTime) -> Result<Stats, SpoolError> {
        self.call(Some(now), move |session| sqlite::stats(session, now))
            .await
    }

    /// Reads everything and compares structures, tallies and checksums; one line for each fault. For a spool that is
    /// out of service: it holds up every other verb.
    pub async fn check(&self) -> Result<Vec<String>, SpoolError> {
        self.call(None, |session| sqlite::check(session)).await
    }

    /// How the spool is. Asks nobody.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// Finishes what was asked before, folds the log in and closes the file. Every later verb is refused.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close(done)).await.is_ok() {
            let _ = closed.await; // an error means that the writer is gone already
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        now: Option<SystemTime>,
        verb: impl FnOnce(&mut Session<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, SpoolError> {
        let (reply, answer) = oneshot::channel();
        let call = Call {
            now,
            verb: Some(verb),
            result: Err(SpoolError::Closed),
            reply,
        };
        let command = Command::Work(Box::new(call));
        self.commands
            .send(command)
            .await
            .map_err(|_| SpoolError::Closed)?;
        answer.await.unwrap_or(Err(SpoolError::Closed))
    }
}

struct Call<F, T> {
    now: Option<SystemTime>,
    verb: Option<F>,
    result: Result<T, SpoolError>,
    reply: oneshot::Sender<Result<T, SpoolError>>,
}

impl<F, T> Work for Call<F, T>
where
    F: FnOnce(&mut Session<'_>) -> Result<T, Fault> + Send,
    T: Send,
{
    fn run(&mut self, session: &mut Session<'_>) -> rusqlite::Result<()> {
        let Some(verb) = self.verb.take() else {
            return Ok(());
        };
        self.result = match verb(session) {
            Ok(value) => Ok(value),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Database(error)) => return Err(error),
        };
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<(), SpoolError>) {
        // An error means that nobody waits any more; what was done stays done.
        let _ = self.reply.send(outcome.and(self.result));
    }

    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn now(&self) -> Option<SystemTime> {
        self.now
    }
}

/// What the writer says of itself.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    trouble: Mutex<Option<SpoolError>>,
    commits: AtomicU64,
    verbs: AtomicU64,
    failures: AtomicU64,
    reopened: AtomicU64,
}

impl Shared {
    pub(crate) fn set_trouble(&self, trouble: Option<SpoolError>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    pub(crate) fn count_batch(&self, verbs: usize, outcome: Result<(), SpoolError>) {
        let verbs = verbs as u64;
        self.verbs.fetch_add(verbs, Ordering::Relaxed);
        if outcome.is_err() {
            self.failures.fetch_add(verbs, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_commit(&self, wrote: bool) {
        self.commits.fetch_add(u64::from(wrote), Ordering::Relaxed);
    }

    pub(crate) fn count_reopened(&self) {
        self.reopened.fetch_add(1, Ordering::Relaxed);
    }

    fn health(&self) -> Health {
        Health {
            trouble: *self.trouble.lock().unwrap_or_else(PoisonError::into_inner),
            commits: self.commits.load(Ordering::Relaxed),
            verbs: self.verbs.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            reopened: self.reopened.load(Ordering::Relaxed),
        }
    }
}

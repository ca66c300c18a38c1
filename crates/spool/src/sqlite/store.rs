//! One open database and the transaction that runs in it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode};
use uuid::Uuid;

use super::books::{Holds, Tallies};
use super::checkpointer::Checkpointer;
use super::ids::Ids;
use super::schema;
use crate::entry::{Lane, State};
use crate::error::{Bound, Damage, OpenError, SpoolError};
use crate::options::Options;

/// One open database with the numbers that belong to it.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) connection: Connection,
    path: PathBuf,
    checkpointer: Option<Checkpointer>,
    pub(super) tallies: Tallies,
    ids: Ids,
    owners: HashMap<Box<str>, i64>,
    names: HashMap<i64, Box<str>>,
    /// How many gone devices there are.
    pub(super) gone: u64,
    /// The number of the last transaction.
    batch: i64,
    next_seq: i64,
    dirty: bool,
}

/// What a verb works with: the store, in a transaction.
pub(crate) struct Session<'a> {
    pub(super) store: &'a mut Store,
    pub(super) holds: &'a mut Holds,
    pub(super) options: &'a Options,
    /// Whether the disk has less left than its reserve.
    pub(super) disk_is_low: bool,
}

/// Why a verb did not succeed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It was refused before it wrote anything; the transaction goes on.
    Refused(SpoolError),
    /// The database failed: the whole transaction did not happen.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Database(error)
    }
}

impl Store {
    pub(super) fn open(path: &Path, options: &Options) -> Result<Store, OpenError> {
        let mut store = Store {
            connection: schema::open(path)?,
            path: path.to_owned(),
            checkpointer: None,
            tallies: Tallies::default(),
            ids: Ids::new(options.recent_ids),
            owners: HashMap::new(),
            names: HashMap::new(),
            gone: 0,
            batch: 0,
            next_seq: 1,
            dirty: false,
        };
        store
            .load()
            .and_then(|()| store.ids.load(&store.connection, store.next_seq))
            .map_err(|error| OpenError::Unusable {
                path: path.to_owned(),
                source: classify(&error),
            })?;
        Ok(store)
    }

    /// Takes over the numbers that stand in the database. Looks at no entry but the last.
    fn load(&mut self) -> rusqlite::Result<()> {
        let one = |sql| {
            self.connection
                .query_row(sql, [], |row| row.get::<_, i64>(0))
        };
        self.batch = one("SELECT value FROM meta WHERE key = 'batch'")?;
        let last = one("SELECT coalesce(max(seq), 0) FROM entry")?;
        let indexed = one("SELECT value FROM meta WHERE key = 'indexed'")?;
        self.gone = one("SELECT count(*) FROM gone")?.unsigned_abs();
        // The newest may have gone. Whatever comes is to be newer than the mark, or its id would count as indexed.
        self.next_seq = self.next_seq.max(last + 1).max(indexed);
        self.tallies = Tallies::load(&self.connection)?;
        self.owners.clear();
        self.names.clear();
        let mut statement = self.connection.prepare("SELECT id, name FROM owner")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, name): (i64, Box<str>) = (row.get(0)?, row.get(1)?);
            self.owners.insert(name.clone(), id);
            self.names.insert(id, name);
        }
        Ok(())
    }

    /// The number of the last transaction that is on disk.
    pub(super) fn batch(&self) -> i64 {
        self.batch
    }

    pub(super) fn begin(&mut self) -> rusqlite::Result<()> {
        self.dirty = false;
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        Ok(())
    }

    /// Ends the transaction; when this returns `Ok`, it is on disk. Says whether there was anything to write.
    pub(super) fn commit(&mut self) -> rusqlite::Result<bool> {
        let dirty = self.dirty;
        if dirty {
            self.tallies.save(&self.connection)?;
            self.ids.save(&self.connection, self.next_seq)?;
            let mut count = self
                .connection
                .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'batch'")?;
            count.execute([self.batch + 1])?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.ids.commit();
        self.batch += i64::from(dirty);
        self.dirty = false;
        Ok(dirty)
    }

    pub(super) fn roll_back(&mut self) -> rusqlite::Result<()> {
        self.dirty = false;
        self.ids.roll_back();
        // SQLite has rolled back by itself after some errors.
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("ROLLBACK")?.execute([])?;
        }
        self.load()
    }

    /// Folds the whole log into the database, syncs it and makes the log empty. Whatever can be read now has then been written anew.
    pub(super) fn checkpoint(&mut self) -> rusqlite::Result<()> {
        self.checkpointer = None;
        checkpoint(&self.connection, "TRUNCATE").map(drop)
    }

    /// Folds in what is left of the log and has the next transaction begin it anew: it keeps its length, to be written over. Leaves
    /// that for the next time while the checkpointer is at it.
    pub(super) fn finish_log(&self) -> rusqlite::Result<()> {
        checkpoint(&self.connection, "PASSIVE").map(drop)
    }

    /// Has the log folded in beside the transactions that follow. Says why it failed the last time.
    pub(super) fn checkpoint_beside(&mut self) -> rusqlite::Result<()> {
        if let Some(mut ended) = self.checkpointer.take_if(|thread| !thread.order()) {
            return ended.end();
        }
        // Where there is no thread to be had, the log is folded in between two transactions.
        if self.checkpointer.is_none() {
            self.checkpointer = Checkpointer::start(self.path.clone()).ok();
        }
        Ok(())
    }

    /// How long the log is.
    pub(super) fn log(&self) -> rusqlite::Result<Log> {
        checkpoint(&self.connection, "NOOP")
    }

    /// Says that the transaction writes, so that it is counted and its tallies are saved.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    pub(super) fn owner(&self, name: &str) -> Option<i64> {
        self.owners.get(name).copied()
    }

    /// The number of an account, a new one where it has none.
    pub(super) fn open_account(&mut self, name: &str) -> rusqlite::Result<i64> {
        if let Some(id) = self.owner(name) {
            return Ok(id);
        }
        self.touch();
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO owner (name) VALUES (?1)")?;
        let id = insert.insert([name])?;
        self.owners.insert(name.into(), id);
        self.names.insert(id, name.into());
        Ok(id)
    }

    pub(super) fn owner_name(&self, id: i64) -> Box<str> {
        self.names.get(&id).cloned().unwrap_or_default()
    }

    /// The entry with this id, whatever its state.
    pub(super) fn find(&self, id: Uuid) -> rusqlite::Result<Option<i64>> {
        self.ids.find(&self.connection, id)
    }

    /// The number of a new entry, which is found by its id from now on.
    pub(super) fn enter(&mut self, id: Uuid) -> i64 {
        self.touch();
        let seq = self.next_seq;
        self.next_seq += 1;
        self.ids.insert(id, seq);
        seq
    }

    /// Removes an entry and its bytes.
    pub(super) fn remove(&mut self, row: &Row) -> rusqlite::Result<()> {
        self.touch();
        for sql in [
            "DELETE FROM entry WHERE seq = ?1",
            "DELETE FROM body WHERE seq = ?1",
        ] {
            self.connection.prepare_cached(sql)?.execute([row.seq])?;
        }
        self.ids.remove(&self.connection, row.id)?;
        self.tallies
            .change(row.lane, row.state, row.owner, -1, -row.size);
        Ok(())
    }

    /// Moves an entry from one state to another in the tallies.
    pub(super) fn recount(&mut self, row: &Row, state: State) {
        self.touch();
        self.tallies
            .change(row.lane, row.state, row.owner, -1, -row.size);
        self.tallies.change(row.lane, state, row.owner, 1, row.size);
    }
}

/// How long the log is, in pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    pub(super) pages: i64,
    /// How many of them have not been folded in.
    pub(super) left: i64,
}

/// SQLite's checkpoint of one kind, and the log after it.
pub(super) fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Log> {
    let mut pragma = connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    pragma.query_row([], |row| {
        let pages = row.get(1)?;
        let folded: i64 = row.get(2)?;
        Ok(Log {
            pages,
            left: pages - folded,
        })
    })
}

/// What must be known of an entry to count it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) id: Uuid,
    pub(super) lane: Lane,
    pub(super) state: State,
    pub(super) owner: i64,
    pub(super) size: i64,
}

impl Row {
    pub(super) const COLUMNS: &str = "seq, id, lane, state, owner, size";

    /// Reads the columns named above.
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
        Ok(Row {
            seq: row.get(0)?,
            id: Uuid::from_bytes(row.get(1)?),
            lane: Lane(row.get(2)?),
            state: read_state(row, 3)?,
            owner: row.get(4)?,
            size: row.get(5)?,
        })
    }
}

pub(super) fn read_state(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<State> {
    let number: i64 = row.get(column)?;
    State::from_number(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// Milliseconds since 1970; what lies before or beyond is cut.
pub(super) fn millis(moment: SystemTime) -> i64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn moment(millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

/// What a failure of the database means for the caller.
pub(super) fn classify(error: &rusqlite::Error) -> SpoolError {
    let Some(failure) = error.sqlite_error() else {
        // A column of a type that we never wrote.
        return SpoolError::Damaged(Damage::Database(rusqlite::ffi::SQLITE_MISMATCH));
    };
    match failure.code {
        ErrorCode::DiskFull => SpoolError::Full(Bound::Disk),
        ErrorCode::ReadOnly => SpoolError::ReadOnly,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            SpoolError::Damaged(Damage::Database(failure.extended_code))
        }
        _ => SpoolError::Io(failure.extended_code),
    }
}

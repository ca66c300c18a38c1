//! Opens, makes and migrates the file.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::store::classify;
use crate::error::{OpenError, SpoolError};

/// Opens the file, makes it where there is none, and brings its schema up to date. The process that has it keeps it: a
/// second one gets [`OpenError::Locked`].
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    touch(path)?;
    let unusable = |error: rusqlite::Error| unusable(path, &error);
    let mut connection = connect(path).map_err(unusable)?;
    connection.busy_timeout(PREDECESSOR).map_err(unusable)?;
    configure(&connection).map_err(unusable)?;
    identify(&connection, path)?;
    let found = migrate(&mut connection, STEPS).map_err(unusable)?;
    let known = STEPS.len() as i64;
    if found > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(connection)
}

/// A second connection to a file that this process has open, for checkpoints alone.
pub(super) fn beside(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path)?;
    pragma(&connection, "synchronous = FULL")?;
    // The first read finds the log.
    pragma_number(&connection, "schema_version")?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // No other process, and no shared memory file: the log's index is on the heap, for all connections of this process.
    let connection = Connection::open_with_flags_and_vfs(path, flags, c"unix-excl")?;
    // The log is folded in when the spool is closed in order; a connection that is given up writes nothing more.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// `SPRL`, so that `file` and we can tell a spool from another database.
const APPLICATION_ID: i64 = 0x5350_524C;

/// How long to wait for a predecessor that is just closing the file.
const PREDECESSOR: Duration = Duration::from_secs(2);

/// Step n makes schema n + 1 out of schema n. Never change one that was released: add another.
const STEPS: &[&str] = &[SCHEMA_1, SCHEMA_2, SCHEMA_3];

const SCHEMA_1: &str = "
    -- Numbers of the file itself. 'batch' counts the transactions.
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('batch', 0);

    CREATE TABLE owner (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

    -- Moments are milliseconds since 1970. state: 0 waiting, 1 buried, 2 parked.
    CREATE TABLE entry (
        seq INTEGER PRIMARY KEY,
        id BLOB NOT NULL,
        lane INTEGER NOT NULL,
        state INTEGER NOT NULL DEFAULT 0,
        owner INTEGER NOT NULL,
        due INTEGER NOT NULL,
        expiry INTEGER,
        collapse BLOB,
        appended INTEGER NOT NULL,
        counted INTEGER NOT NULL DEFAULT 0,
        deferred INTEGER NOT NULL DEFAULT 0,
        size INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        buried INTEGER,
        reason TEXT
    ) STRICT;
    CREATE UNIQUE INDEX entry_id ON entry (id);
    CREATE INDEX entry_due ON entry (lane, due, expiry) WHERE state = 0;
    CREATE INDEX entry_collapse ON entry (collapse) WHERE state = 0 AND collapse IS NOT NULL;
    CREATE INDEX entry_grave ON entry (state, seq) WHERE state <> 0;

    -- Beside the entries, so that a page holds many of those.
    CREATE TABLE body (seq INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;

    -- What there is, so that nobody must count it.
    CREATE TABLE tally (
        lane INTEGER NOT NULL,
        state INTEGER NOT NULL,
        owner INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (lane, state, owner)
    ) STRICT, WITHOUT ROWID;

    -- Ids of settled entries, in the order of settling.
    CREATE TABLE seen (seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, until INTEGER NOT NULL) STRICT;

    CREATE TABLE gone (
        device BLOB PRIMARY KEY,
        lane INTEGER NOT NULL,
        app TEXT NOT NULL,
        since INTEGER,
        noted INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX gone_noted ON gone (noted);
";

/// Which of two entries of one collapse key is the news is no longer told by the order in which they had to wait.
const SCHEMA_2: &str = "
    ALTER TABLE entry ADD COLUMN came INTEGER NOT NULL DEFAULT 0;
    UPDATE entry SET came = appended;
";

/// Ids apart from the entries, because not all of them are on disk.
const SCHEMA_3: &str = "
    CREATE TABLE ident (id BLOB PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO ident SELECT id, seq FROM entry ORDER BY id;
    DROP INDEX entry_id;
    -- The first entry whose id may be missing in 'ident'.
    INSERT INTO meta VALUES ('indexed', (SELECT coalesce(max(seq), 0) + 1 FROM entry));
";

/// Makes the file with rights for its owner only; the log takes them over.
fn touch(path: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(source) if source.kind() == ErrorKind::ReadOnlyFilesystem => Err(OpenError::Unusable {
            path: path.to_owned(),
            source: SpoolError::ReadOnly,
        }),
        Err(source) => Err(OpenError::Path {
            path: path.to_owned(),
            source,
        }),
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_prepared_statement_cache_capacity(64);
    if pragma_number(connection, "schema_version")? == 0 {
        // Before the first table: room goes back to the file system. Later it would write at every start, which must
        // be possible on a disk that is full.
        pragma(connection, "auto_vacuum = INCREMENTAL")?;
    }
    for text in [
        "journal_mode = WAL",
        // Each commit syncs the log before it returns.
        "synchronous = FULL",
        // The writer folds the log in after it has answered, not before.
        "wal_autocheckpoint = 0",
        // Twice what it becomes before it is begun anew by default: to be written over, not to be given back and asked for again.
        "journal_size_limit = 134217728",
        // 8 MiB of pages in memory, however large the file.
        "cache_size = -8192",
        "cell_size_check = ON",
        "temp_store = MEMORY",
    ] {
        pragma(connection, text)?;
    }
    Ok(())
}

/// Sets what is named; some answer with a row and some do not.
fn pragma(connection: &Connection, text: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA {text}"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// That it is a spool, or nothing yet, and that it is ours alone and will be synced as it should.
fn identify(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let foreign = |found| OpenError::Foreign {
        path: path.to_owned(),
        found,
    };
    let unusable = |error: rusqlite::Error| unusable(path, &error);
    let number = |pragma| pragma_number(connection, pragma).map_err(unusable);
    match number("application_id")? {
        APPLICATION_ID => {}
        0 if number("schema_version")? == 0 => {}
        _ => return Err(foreign("another program's SQLite database")),
    }
    let mode: String = connection
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .map_err(unusable)?;
    if mode != "wal" {
        return Err(foreign("on a file system without write-ahead logs"));
    }
    Ok(())
}

fn unusable(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            OpenError::Locked { path }
        }
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::Foreign {
            path,
            found: "no SQLite database",
        },
        _ => OpenError::Unusable {
            path,
            source: classify(error),
        },
    }
}

fn pragma_number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
}

/// Takes the steps that are missing, each in a transaction of its own, and says which schema was found before.
fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<i64> {
    let found = pragma_number(connection, "user_version")?;
    for (version, step) in (1_i64..).zip(steps) {
        if version > found {
            let transaction = connection.transaction()?;
            transaction.execute_batch(step)?;
            transaction.execute_batch(&format!(
                "PRAGMA user_version = {version}; PRAGMA application_id = {APPLICATION_ID}"
            ))?;
            transaction.commit()?;
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> i64 {
        pragma_number(connection, "user_version").unwrap()
    }

    #[test]
    fn an_older_schema_is_brought_up_to_date_step_by_step() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = [
            "CREATE TABLE a (x); INSERT INTO a VALUES (1)",
            "ALTER TABLE a ADD COLUMN y DEFAULT 2",
            "CREATE TABLE b AS SELECT x, y FROM a",
        ];
        assert_eq!(migrate(&mut connection, &steps[..1]).unwrap(), 0);
        assert_eq!(version(&connection), 1);
        assert_eq!(migrate(&mut connection, &steps).unwrap(), 1);
        assert_eq!(version(&connection), 3);
        let sum: i64 = connection
            .query_row("SELECT x + y FROM b", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sum, 3);
    }

    #[test]
    fn what_waits_in_the_first_schema_is_there_in_the_newest() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &STEPS[..1]).unwrap();
        connection
            .execute_batch(
                "INSERT INTO entry (seq, id, lane, owner, due, appended, size, sum)
                 VALUES (1, x'00', 1, 1, 5, 4, 0, 0)",
            )
            .unwrap();
        assert_eq!(migrate(&mut connection, STEPS).unwrap(), 1);
        let came: i64 = connection
            .query_row("SELECT came FROM entry", [], |row| row.get(0))
            .unwrap();
        assert_eq!(came, 4);
        let seq: i64 = connection
            .query_row("SELECT seq FROM ident WHERE id = x'00'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(seq, 1, "it is found by its id");
    }

    #[test]
    fn a_step_that_fails_leaves_the_schema_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = [
            "CREATE TABLE a (x)",
            "CREATE TABLE b (x); CREATE TABLE a (x)",
        ];
        assert!(migrate(&mut connection, &steps).is_err());
        assert_eq!(version(&connection), 1);
        assert!(connection.prepare("SELECT * FROM b").is_err());
    }

    #[test]
    fn a_later_schema_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        let connection = open(&path).unwrap();
        connection
            .execute_batch("PRAGMA user_version = 99")
            .unwrap();
        drop(connection);
        let error = open(&path).unwrap_err();
        assert!(
            matches!(error, OpenError::Newer { found: 99, .. }),
            "{error:?}"
        );
        assert!(
            error
                .to_string()
                .ends_with("it was written by a later version")
        );
    }

    #[test]
    fn a_strange_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text");
        std::fs::write(
            &text,
            "no database at all, but a long enough text. ".repeat(100),
        )
        .unwrap();
        assert!(matches!(open(&text), Err(OpenError::Foreign { .. })));

        let other = dir.path().join("other.db");
        let connection = Connection::open(&other).unwrap();
        connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
        drop(connection);
        assert!(matches!(open(&other), Err(OpenError::Foreign { .. })));

        let nowhere = dir.path().join("missing/spool.db");
        assert!(matches!(open(&nowhere), Err(OpenError::Path { .. })));
    }

    #[test]
    fn the_file_is_its_owners_and_durable() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        let connection = open(&path).unwrap();
        for name in ["spool.db", "spool.db-wal"] {
            let rights = std::fs::metadata(dir.path().join(name))
                .unwrap()
                .permissions();
            assert_eq!(rights.mode() & 0o777, 0o600, "{name}");
        }
        // 2 is FULL, 2 is INCREMENTAL.
        assert_eq!(pragma_number(&connection, "synchronous").unwrap(), 2);
        assert_eq!(pragma_number(&connection, "auto_vacuum").unwrap(), 2);
    }
}

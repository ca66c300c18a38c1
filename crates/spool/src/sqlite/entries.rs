//! The life of an entry: append, lease, settle, shed.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::books::Hold;
use super::remembered;
use super::store::{Fault, Row, Session, millis, moment};
use crate::entry::{
    Appended, Count, Entry, Fingerprint, Lane, Lease, Leases, Settled, Settlement, State, Ticket,
};
use crate::error::{Bound, SpoolError};
use crate::options::Options;

/// All of them, or none.
pub(crate) fn append(
    session: &mut Session<'_>,
    entries: &[Entry],
    now: SystemTime,
) -> Result<Appended, Fault> {
    if session.disk_is_low {
        return Err(Fault::Refused(SpoolError::Full(Bound::DiskReserve)));
    }
    let mut fresh: Vec<&Entry> = Vec::with_capacity(entries.len());
    let mut ids = HashSet::with_capacity(entries.len());
    for entry in entries {
        if ids.insert(entry.id) && !is_known(session, entry.id, now)? {
            fresh.push(entry);
        }
    }
    let repeated = entries.len() - fresh.len();
    let mut late = Vec::new();
    let mut outdated: HashMap<i64, Row> = HashMap::new();
    let mut held = Vec::new();
    for entry in std::mem::take(&mut fresh) {
        if let Some(key) = entry.collapse {
            if is_late(&session.store.connection, entry, key)? {
                late.push(entry.id);
                continue;
            }
            let (under_way, free) = older(session, entry.lane, key, entry.came, now)?;
            held.extend(under_way);
            outdated.extend(free.into_iter().map(|row| (row.seq, row)));
        }
        fresh.push(entry);
    }
    make_sure_of_room(session, &fresh, &outdated).map_err(Fault::Refused)?;

    let mut appended = Appended {
        stored: fresh.len(),
        repeated,
        superseded: Vec::new(),
        late,
    };
    if !appended.late.is_empty() {
        remembered::remember(session, &appended.late, now)?;
    }
    for row in held {
        session.holds.outdate(row.seq);
    }
    for row in outdated.values() {
        drop_settled(session, row, now)?;
        appended.superseded.push(row.id);
    }
    for entry in fresh {
        insert(session, entry, now)?;
    }
    Ok(appended)
}

/// What an append of a newer entry does to older ones, for one that never had to wait.
pub(crate) fn supersede(
    session: &mut Session<'_>,
    lane: Lane,
    key: Fingerprint,
    came: SystemTime,
    now: SystemTime,
) -> Result<Vec<Uuid>, Fault> {
    let (held, free) = older(session, lane, key, came, now)?;
    for row in held {
        session.holds.outdate(row.seq);
    }
    for row in &free {
        drop_settled(session, row, now)?;
    }
    Ok(free.into_iter().map(|row| row.id).collect())
}

/// Drops an entry for good, whoever works on it: its id is absorbed from now on.
fn drop_settled(session: &mut Session<'_>, row: &Row, now: SystemTime) -> rusqlite::Result<()> {
    session.store.remove(row)?;
    session.holds.release(row.seq);
    remembered::remember(session, &[row.id], now)
}

/// Entries that are due, as many as asked for or as [`Options::leases`] leaves.
pub(crate) fn lease(
    session: &mut Session<'_>,
    lane: Lane,
    limit: usize,
    hold_for: Duration,
    now: SystemTime,
) -> Result<Leases, Fault> {
    let (now_ms, until_ms) = (millis(now), millis(now + hold_for));
    let limit = limit.min(session.options.leases.saturating_sub(session.holds.len()));
    let mut leases = Leases {
        next_due: next_due(&session.store.connection, lane, now_ms)?,
        ..Leases::default()
    };
    for (seq, lapses) in due(session, lane, now_ms, limit)? {
        let (row, lease) = match read(session, seq)? {
            Readable::Yes(row, lease) => (row, lease),
            Readable::Never(row) => {
                park(session, &row, now_ms, "checksum")?;
                leases.parked.push(row.id);
                continue;
            }
        };
        if lapses >= session.options.tries {
            park(session, &row, now_ms, "leases lapsed")?;
            leases.parked.push(row.id);
            continue;
        }
        let ticket = session.holds.grant(seq, lane, until_ms, lapses);
        leases.list.push(Lease { ticket, ..lease });
    }
    Ok(leases)
}

pub(crate) fn settle(
    session: &mut Session<'_>,
    ticket: Ticket,
    settlement: &Settlement,
    now: SystemTime,
) -> Result<Settled, Fault> {
    if !session.holds.is_newest(ticket) {
        return Ok(Settled::Stale);
    }
    session.holds.release(ticket.seq);
    match waiting(&session.store.connection, ticket.seq)? {
        Some(row) => end(session, &row, settlement, now),
        None => Ok(Settled::Stale),
    }
}

/// The same for a waiting entry that nobody works on.
pub(crate) fn settle_unleased(
    session: &mut Session<'_>,
    id: Uuid,
    settlement: &Settlement,
    now: SystemTime,
) -> Result<Settled, Fault> {
    let row = match session.store.find(id)? {
        Some(seq) => waiting(&session.store.connection, seq)?,
        None => None,
    };
    match row {
        Some(row) if session.holds.of(row.seq, millis(now)) != Hold::Held => {
            // A lease that has lapsed settles nothing after this.
            session.holds.release(row.seq);
            end(session, &row, settlement, now)
        }
        _ => Ok(Settled::Stale),
    }
}

fn end(
    session: &mut Session<'_>,
    row: &Row,
    settlement: &Settlement,
    now: SystemTime,
) -> Result<Settled, Fault> {
    match settlement {
        Settlement::Done => drop_settled(session, row, now)?,
        Settlement::Defer { .. }
            if session.holds.is_outdated(row.seq)
                || is_outdated(&session.store.connection, row.seq)? =>
        {
            drop_settled(session, row, now)?;
            return Ok(Settled::Superseded);
        }
        Settlement::Defer {
            until,
            counts,
            said,
        } => {
            session.store.touch();
            let mut update = session.store.connection.prepare_cached(
                "UPDATE entry SET due = ?2, deferred = deferred + 1, counted = counted + ?3, reason = ?4
                 WHERE seq = ?1",
            )?;
            update.execute((row.seq, millis(*until), counts, said))?;
        }
        Settlement::Bury { reason } => {
            let mut end = reason.len().min(Settlement::REASON_BYTES);
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            bury(session, row, State::Buried, millis(now), &reason[..end])?;
        }
    }
    Ok(Settled::Yes)
}

/// Drops entries whose time has passed, oldest due first, leased ones excepted.
pub(crate) fn shed(
    session: &mut Session<'_>,
    lane: Lane,
    limit: usize,
    now: SystemTime,
) -> Result<Vec<Uuid>, Fault> {
    let now_ms = millis(now);
    let rows = {
        let mut select = session.store.connection.prepare_cached(&format!(
            "SELECT {} FROM entry WHERE seq IN (
                SELECT seq FROM (
                    SELECT seq, expiry FROM entry
                    WHERE state = 0 AND lane = ?1 AND due <= ?2 ORDER BY due LIMIT ?3
                ) WHERE expiry <= ?2
             ) ORDER BY due",
            Row::COLUMNS
        ))?;
        let rows = select.query_map((lane.0, now_ms, SHED_SCAN), Row::read)?;
        rows.collect::<Result<Vec<Row>, _>>()?
    };
    let mut dropped = Vec::new();
    for row in rows {
        if dropped.len() == limit {
            break;
        }
        if session.holds.of(row.seq, now_ms) != Hold::Held {
            drop_settled(session, &row, now)?;
            dropped.push(row.id);
        }
    }
    Ok(dropped)
}

/// How many entries one shed looks at: some milliseconds of index.
const SHED_SCAN: i64 = 20_000;

fn is_known(session: &Session<'_>, id: Uuid, now: SystemTime) -> rusqlite::Result<bool> {
    Ok(session.store.find(id)?.is_some() || remembered::is_seen(session, id, now)?)
}

/// Whether one of the same key that came later waits.
fn is_late(connection: &Connection, entry: &Entry, key: Fingerprint) -> rusqlite::Result<bool> {
    let mut select = connection.prepare_cached(
        "SELECT 1 FROM entry WHERE state = 0 AND collapse = ?1 AND lane = ?2 AND came > ?3",
    )?;
    select.exists((key.0, entry.lane.0, millis(entry.came)))
}

/// Waiting entries of a key that did not come later: those that somebody works on, and the others.
fn older(
    session: &Session<'_>,
    lane: Lane,
    key: Fingerprint,
    came: SystemTime,
    now: SystemTime,
) -> rusqlite::Result<(Vec<Row>, Vec<Row>)> {
    let mut select = session.store.connection.prepare_cached(&format!(
        "SELECT {} FROM entry WHERE state = 0 AND collapse = ?1 AND lane = ?2 AND came <= ?3",
        Row::COLUMNS
    ))?;
    let rows = select.query_map((key.0, lane.0, millis(came)), Row::read)?;
    let rows = rows.collect::<Result<Vec<Row>, _>>()?;
    let is_held = |row: &Row| session.holds.of(row.seq, millis(now)) == Hold::Held;
    Ok(rows.into_iter().partition(is_held))
}

/// Whether a newer entry of the same key waits.
fn is_outdated(connection: &Connection, seq: i64) -> rusqlite::Result<bool> {
    let mut select = connection.prepare_cached(
        "SELECT 1 FROM entry AS newer, entry AS older
         WHERE older.seq = ?1 AND newer.state = 0 AND newer.collapse = older.collapse
           AND newer.lane = older.lane AND (newer.came, newer.seq) > (older.came, older.seq)",
    )?;
    select.exists([seq])
}

fn make_sure_of_room(
    session: &Session<'_>,
    fresh: &[&Entry],
    outdated: &HashMap<i64, Row>,
) -> Result<(), SpoolError> {
    let tallies = &session.store.tallies;
    let options = session.options;
    for entry in fresh {
        // Entries of one call share lane and owner more often than not; the sums are over all that do.
        let mut lane = tallies.lane(entry.lane);
        for other in fresh.iter().filter(|other| other.lane == entry.lane) {
            add(&mut lane, other.bytes.len());
        }
        for row in outdated.values().filter(|row| row.lane == entry.lane) {
            subtract(&mut lane, row);
        }
        let id = session.store.owner(&entry.owner);
        let mut owner = id.map_or_else(Count::default, |id| tallies.owner(id));
        for other in fresh.iter().filter(|other| other.owner == entry.owner) {
            add(&mut owner, other.bytes.len());
        }
        for row in outdated.values().filter(|row| Some(row.owner) == id) {
            subtract(&mut owner, row);
        }
        check_bounds(options, lane, owner)?;
    }
    Ok(())
}

fn add(count: &mut Count, bytes: usize) {
    count.entries += 1;
    count.bytes += bytes as u64;
}

fn subtract(count: &mut Count, row: &Row) {
    count.entries = count.entries.saturating_sub(1);
    count.bytes = count.bytes.saturating_add_signed(-row.size);
}

fn check_bounds(options: &Options, lane: Count, owner: Count) -> Result<(), SpoolError> {
    let bound = if lane.entries > options.lane_entries {
        Bound::LaneEntries
    } else if lane.bytes > options.lane_bytes {
        Bound::LaneBytes
    } else if owner.entries > options.owner_entries {
        Bound::OwnerEntries
    } else if owner.bytes > options.owner_bytes {
        Bound::OwnerBytes
    } else {
        return Ok(());
    };
    Err(SpoolError::Full(bound))
}

fn insert(session: &mut Session<'_>, entry: &Entry, now: SystemTime) -> rusqlite::Result<()> {
    let store = &mut *session.store;
    let owner = store.open_account(&entry.owner)?;
    let seq = store.enter(entry.id);
    let size = entry.bytes.len() as i64;
    let mut insert = store.connection.prepare_cached(
        "INSERT INTO entry
            (seq, id, lane, owner, due, expiry, collapse, appended, counted, deferred, size, sum, reason, came)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    insert.execute((
        seq,
        entry.id.as_bytes(),
        entry.lane.0,
        owner,
        millis(entry.due),
        entry.expiry.map(millis),
        entry.collapse.map(|key| key.0),
        millis(now),
        entry.counted,
        entry.deferred,
        size,
        sum(entry.id, &entry.bytes),
        entry.said,
        millis(entry.came),
    ))?;
    let mut insert = store
        .connection
        .prepare_cached("INSERT INTO body (seq, bytes) VALUES (?1, ?2)")?;
    insert.execute((seq, &entry.bytes))?;
    store
        .tallies
        .change(entry.lane, State::Waiting, owner, 1, size);
    Ok(())
}

/// Over the id too, so that no entry can come out under another's name.
pub(super) fn sum(id: Uuid, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(id.as_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Entries that are due and that nobody works on, with the number of their lapses.
fn due(
    session: &Session<'_>,
    lane: Lane,
    now_ms: i64,
    limit: usize,
) -> rusqlite::Result<Vec<(i64, u32)>> {
    let mut list = Vec::with_capacity(limit.min(1024));
    if limit == 0 {
        return Ok(list);
    }
    // Passes over what is held, which is bounded, and reads nothing but the index.
    let mut select = session.store.connection.prepare_cached(
        "SELECT seq FROM entry INDEXED BY entry_due
         WHERE state = 0 AND lane = ?1 AND due <= ?2 ORDER BY due",
    )?;
    let mut rows = select.query((lane.0, now_ms))?;
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        if let Hold::Free { lapses } = session.holds.of(seq, now_ms) {
            list.push((seq, lapses));
            if list.len() == limit {
                break;
            }
        }
    }
    Ok(list)
}

fn next_due(
    connection: &Connection,
    lane: Lane,
    now_ms: i64,
) -> rusqlite::Result<Option<SystemTime>> {
    let mut select = connection.prepare_cached(
        "SELECT min(due) FROM entry INDEXED BY entry_due WHERE state = 0 AND lane = ?1 AND due > ?2",
    )?;
    let due: Option<i64> = select.query_row((lane.0, now_ms), |row| row.get(0))?;
    Ok(due.map(moment))
}

/// The entry, if it waits.
fn waiting(connection: &Connection, seq: i64) -> rusqlite::Result<Option<Row>> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT {} FROM entry WHERE seq = ?1 AND state = 0",
        Row::COLUMNS
    ))?;
    select.query_row([seq], Row::read).optional()
}

enum Readable {
    Yes(Row, Lease),
    /// The bytes are not those that were written.
    Never(Row),
}

fn read(session: &Session<'_>, seq: i64) -> rusqlite::Result<Readable> {
    let store = &session.store;
    let mut select = store.connection.prepare_cached(&format!(
        "SELECT {}, appended, expiry, counted, deferred, sum, bytes
         FROM entry LEFT JOIN body USING (seq) WHERE seq = ?1",
        Row::COLUMNS
    ))?;
    select.query_row([seq], |columns| {
        let row = Row::read(columns)?;
        let expiry: Option<i64> = columns.get(7)?;
        let bytes: Option<Vec<u8>> = columns.get(11)?;
        let Some(bytes) = bytes.filter(|bytes| columns.get(10) == Ok(sum(row.id, bytes))) else {
            return Ok(Readable::Never(row));
        };
        let lease = Lease {
            id: row.id,
            lane: row.lane,
            owner: store.owner_name(row.owner),
            appended: moment(columns.get(6)?),
            expiry: expiry.map(moment),
            counted: columns.get(8)?,
            deferred: columns.get(9)?,
            bytes,
            ticket: Ticket { seq, token: 0 },
        };
        Ok(Readable::Yes(row, lease))
    })
}

fn park(session: &mut Session<'_>, row: &Row, now_ms: i64, reason: &str) -> rusqlite::Result<()> {
    session.holds.release(row.seq);
    bury(session, row, State::Parked, now_ms, reason)
}

fn bury(
    session: &mut Session<'_>,
    row: &Row,
    state: State,
    now_ms: i64,
    reason: &str,
) -> rusqlite::Result<()> {
    session.store.recount(row, state);
    let mut update = session
        .store
        .connection
        .prepare_cached("UPDATE entry SET state = ?2, buried = ?3, reason = ?4 WHERE seq = ?1")?;
    update.execute((row.seq, state.number(), now_ms, reason))?;
    Ok(())
}

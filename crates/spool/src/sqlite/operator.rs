//! What an operator asks and changes.

use std::time::SystemTime;

use rusqlite::OptionalExtension;
use uuid::Uuid;

use super::books::Hold;
use super::entries::sum;
use super::remembered;
use super::store::{Fault, Row, Session, millis, moment, read_state};
use crate::entry::{
    Altered, Changed, Cursor, Filter, Lane, Page, Selection, State, Stats, Summary,
};

/// A page of entries in the order of appending.
pub(crate) fn list(
    session: &Session<'_>,
    filter: &Filter,
    after: Cursor,
    limit: usize,
    now: SystemTime,
) -> Result<Page, Fault> {
    let mut page = Page::default();
    page.next = scan(session, filter, after, |seq, row| {
        page.list.push(summary(session, seq, row, now)?);
        Ok(page.list.len() < limit.min(PAGE))
    })?;
    Ok(page)
}

/// One entry with its bytes, whatever its checksum says.
pub(crate) fn show(
    session: &Session<'_>,
    id: Uuid,
    now: SystemTime,
) -> Result<Option<(Summary, Vec<u8>)>, Fault> {
    let Some(seq) = session.store.find(id)? else {
        return Ok(None);
    };
    let mut select = session.store.connection.prepare_cached(&format!(
        "SELECT {SUMMARY}, bytes FROM entry LEFT JOIN body USING (seq) WHERE seq = ?1"
    ))?;
    let found = select.query_row([seq], |row| {
        let bytes: Option<Vec<u8>> = row.get(13)?;
        Ok((
            summary(session, row.get(0)?, row, now)?,
            bytes.unwrap_or_default(),
        ))
    });
    Ok(found.optional()?)
}

/// Makes entries due at once, with all their attempts before them; buried and parked ones wait again.
pub(crate) fn retry(
    session: &mut Session<'_>,
    selection: &Selection,
    now: SystemTime,
) -> Result<Changed, Fault> {
    change(session, selection, now, |session, row| {
        if row.state != State::Waiting {
            session.store.recount(row, State::Waiting);
        }
        session.store.touch();
        session.holds.release(row.seq);
        let mut update = session.store.connection.prepare_cached(
            "UPDATE entry SET state = 0, due = ?2, counted = 0, deferred = 0, buried = NULL, reason = NULL
             WHERE seq = ?1",
        )?;
        update.execute((row.seq, millis(now)))?;
        Ok(())
    })
}

/// Removes entries for good. Their ids are not remembered: a sender may send them again.
pub(crate) fn drop_entries(
    session: &mut Session<'_>,
    selection: &Selection,
    now: SystemTime,
) -> Result<Changed, Fault> {
    change(session, selection, now, |session, row| {
        session.holds.release(row.seq);
        session.store.remove(row)
    })
}

/// What lies in the spool.
pub(crate) fn stats(session: &Session<'_>, now: SystemTime) -> Result<Stats, Fault> {
    let mut counts: Vec<_> = session
        .store
        .tallies
        .all()
        .filter(|(_, _, _, count)| count.entries > 0)
        .map(|(lane, state, owner, count)| (lane, state, session.store.owner_name(owner), count))
        .collect();
    counts.sort_unstable_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
    Ok(Stats {
        counts,
        leased: session.holds.by_lane(millis(now)),
        gone: session.store.gone,
        seen: remembered::seen_count(session)?,
    })
}

/// Reads everything and compares: SQLite's own structures, the tallies, every checksum. Takes as long as it takes.
pub(crate) fn check(session: &Session<'_>) -> Result<Vec<String>, Fault> {
    let connection = &session.store.connection;
    let mut faults = Vec::new();
    let mut pragma = connection.prepare("PRAGMA integrity_check(10)")?;
    let mut rows = pragma.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            faults.push(line);
        }
    }
    let mut wrong = connection.prepare(
        "SELECT lane, state, owner, sum(entries), sum(bytes) FROM (
            SELECT lane, state, owner, entries, bytes FROM tally
            UNION ALL
            SELECT lane, state, owner, -count(*), -sum(size) FROM entry GROUP BY lane, state, owner
         ) GROUP BY lane, state, owner HAVING sum(entries) <> 0 OR sum(bytes) <> 0",
    )?;
    let mut rows = wrong.query([])?;
    while let Some(row) = rows.next()? {
        let (lane, state): (i64, i64) = (row.get(0)?, row.get(1)?);
        faults.push(format!("the tally of lane {lane}, state {state} is wrong"));
    }
    let mut bodies =
        connection.prepare("SELECT id, sum, bytes, seq FROM entry LEFT JOIN body USING (seq)")?;
    let mut rows = bodies.query([])?;
    while let Some(row) = rows.next()? {
        let id = Uuid::from_bytes(row.get(0)?);
        let bytes: Option<Vec<u8>> = row.get(2)?;
        if bytes.map(|bytes| sum(id, &bytes)) != Some(row.get(1)?) {
            faults.push(format!("the checksum of {id} is wrong"));
        }
        if session.store.find(id)? != Some(row.get(3)?) {
            faults.push(format!("{id} is not found by its id"));
        }
    }
    for table in ["body", "ident"] {
        let sql = format!("SELECT count(*) FROM {table} WHERE seq NOT IN (SELECT seq FROM entry)");
        let orphans: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        if orphans > 0 {
            faults.push(format!("{orphans} rows of '{table}' belong to no entry"));
        }
    }
    Ok(faults)
}

/// The longest page: a few hundred kilobytes.
const PAGE: usize = 1000;
/// How many entries one call looks at, matching or not: a few milliseconds, which appends have to wait.
const SCAN: i64 = 5000;
/// The same where the bodies are read too.
const SEARCH: i64 = 500;

const SUMMARY: &str =
    "seq, id, lane, state, owner, size, appended, due, expiry, counted, deferred, reason, buried";

/// Visits what matches until the visitor has enough or the call has looked at enough; says where to go on.
fn scan(
    session: &Session<'_>,
    filter: &Filter,
    after: Cursor,
    mut visit: impl FnMut(i64, &rusqlite::Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Option<Cursor>> {
    let owner = match &filter.owner {
        None => None,
        Some(name) => match session.store.owner(name) {
            None => return Ok(None),
            id => id,
        },
    };
    // Graves are few and have an index; everything else is walked in order.
    let grave = filter.state.filter(|state| *state != State::Waiting);
    let condition = match grave {
        Some(State::Buried) => "state <> 0 AND state = 1 AND",
        Some(_) => "state <> 0 AND state = 2 AND",
        None => "",
    };
    let (found, looks) = match filter.bytes {
        Some(_) => (
            "instr((SELECT bytes FROM body WHERE body.seq = entry.seq), ?3) > 0",
            SEARCH,
        ),
        None => ("?3 IS NULL", SCAN),
    };
    let mut select = session.store.connection.prepare_cached(&format!(
        "SELECT {SUMMARY}, {found} FROM entry WHERE {condition} seq > ?1 ORDER BY seq LIMIT ?2"
    ))?;
    let mut rows = select.query((after.0, looks, filter.bytes.as_deref()))?;
    let (mut looked_at, mut last) = (0, after.0);
    while let Some(row) = rows.next()? {
        looked_at += 1;
        last = row.get(0)?;
        let matches = filter.lane.is_none_or(|lane| row.get(2) == Ok(lane.0))
            && filter
                .state
                .is_none_or(|state| row.get(3) == Ok(state.number()))
            && owner.is_none_or(|owner| row.get(4) == Ok(owner))
            && filter
                .before
                .is_none_or(|before| row.get(6).is_ok_and(|appended: i64| appended < millis(before)))
            && filter
                .since
                .is_none_or(|since| row.get(6).is_ok_and(|appended: i64| appended >= millis(since)))
            // None where the body is missing.
            && row.get(13) == Ok(Some(true));
        if matches && !visit(last, row)? {
            return Ok(Some(Cursor(last)));
        }
    }
    Ok((looked_at == looks).then_some(Cursor(last)))
}

fn summary(
    session: &Session<'_>,
    seq: i64,
    row: &rusqlite::Row<'_>,
    now: SystemTime,
) -> rusqlite::Result<Summary> {
    let expiry: Option<i64> = row.get(8)?;
    Ok(Summary {
        id: Uuid::from_bytes(row.get(1)?),
        lane: Lane(row.get(2)?),
        owner: session.store.owner_name(row.get(4)?),
        state: read_state(row, 3)?,
        leased: session.holds.of(seq, millis(now)) == Hold::Held,
        appended: moment(row.get(6)?),
        due: moment(row.get(7)?),
        expiry: expiry.map(moment),
        counted: row.get(9)?,
        deferred: row.get(10)?,
        size: row.get::<_, i64>(5)?.unsigned_abs(),
        buried: row.get::<_, Option<i64>>(12)?.map(moment),
        reason: row.get(11)?,
    })
}

/// Applies a change to what is selected and not leased.
fn change(
    session: &mut Session<'_>,
    selection: &Selection,
    now: SystemTime,
    mut apply: impl FnMut(&mut Session<'_>, &Row) -> rusqlite::Result<()>,
) -> Result<Changed, Fault> {
    let mut rows = Vec::new();
    let mut next = None;
    match selection {
        Selection::Id(id) => {
            let mut select = session.store.connection.prepare_cached(&format!(
                "SELECT {} FROM entry WHERE seq = ?1",
                Row::COLUMNS
            ))?;
            if let Some(seq) = session.store.find(*id)? {
                rows.extend(select.query_row([seq], Row::read).optional()?);
            }
        }
        Selection::All(filter, after) => {
            next = scan(session, filter, *after, |_, row| {
                rows.push(Row::read(row)?);
                Ok(rows.len() < PAGE)
            })?;
        }
    }
    let selected = rows.len();
    rows.retain(|row| session.holds.of(row.seq, millis(now)) != Hold::Held);
    let leased = (selected - rows.len()) as u64;
    for row in &rows {
        apply(session, row)?;
    }
    let altered = |row: Row| Altered {
        id: row.id,
        lane: row.lane,
        was: row.state,
    };
    Ok(Changed {
        list: rows.into_iter().map(altered).collect(),
        leased,
        next,
    })
}

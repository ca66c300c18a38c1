//! What is remembered beyond the entries: ids that were settled, devices that are gone. And what is forgotten in time.

use std::time::SystemTime;

use rusqlite::OptionalExtension;
use uuid::Uuid;

use super::store::{Fault, Row, Session, millis, moment};
use crate::entry::{Fingerprint, Gone, Lane};

/// Remembers ids for the dedup window.
pub(crate) fn remember(
    session: &mut Session<'_>,
    ids: &[Uuid],
    now: SystemTime,
) -> rusqlite::Result<()> {
    session.store.touch();
    let until = millis(now + session.options.seen_for);
    let mut insert = session
        .store
        .connection
        .prepare_cached("INSERT OR REPLACE INTO seen (id, until) VALUES (?1, ?2)")?;
    for id in ids {
        insert.execute((id.as_bytes(), until))?;
    }
    Ok(())
}

/// Whether an id was settled within the dedup window.
pub(crate) fn is_seen(session: &Session<'_>, id: Uuid, now: SystemTime) -> rusqlite::Result<bool> {
    let mut select = session
        .store
        .connection
        .prepare_cached("SELECT 1 FROM seen WHERE id = ?1 AND until > ?2")?;
    select.exists((id.as_bytes(), millis(now)))
}

/// Writes down that devices are gone; what was known of them is replaced.
pub(crate) fn note_gone(session: &mut Session<'_>, list: &[Gone]) -> Result<(), Fault> {
    session.store.touch();
    for gone in list {
        let new = !is_gone(session, gone.device)?;
        let mut insert = session.store.connection.prepare_cached(
            "INSERT OR REPLACE INTO gone (device, lane, app, since, noted) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        insert.execute((
            gone.device.0,
            gone.lane.0,
            &gone.app,
            gone.since.map(millis),
            millis(gone.noted),
        ))?;
        drop(insert);
        session.store.gone += u64::from(new);
    }
    Ok(())
}

fn is_gone(session: &Session<'_>, device: Fingerprint) -> rusqlite::Result<bool> {
    let mut select = session
        .store
        .connection
        .prepare_cached("SELECT 1 FROM gone WHERE device = ?1")?;
    select.exists([device.0])
}

/// What is known of a device that is gone.
pub(crate) fn gone(session: &Session<'_>, device: Fingerprint) -> Result<Option<Gone>, Fault> {
    let mut select = session
        .store
        .connection
        .prepare_cached("SELECT device, lane, app, since, noted FROM gone WHERE device = ?1")?;
    Ok(select.query_row([device.0], read_gone).optional()?)
}

/// Devices that are gone, in the order of their digests, after one of them.
pub(crate) fn gone_page(
    session: &Session<'_>,
    after: Option<Fingerprint>,
    limit: usize,
) -> Result<Vec<Gone>, Fault> {
    // The empty blob sorts before every digest.
    let after = after.map_or_else(Vec::new, |device| device.0.to_vec());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut select = session.store.connection.prepare_cached(
        "SELECT device, lane, app, since, noted FROM gone WHERE device > ?1 ORDER BY device LIMIT ?2",
    )?;
    let rows = select.query_map((after, limit), read_gone)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Forgets that a device is gone; `false` where nothing was known of it.
pub(crate) fn forget_gone(session: &mut Session<'_>, device: Fingerprint) -> Result<bool, Fault> {
    session.store.touch();
    let mut delete = session
        .store
        .connection
        .prepare_cached("DELETE FROM gone WHERE device = ?1")?;
    let forgotten = delete.execute([device.0])?;
    drop(delete);
    session.store.gone = session.store.gone.saturating_sub(forgotten as u64);
    Ok(forgotten > 0)
}

fn read_gone(row: &rusqlite::Row<'_>) -> rusqlite::Result<Gone> {
    let since: Option<i64> = row.get(3)?;
    Ok(Gone {
        device: Fingerprint(row.get(0)?),
        lane: Lane(row.get(1)?),
        app: row.get(2)?,
        since: since.map(moment),
        noted: moment(row.get(4)?),
    })
}

/// Ids in the order of settling: how many there are at most.
pub(super) fn seen_count(session: &Session<'_>) -> rusqlite::Result<u64> {
    let mut select = session.store.connection.prepare_cached(
        "SELECT coalesce((SELECT max(seq) FROM seen) - (SELECT min(seq) FROM seen) + 1, 0)",
    )?;
    let count: i64 = select.query_row([], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Forgets a bounded part of what is too old or too much, and gives room back to the file system. Says whether there
/// is more to do.
pub(super) fn tidy(session: &mut Session<'_>, now: SystemTime) -> rusqlite::Result<bool> {
    let mut more = forget_seen(session, now)?;
    more |= forget_gone_devices(session, now)?;
    more |= drop_graves(session, now)?;
    Ok(more)
}

/// How many rows of each kind one tidying removes: a few milliseconds, so that nobody waits for it.
const TIDY_ROWS: i64 = 500;

fn forget_seen(session: &mut Session<'_>, now: SystemTime) -> rusqlite::Result<bool> {
    let surplus = seen_count(session)?.saturating_sub(session.options.seen_entries);
    let mut delete = session.store.connection.prepare_cached(
        "DELETE FROM seen WHERE seq IN (
            SELECT seq FROM (SELECT seq, until FROM seen ORDER BY seq LIMIT ?1)
            WHERE until <= ?2 OR seq < ?3 + (SELECT min(seq) FROM seen)
         )",
    )?;
    let rows = delete.execute((TIDY_ROWS, millis(now), surplus.cast_signed()))?;
    drop(delete);
    Ok(tidied(session, rows))
}

fn forget_gone_devices(session: &mut Session<'_>, now: SystemTime) -> rusqlite::Result<bool> {
    let oldest = millis(now - session.options.gone_for.min(since_epoch(now)));
    let surplus = session
        .store
        .gone
        .saturating_sub(session.options.gone_entries);
    let surplus = surplus.cast_signed().min(TIDY_ROWS);
    let mut delete = session.store.connection.prepare_cached(
        "DELETE FROM gone WHERE device IN (
            SELECT device FROM (SELECT device, noted FROM gone ORDER BY noted LIMIT ?1) WHERE noted <= ?2
            UNION
            SELECT device FROM (SELECT device FROM gone ORDER BY noted LIMIT ?3)
         )",
    )?;
    let rows = delete.execute((TIDY_ROWS, oldest, surplus))?;
    drop(delete);
    session.store.gone = session.store.gone.saturating_sub(rows as u64);
    Ok(tidied(session, rows))
}

fn drop_graves(session: &mut Session<'_>, now: SystemTime) -> rusqlite::Result<bool> {
    let oldest = millis(now - session.options.grave_for.min(since_epoch(now)));
    let surplus = session
        .store
        .tallies
        .graves()
        .saturating_sub(session.options.grave_entries);
    let mut rows = Vec::new();
    {
        let mut select = session.store.connection.prepare_cached(&format!(
            "SELECT {}, coalesce(buried, 0) FROM entry INDEXED BY entry_grave
             WHERE state <> 0 AND state = ?1 ORDER BY seq LIMIT ?2",
            Row::COLUMNS
        ))?;
        for state in [1_i64, 2] {
            let mut found = select.query((state, TIDY_ROWS))?;
            while let Some(row) = found.next()? {
                rows.push((Row::read(row)?, row.get::<_, i64>(6)?));
            }
        }
    }
    rows.sort_unstable_by_key(|(row, _)| row.seq);
    let mut surplus = usize::try_from(surplus).unwrap_or(usize::MAX);
    let mut dropped = 0;
    for (row, buried) in rows {
        if surplus > 0 || buried <= oldest {
            session.store.remove(&row)?;
            surplus = surplus.saturating_sub(1);
            dropped += 1;
        }
    }
    Ok(tidied(session, dropped))
}

fn since_epoch(now: SystemTime) -> std::time::Duration {
    now.duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

fn tidied(session: &mut Session<'_>, rows: usize) -> bool {
    if rows > 0 {
        session.store.touch();
    }
    rows as i64 >= TIDY_ROWS
}

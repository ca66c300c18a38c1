//! Which entry has which id.
//!
//! Ids are random: each one that goes into a tree on disk changes a page of its own, more than all the rest of its entry does. So the ids
//! of the newest entries are in memory alone, and most entries end before theirs is anywhere else. When there are too many, neighbours go to
//! the table `ident` together and share its pages: a hand goes round all ids and takes some along in each transaction. `meta` says from which
//! entry on an id may be missing there; those are read at a start.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

#[derive(Debug)]
pub(super) struct Ids {
    recent: BTreeMap<Uuid, i64>,
    most: usize,
    hand: Hand,
    /// What the transaction has changed: what was there before, and where the hand was.
    changed: Vec<(Uuid, Option<i64>)>,
    before: Hand,
}

#[derive(Clone, Copy, Debug)]
struct Hand {
    /// The next id to be taken along.
    next: Uuid,
    /// The first entry that came after this round had begun: those before it are in the table when the round ends.
    since: i64,
}

impl Ids {
    /// None yet; so many stay in memory.
    pub(super) fn new(most: usize) -> Ids {
        let hand = Hand {
            next: Uuid::nil(),
            since: 0,
        };
        Ids {
            recent: BTreeMap::new(),
            most,
            hand,
            changed: Vec::new(),
            before: hand,
        }
    }

    /// Reads what is not in the table, once; `next_seq` is the number of the entry to come.
    pub(super) fn load(&mut self, connection: &Connection, next_seq: i64) -> rusqlite::Result<()> {
        self.hand.since = next_seq;
        self.commit();
        let mut select = connection.prepare(
            "SELECT id, seq FROM entry
             WHERE seq >= (SELECT value FROM meta WHERE key = 'indexed')
               AND NOT EXISTS (SELECT 1 FROM ident WHERE ident.id = entry.id)",
        )?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let id = Uuid::from_bytes(row.get(0)?);
            self.recent.insert(id, row.get(1)?);
        }
        Ok(())
    }

    /// The entry with this id.
    pub(super) fn find(&self, connection: &Connection, id: Uuid) -> rusqlite::Result<Option<i64>> {
        if let Some(seq) = self.recent.get(&id) {
            return Ok(Some(*seq));
        }
        let mut select = connection.prepare_cached("SELECT seq FROM ident WHERE id = ?1")?;
        select
            .query_row([id.as_bytes()], |row| row.get(0))
            .optional()
    }

    pub(super) fn insert(&mut self, id: Uuid, seq: i64) {
        let before = self.recent.insert(id, seq);
        self.changed.push((id, before));
    }

    pub(super) fn remove(&mut self, connection: &Connection, id: Uuid) -> rusqlite::Result<()> {
        if let Some(seq) = self.recent.remove(&id) {
            self.changed.push((id, Some(seq)));
            return Ok(());
        }
        let mut delete = connection.prepare_cached("DELETE FROM ident WHERE id = ?1")?;
        delete.execute([id.as_bytes()])?;
        Ok(())
    }

    /// Takes along what is too much, twice as many as have come with this transaction at most.
    pub(super) fn save(&mut self, connection: &Connection, next_seq: i64) -> rusqlite::Result<()> {
        let surplus = self.recent.len().saturating_sub(self.most);
        let count = surplus.min(2 * self.changed.len());
        if count == 0 {
            return Ok(());
        }
        let taken: Vec<(Uuid, i64)> = self
            .recent
            .range(self.hand.next..)
            .take(count)
            .map(|(id, seq)| (*id, *seq))
            .collect();
        let mut insert =
            connection.prepare_cached("INSERT OR REPLACE INTO ident (id, seq) VALUES (?1, ?2)")?;
        for (id, seq) in &taken {
            insert.execute((id.as_bytes(), seq))?;
            self.recent.remove(id);
            self.changed.push((*id, Some(*seq)));
        }
        let last = taken.last().map(|(id, _)| id.as_u128());
        match last.and_then(|last| last.checked_add(1)) {
            Some(next) if taken.len() == count => self.hand.next = Uuid::from_u128(next),
            _ => {
                let mut update = connection
                    .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'indexed'")?;
                update.execute([self.hand.since])?;
                self.hand = Hand {
                    next: Uuid::nil(),
                    since: next_seq,
                };
            }
        }
        Ok(())
    }

    /// What has changed is on disk.
    pub(super) fn commit(&mut self) {
        self.changed.clear();
        self.before = self.hand;
    }

    /// What has changed since the last commit has not happened.
    pub(super) fn roll_back(&mut self) {
        for (id, before) in self.changed.drain(..).rev() {
            match before {
                Some(seq) => self.recent.insert(id, seq),
                None => self.recent.remove(&id),
            };
        }
        self.hand = self.before;
    }
}

//! What is kept in memory beside the database: how much there is, and who holds what.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use crate::entry::{Count, Lane, State, Ticket};

/// How much lies where. The same numbers stand in the table `tally`, so that a start counts nothing.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    counts: HashMap<(Lane, State, i64), Count>,
    changed: HashSet<(Lane, State, i64)>,
    lanes: HashMap<Lane, Count>,
    owners: HashMap<i64, Count>,
    graves: u64,
}

impl Tallies {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Tallies> {
        let mut tallies = Tallies::default();
        let mut statement =
            connection.prepare_cached("SELECT lane, state, owner, entries, bytes FROM tally")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let lane = Lane(row.get(0)?);
            let Some(state) = State::from_number(row.get(1)?) else {
                continue; // a later version's; it is theirs to count
            };
            let entries: i64 = row.get(3)?;
            let bytes: i64 = row.get(4)?;
            tallies.change(lane, state, row.get(2)?, entries, bytes);
        }
        tallies.changed.clear();
        Ok(tallies)
    }

    /// Adds `entries` and `bytes`, which may be negative.
    pub(super) fn change(
        &mut self,
        lane: Lane,
        state: State,
        owner: i64,
        entries: i64,
        bytes: i64,
    ) {
        let key = (lane, state, owner);
        let add = |count: &mut Count| {
            count.entries = count.entries.saturating_add_signed(entries);
            count.bytes = count.bytes.saturating_add_signed(bytes);
        };
        add(self.counts.entry(key).or_default());
        self.changed.insert(key);
        if state == State::Waiting {
            add(self.lanes.entry(lane).or_default());
            add(self.owners.entry(owner).or_default());
        } else {
            self.graves = self.graves.saturating_add_signed(entries);
        }
    }

    /// Writes down what has changed since the last time.
    pub(super) fn save(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO tally (lane, state, owner, entries, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET entries = ?4, bytes = ?5",
        )?;
        for key @ (lane, state, owner) in self.changed.drain() {
            let count = self.counts.get(&key).copied().unwrap_or_default();
            let (entries, bytes) = (count.entries.cast_signed(), count.bytes.cast_signed());
            statement.execute((lane.0, state.number(), owner, entries, bytes))?;
        }
        Ok(())
    }

    /// What waits in a lane.
    pub(super) fn lane(&self, lane: Lane) -> Count {
        self.lanes.get(&lane).copied().unwrap_or_default()
    }

    /// What waits on an account.
    pub(super) fn owner(&self, owner: i64) -> Count {
        self.owners.get(&owner).copied().unwrap_or_default()
    }

    /// How many entries lie buried or parked.
    pub(super) fn graves(&self) -> u64 {
        self.graves
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Lane, State, i64, Count)> {
        self.counts
            .iter()
            .map(|(&(lane, state, owner), &count)| (lane, state, owner, count))
    }
}

/// Who holds what. Only in memory: when the process ends, nobody works on anything any more.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_seq: HashMap<i64, Held>,
    last_token: u64,
    granted: Vec<(i64, Option<Held>)>,
    /// Entries and the leases on them that end.
    released: Vec<(i64, u64)>,
    /// Held ones that something newer has made worthless, and those of this transaction among them.
    outdated: HashSet<i64>,
    marked: Vec<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    lane: Lane,
    token: u64,
    until: i64,
    lapses: u32,
}

/// Whether an entry may be leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nobody works on it; so many leases in a row have lapsed.
    Free { lapses: u32 },
    /// Somebody works on it.
    Held,
}

impl Holds {
    pub(super) fn of(&self, seq: i64, now: i64) -> Hold {
        match self.by_seq.get(&seq) {
            None => Hold::Free { lapses: 0 },
            Some(held) if held.until <= now => Hold::Free {
                lapses: held.lapses + 1,
            },
            Some(_) => Hold::Held,
        }
    }

    pub(super) fn grant(&mut self, seq: i64, lane: Lane, until: i64, lapses: u32) -> Ticket {
        self.last_token += 1;
        let token = self.last_token;
        let held = Held {
            lane,
            token,
            until,
            lapses,
        };
        let before = self.by_seq.insert(seq, held);
        self.granted.push((seq, before));
        Ticket { seq, token }
    }

    /// Whether this is the newest lease on its entry. One that has lapsed still is while nobody else has taken over.
    pub(super) fn is_newest(&self, ticket: Ticket) -> bool {
        self.by_seq
            .get(&ticket.seq)
            .is_some_and(|held| held.token == ticket.token)
    }

    /// Whoever works on it now does not any more, once the transaction is on disk. A lease that follows in the same
    /// transaction stands.
    pub(super) fn release(&mut self, seq: i64) {
        let held = self.by_seq.get(&seq);
        self.released.extend(held.map(|held| (seq, held.token)));
    }

    /// What is held is not to come back.
    pub(super) fn outdate(&mut self, seq: i64) {
        if self.outdated.insert(seq) {
            self.marked.push(seq);
        }
    }

    pub(super) fn is_outdated(&self, seq: i64) -> bool {
        self.outdated.contains(&seq)
    }

    pub(super) fn commit(&mut self) {
        self.granted.clear();
        self.marked.clear();
        for (seq, token) in self.released.drain(..) {
            if self
                .by_seq
                .get(&seq)
                .is_some_and(|held| held.token == token)
            {
                self.by_seq.remove(&seq);
                self.outdated.remove(&seq);
            }
        }
    }

    pub(super) fn roll_back(&mut self) {
        self.released.clear();
        for seq in self.marked.drain(..) {
            self.outdated.remove(&seq);
        }
        for (seq, before) in self.granted.drain(..).rev() {
            match before {
                Some(held) => self.by_seq.insert(seq, held),
                None => self.by_seq.remove(&seq),
            };
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_seq.len()
    }

    /// How many are held in each lane at a moment.
    pub(super) fn by_lane(&self, now: i64) -> Vec<(Lane, u64)> {
        let mut lanes: Vec<(Lane, u64)> = Vec::new();
        for held in self.by_seq.values().filter(|held| held.until > now) {
            match lanes.iter_mut().find(|(lane, _)| *lane == held.lane) {
                Some((_, count)) => *count += 1,
                None => lanes.push((held.lane, 1)),
            }
        }
        lanes.sort_unstable();
        lanes
    }
}

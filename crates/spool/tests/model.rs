//! Random verbs against the spool and against a model of it that fits on a page, with crashes and restarts between.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pushrelay_spool::{
    Cursor, Entry, Filter, Fingerprint, Lane, Lease, Options, Selection, Settled, Settlement,
    Spool, State,
};
use uuid::Uuid;

const HOLD: Duration = Duration::from_secs(30);
const SEEN: Duration = Duration::from_secs(200);
const TRIES: u32 = 3;

/// What the spool is meant to be: entries in the order of appending.
#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, Kept>,
    seen: HashMap<Uuid, SystemTime>,
    next: u64,
}

struct Kept {
    entry: Entry,
    state: State,
    due: SystemTime,
    counted: u32,
    deferred: u32,
    /// Until when, and how many before it have lapsed.
    lease: Option<(SystemTime, u32, Uuid)>,
    /// Something newer came while it was held.
    outdated: bool,
}

impl Kept {
    fn is_held(&self, now: SystemTime) -> bool {
        self.lease.is_some_and(|(until, _, _)| until > now)
    }
}

impl Model {
    /// Stored, repeated, superseded.
    fn append(&mut self, entry: &Entry, now: SystemTime) -> (bool, Vec<Uuid>) {
        let known = self.entries.values().any(|kept| kept.entry.id == entry.id)
            || self.seen.get(&entry.id).is_some_and(|until| *until > now);
        if known {
            return (false, Vec::new());
        }
        let mut superseded = Vec::new();
        if entry.collapse.is_some() {
            let late = self.entries.values().any(|kept| {
                kept.state == State::Waiting
                    && kept.entry.collapse == entry.collapse
                    && kept.entry.lane == entry.lane
                    && kept.entry.came > entry.came
            });
            if late {
                self.seen.insert(entry.id, now + SEEN);
                return (false, vec![entry.id]);
            }
            self.entries.retain(|_, kept| {
                let older = kept.state == State::Waiting
                    && kept.entry.collapse == entry.collapse
                    && kept.entry.lane == entry.lane;
                if older && kept.is_held(now) {
                    kept.outdated = true;
                } else if older {
                    superseded.push(kept.entry.id);
                }
                !older || kept.is_held(now)
            });
        }
        for id in &superseded {
            self.seen.insert(*id, now + SEEN);
        }
        let kept = Kept {
            entry: entry.clone(),
            state: State::Waiting,
            due: entry.due,
            counted: entry.counted,
            deferred: entry.deferred,
            lease: None,
            outdated: false,
        };
        self.entries.insert(self.next, kept);
        self.next += 1;
        (true, superseded)
    }

    fn find(&mut self, id: Uuid) -> Option<(u64, &mut Kept)> {
        let found = self
            .entries
            .iter_mut()
            .find(|(_, kept)| kept.entry.id == id);
        found.map(|(seq, kept)| (*seq, kept))
    }

    fn settle(
        &mut self,
        id: Uuid,
        token: Uuid,
        settlement: &Settlement,
        now: SystemTime,
    ) -> Settled {
        match self.find(id) {
            Some((seq, kept)) if kept.lease.is_some_and(|(_, _, of)| of == token) => {
                self.end(seq, settlement, now)
            }
            _ => Settled::Stale,
        }
    }

    fn settle_unleased(&mut self, id: Uuid, settlement: &Settlement, now: SystemTime) -> Settled {
        match self.find(id) {
            Some((seq, kept)) if !kept.is_held(now) => self.end(seq, settlement, now),
            _ => Settled::Stale,
        }
    }

    fn end(&mut self, seq: u64, settlement: &Settlement, now: SystemTime) -> Settled {
        let kept = self.entries.get_mut(&seq).unwrap();
        if kept.state != State::Waiting {
            return Settled::Stale;
        }
        let was_outdated = std::mem::take(&mut kept.outdated);
        kept.lease = None;
        let id = kept.entry.id;
        let (lane, collapse) = (kept.entry.lane, kept.entry.collapse);
        let came = kept.entry.came;
        let outdated = collapse.is_some()
            && self.entries.iter().any(|(other, newer)| {
                (newer.entry.came, *other) > (came, seq)
                    && newer.state == State::Waiting
                    && newer.entry.collapse == collapse
                    && newer.entry.lane == lane
            });
        let kept = self.entries.get_mut(&seq).unwrap();
        match settlement {
            Settlement::Bury { .. } => kept.state = State::Buried,
            Settlement::Defer { until, counts, .. } if !outdated && !was_outdated => {
                kept.due = *until;
                kept.deferred += 1;
                kept.counted += u32::from(*counts);
            }
            _ => {
                self.entries.remove(&seq);
                self.seen.insert(id, now + SEEN);
                if matches!(settlement, Settlement::Defer { .. }) {
                    return Settled::Superseded;
                }
            }
        }
        Settled::Yes
    }

    /// Which are due and free, with the number of lapses; those lapsed too often are parked on the way.
    fn lease(&mut self, lane: Lane, now: SystemTime) -> Vec<(Uuid, u32)> {
        let mut due = Vec::new();
        for kept in self.entries.values_mut() {
            let free = kept.entry.lane == lane
                && kept.state == State::Waiting
                && kept.due <= now
                && !kept.is_held(now);
            if free {
                due.push((
                    kept.entry.id,
                    kept.lease.map_or(0, |(_, lapses, _)| lapses + 1),
                ));
            }
        }
        due
    }

    /// The process has died: nobody holds anything.
    fn crash(&mut self) {
        for kept in self.entries.values_mut() {
            (kept.lease, kept.outdated) = (None, false);
        }
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn entry(&mut self, now: SystemTime) -> Entry {
        let number = self.roll(400);
        let collapse = self.roll(12) as u8;
        Entry {
            id: Uuid::from_u64_pair(7, number),
            lane: Lane(self.roll(2) as u8),
            owner: if self.roll(2) == 0 { "a" } else { "b" }.into(),
            due: now + Duration::from_secs(self.roll(40)),
            expiry: (self.roll(3) == 0).then(|| now + Duration::from_secs(self.roll(60))),
            collapse: (collapse < 6).then_some(Fingerprint([collapse; 16])),
            came: now - Duration::from_secs(self.roll(20)),
            said: None,
            counted: self.roll(3) as u32,
            deferred: self.roll(3) as u32,
            bytes: (0..self.roll(300)).map(|byte| byte as u8).collect(),
        }
    }

    fn settlement(&mut self, now: SystemTime) -> Settlement {
        match self.roll(4) {
            0 | 1 => Settlement::Done,
            2 => Settlement::Defer {
                until: now + Duration::from_secs(self.roll(40)),
                counts: self.roll(2) == 0,
                said: "busy",
            },
            _ => Settlement::Bury {
                reason: "r".to_owned(),
            },
        }
    }
}

/// Everything that both know, side by side.
async fn compare(spool: &Spool, model: &Model, now: SystemTime) {
    let page = spool
        .list(Filter::default(), Cursor::default(), 1000, now)
        .await
        .unwrap();
    assert_eq!(page.next, None);
    let listed: Vec<_> = page
        .list
        .iter()
        .map(|one| {
            (
                one.id,
                one.lane,
                one.state,
                one.leased,
                one.due,
                one.counted,
                one.deferred,
                one.size,
            )
        })
        .collect();
    let expected: Vec<_> = model
        .entries
        .values()
        .map(|kept| {
            let held = kept.is_held(now);
            let size = kept.entry.bytes.len() as u64;
            (
                kept.entry.id,
                kept.entry.lane,
                kept.state,
                held,
                kept.due,
                kept.counted,
                kept.deferred,
                size,
            )
        })
        .collect();
    assert_eq!(listed, expected);
    assert_eq!(spool.check().await.unwrap(), [] as [String; 0]);
}

fn open(dir: &Path) -> Spool {
    let options = Options {
        seen_for: SEEN,
        tries: TRIES,
        // So few that each story goes through all that happens when there are too many.
        recent_ids: 5,
        log_pages: 60,
        fold_pages: 20,
        ..Options::default()
    };
    Spool::open(dir.join("spool.db"), options).unwrap()
}

async fn play(seed: u64) {
    let mut dice = Dice(seed);
    let mut dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    let mut model = Model::default();
    let mut held: Vec<(Lease, Uuid)> = Vec::new();
    let mut tokens = 0;
    let mut now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for _ in 0..400 {
        now += Duration::from_secs(dice.roll(4));
        match dice.roll(100) {
            0..40 => {
                let entry = dice.entry(now);
                let (stored, superseded) = model.append(&entry, now);
                let mut appended = spool.append(vec![entry], now).await.unwrap();
                appended.superseded.append(&mut appended.late);
                appended.superseded.sort_unstable();
                let mut expected = superseded;
                expected.sort_unstable();
                assert_eq!(
                    (appended.stored == 1, appended.superseded),
                    (stored, expected)
                );
            }
            40..60 => {
                let lane = Lane(dice.roll(2) as u8);
                let limit = 1 + dice.roll(4) as usize;
                let free: HashMap<Uuid, u32> = model.lease(lane, now).into_iter().collect();
                let leases = spool.lease(lane, limit, HOLD, now).await.unwrap();
                assert_eq!(
                    leases.list.len() + leases.parked.len(),
                    limit.min(free.len())
                );
                for id in leases.parked {
                    assert!(free[&id] >= TRIES);
                    let (_, kept) = model.find(id).unwrap();
                    (kept.state, kept.lease) = (State::Parked, None);
                    kept.outdated = false;
                }
                for lease in leases.list {
                    let lapses = free[&lease.id];
                    assert!(lapses < TRIES);
                    tokens += 1;
                    let token = Uuid::from_u64_pair(0, tokens);
                    let (_, kept) = model.find(lease.id).unwrap();
                    assert_eq!(lease.bytes, kept.entry.bytes);
                    assert_eq!(
                        (lease.counted, lease.deferred),
                        (kept.counted, kept.deferred)
                    );
                    kept.lease = Some((now + HOLD, lapses, token));
                    held.push((lease, token));
                }
            }
            60..63 => {
                let id = dice.entry(now).id;
                let settlement = dice.settlement(now);
                let expected = model.settle_unleased(id, &settlement, now);
                let settled = spool.settle_unleased(id, settlement, now).await;
                assert_eq!(settled.unwrap(), expected);
            }
            63..88 if !held.is_empty() => {
                let at = dice.roll(held.len() as u64) as usize;
                let (lease, token) = held.swap_remove(at);
                let settlement = dice.settlement(now);
                let expected = model.settle(lease.id, token, &settlement, now);
                assert_eq!(
                    spool.settle(lease, settlement, now).await.unwrap(),
                    expected
                );
            }
            88..90 => {
                let lane = Lane(dice.roll(2) as u8);
                let dropped = spool.shed(lane, 100, now).await.unwrap();
                let mut expected = Vec::new();
                model.entries.retain(|_, kept| {
                    let worthless = kept.entry.lane == lane
                        && kept.state == State::Waiting
                        && kept.due <= now
                        && !kept.is_held(now)
                        && kept.entry.expiry.is_some_and(|expiry| expiry <= now);
                    if worthless {
                        expected.push(kept.entry.id);
                    }
                    !worthless
                });
                for id in &expected {
                    model.seen.insert(*id, now + SEEN);
                }
                let sorted = |mut ids: Vec<Uuid>| {
                    ids.sort_unstable();
                    ids
                };
                assert_eq!(sorted(dropped), sorted(expected));
            }
            90..93 => {
                let id = dice.entry(now).id;
                let changed = spool.retry(Selection::Id(id), now).await.unwrap();
                let expected = model.find(id).filter(|(_, kept)| !kept.is_held(now));
                assert_eq!(changed.list.len(), usize::from(expected.is_some()));
                if let Some((_, kept)) = expected {
                    (kept.state, kept.due, kept.lease) = (State::Waiting, now, None);
                    (kept.counted, kept.deferred) = (0, 0);
                    kept.outdated = false;
                }
            }
            93..95 => {
                let id = dice.entry(now).id;
                let changed = spool.discard(Selection::Id(id), now).await.unwrap();
                let free = model
                    .find(id)
                    .filter(|(_, kept)| !kept.is_held(now))
                    .map(|(seq, _)| seq);
                assert_eq!(changed.list.len(), usize::from(free.is_some()));
                if let Some(seq) = free {
                    model.entries.remove(&seq);
                }
            }
            95 => {
                if dice.roll(2) == 0 {
                    // A restart over nothing, or next to it.
                    let all = Selection::All(Filter::default(), Cursor::default());
                    let changed = spool.discard(all, now).await.unwrap();
                    let before = model.entries.len();
                    model.entries.retain(|_, kept| kept.is_held(now));
                    assert_eq!(changed.list.len(), before - model.entries.len());
                }
                spool.close().await;
                spool = open(dir.path());
                held.clear();
                model.crash();
            }
            96 => {
                // What a crash leaves: the files as they are while the process works.
                let copy = tempfile::tempdir().unwrap();
                for name in ["spool.db", "spool.db-wal"] {
                    std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
                }
                spool.close().await;
                dir = copy;
                spool = open(dir.path());
                held.clear();
                model.crash();
            }
            _ => compare(&spool, &model, now).await,
        }
    }
    compare(&spool, &model, now).await;
    spool.close().await;
}

#[tokio::test]
async fn the_spool_does_what_its_model_does() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(12),
    };
    for seed in seeds {
        eprintln!("SEED={seed}");
        play(seed).await;
    }
}

//! What goes in, what comes out, and what becomes of it.

use std::fmt;
use std::time::SystemTime;

use uuid::Uuid;

/// A queue of its own inside the spool: what waits in one lane never holds up another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u8);

/// 128 bits of a digest, made by the caller: what is to be compared and not to be read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

/// Bytes that shall wait, on their way in. Its `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is known by; a second entry of the same id is absorbed.
    pub id: Uuid,
    /// The queue.
    pub lane: Lane,
    /// On whose account it lies here (the partner), at most [`Entry::OWNER_BYTES`] bytes.
    pub owner: Box<str>,
    /// Not to be leased before.
    pub due: SystemTime,
    /// Worthless from here on; looked at only by [`Spool::shed`](crate::Spool::shed).
    pub expiry: Option<SystemTime>,
    /// An entry that came later takes the place of an earlier one of the same lane and key that is not leased, whichever is
    /// appended first.
    pub collapse: Option<Fingerprint>,
    /// When it came to the caller: what says first and has to wait late is no news any more.
    pub came: SystemTime,
    /// Why it has to wait, in a word for the operator.
    pub said: Option<&'static str>,
    /// How often it was deferred before it came here, and counted as one of its own attempts.
    pub counted: u32,
    /// How often it was deferred before it came here.
    pub deferred: u32,
    /// What waits.
    pub bytes: Vec<u8>,
}

impl Entry {
    /// The longest name of an owner.
    pub const OWNER_BYTES: usize = 256;
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Entry({}, {:?}, {} bytes)",
            self.id,
            self.lane,
            self.bytes.len()
        )
    }
}

/// What an append did; by the time it is seen, it is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Entries that wait now.
    pub stored: usize,
    /// Entries whose id waits already, lies buried, or was settled within the dedup window.
    pub repeated: usize,
    /// Entries that made room for a newer one of the same collapse key.
    pub superseded: Vec<Uuid>,
    /// Entries that were not stored, because one of the same collapse key that came later waits already.
    pub late: Vec<Uuid>,
}

/// The right to work on one entry until it is settled or the lease lapses.
///
/// It cannot be copied. Dropping it unsettled is not an answer: the entry comes back when the lease lapses, and after
/// [`Options::tries`](crate::Options::tries) lapses it is parked, because whatever works on it seems to die of it.
pub struct Lease {
    /// What the entry is known by.
    pub id: Uuid,
    /// Its queue.
    pub lane: Lane,
    /// On whose account it lies here.
    pub owner: Box<str>,
    /// When it was appended.
    pub appended: SystemTime,
    /// Worthless from here on.
    pub expiry: Option<SystemTime>,
    /// How often it was deferred with `counts`.
    pub counted: u32,
    /// How often it was deferred.
    pub deferred: u32,
    /// What was appended; the checksum has been verified.
    pub bytes: Vec<u8>,
    pub(crate) ticket: Ticket,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Lease({}, {:?}, {} bytes)",
            self.id,
            self.lane,
            self.bytes.len()
        )
    }
}

/// The fencing token: a newer lease on the same entry has a higher number, and only the newest settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) seq: i64,
    pub(crate) token: u64,
}

/// The leases of one call, oldest due first.
#[derive(Debug, Default)]
pub struct Leases {
    /// At most as many as were asked for.
    pub list: Vec<Lease>,
    /// When the next entry of the lane that is not due yet will be; `None` where there is none.
    pub next_due: Option<SystemTime>,
    /// Entries that this call has parked: their checksum was wrong, or their leases lapsed too often.
    pub parked: Vec<Uuid>,
}

/// What became of a leased entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is over; the id is remembered for the dedup window.
    Done,
    /// It goes back and waits.
    Defer {
        /// Not to be leased before.
        until: SystemTime,
        /// Whether this counts as one of its own attempts.
        counts: bool,
        /// Why, in a word for the operator.
        said: &'static str,
    },
    /// It is given up and kept for the operator.
    Bury {
        /// Why, in at most [`Settlement::REASON_BYTES`] bytes; what is longer is cut.
        reason: String,
    },
}

impl Settlement {
    /// The longest reason that is kept.
    pub const REASON_BYTES: usize = 200;
}

/// What a settlement did; by the time it is seen, it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// As asked.
    Yes,
    /// It was to be deferred, but a newer entry of the same collapse key waits already: it is gone.
    Superseded,
    /// The lease had lapsed and somebody else holds the entry, or an operator has dropped it: nothing was done.
    Stale,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It will be tried, or is being tried.
    Waiting,
    /// Given up by whoever worked on it.
    Buried,
    /// Given up by the spool: its checksum is wrong, or its leases lapsed too often.
    Parked,
}

impl State {
    /// All, in the order of the metrics.
    pub const ALL: [State; 3] = [State::Waiting, State::Buried, State::Parked];

    /// The label in metrics and for operators.
    pub fn label(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Buried => "buried",
            State::Parked => "parked",
        }
    }

    /// The number in the database.
    pub(crate) fn number(self) -> i64 {
        match self {
            State::Waiting => 0,
            State::Buried => 1,
            State::Parked => 2,
        }
    }

    pub(crate) fn from_number(number: i64) -> Option<State> {
        State::ALL
            .into_iter()
            .find(|state| state.number() == number)
    }
}

/// An entry as an operator sees it: everything but the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What it is known by.
    pub id: Uuid,
    /// Its queue.
    pub lane: Lane,
    /// On whose account it lies here.
    pub owner: Box<str>,
    /// Where it stands.
    pub state: State,
    /// Whether somebody works on it just now.
    pub leased: bool,
    /// When it was appended.
    pub appended: SystemTime,
    /// When it may be leased.
    pub due: SystemTime,
    /// Worthless from here on.
    pub expiry: Option<SystemTime>,
    /// How often it was deferred with `counts`.
    pub counted: u32,
    /// How often it was deferred.
    pub deferred: u32,
    /// Its length in bytes.
    pub size: u64,
    /// Since when it lies buried or parked.
    pub buried: Option<SystemTime>,
    /// What was said of it last: why it waits, or why it lies buried or parked.
    pub reason: Option<Box<str>>,
}

/// Which entries an operator means; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this queue.
    pub lane: Option<Lane>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only on this account.
    pub owner: Option<Box<str>>,
    /// Only what was appended before.
    pub before: Option<SystemTime>,
    /// Only what was appended at this moment or later.
    pub since: Option<SystemTime>,
    /// Only what has these bytes somewhere in its own. Reads every body, so one call looks at fewer entries.
    pub bytes: Option<Box<[u8]>>,
}

/// Where a page ended, for the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub(crate) i64);

impl Cursor {
    /// The place as a number, to be kept outside of the process; the beginning is 0.
    pub fn number(self) -> u64 {
        self.0.unsigned_abs()
    }

    /// The place with this number. One that was never given out is between two others, or the end.
    pub fn from_number(number: u64) -> Cursor {
        Cursor(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A page of a listing, in the order of appending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What matched. May be empty although there is a next page: one call looks at a bounded number of entries.
    pub list: Vec<Summary>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// One entry, or all that a filter matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The one of this id.
    Id(Uuid),
    /// All that match from a cursor on; `Cursor::default()` is the beginning.
    All(Filter, Cursor),
}

/// What an operator's change did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The entries that were changed, as they were before.
    pub list: Vec<Altered>,
    /// How many were left alone because somebody works on them.
    pub leased: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// One entry that an operator has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Altered {
    /// What it is known by.
    pub id: Uuid,
    /// Its queue.
    pub lane: Lane,
    /// Where it stood before.
    pub was: State,
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Entries.
    pub entries: u64,
    /// Bytes of the entries, without what the database needs around them.
    pub bytes: u64,
}

/// What lies in the spool, by queue, state and account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Every combination that is not empty, in order. Leased entries count as waiting.
    pub counts: Vec<(Lane, State, Box<str>, Count)>,
    /// How many entries somebody works on, by queue.
    pub leased: Vec<(Lane, u64)>,
    /// Devices that are gone.
    pub gone: u64,
    /// Ids that are remembered after they were settled.
    pub seen: u64,
}

impl Stats {
    /// What lies in one queue in one state.
    pub fn count(&self, lane: Lane, state: State) -> Count {
        let mut sum = Count::default();
        for (_, _, _, count) in self
            .counts
            .iter()
            .filter(|(of, is, _, _)| (*of, *is) == (lane, state))
        {
            sum.entries += count.entries;
            sum.bytes += count.bytes;
        }
        sum
    }

    /// How many entries of a queue somebody works on.
    pub fn leased(&self, lane: Lane) -> u64 {
        let found = self.leased.iter().find(|(of, _)| *of == lane);
        found.map_or(0, |(_, count)| *count)
    }
}

/// A device that is no longer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// A digest of service, app and device.
    pub device: Fingerprint,
    /// The queue that led to it.
    pub lane: Lane,
    /// The app on it, for an operator's eyes; at most 256 bytes.
    pub app: Box<str>,
    /// Since when, as the provider says.
    pub since: Option<SystemTime>,
    /// When the provider said so.
    pub noted: SystemTime,
}

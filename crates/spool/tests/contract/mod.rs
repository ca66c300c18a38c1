//! What every spool must do, whatever it is made of: the laws are functions over the verbs.
//!
//! A second implementation writes `impl Verbs` and one call of `hold_to!`, and is held to the same.

pub(crate) mod laws;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pushrelay_spool::{
    Appended, Changed, Cursor, Entry, Filter, Fingerprint, Gone, Lane, Lease, Leases, Options,
    Page, Selection, Settled, Settlement, SpoolError, Stats, Summary, Unsettled,
};
use uuid::Uuid;

/// The verbs of a spool.
#[allow(async_fn_in_trait)] // nothing here is spawned
pub(crate) trait Verbs: Sized {
    /// What keeps the storage of a test alive.
    type Place;

    /// An empty spool in a place of its own.
    async fn open(options: Options) -> (Self, Self::Place);
    async fn append(&self, entries: Vec<Entry>, now: SystemTime) -> Result<Appended, SpoolError>;
    async fn lease(
        &self,
        lane: Lane,
        limit: usize,
        hold_for: Duration,
        now: SystemTime,
    ) -> Result<Leases, SpoolError>;
    async fn settle(
        &self,
        lease: Lease,
        settlement: Settlement,
        now: SystemTime,
    ) -> Result<Settled, Box<Unsettled>>;
    async fn settle_unleased(
        &self,
        id: Uuid,
        settlement: Settlement,
        now: SystemTime,
    ) -> Result<Settled, SpoolError>;
    async fn supersede(
        &self,
        lane: Lane,
        key: Fingerprint,
        came: SystemTime,
        now: SystemTime,
    ) -> Result<Vec<Uuid>, SpoolError>;
    async fn shed(
        &self,
        lane: Lane,
        limit: usize,
        now: SystemTime,
    ) -> Result<Vec<Uuid>, SpoolError>;
    async fn remember(&self, ids: Vec<Uuid>, now: SystemTime) -> Result<(), SpoolError>;
    async fn is_seen(&self, id: Uuid, now: SystemTime) -> Result<bool, SpoolError>;
    async fn note_gone(&self, list: Vec<Gone>) -> Result<(), SpoolError>;
    async fn gone(&self, device: Fingerprint) -> Result<Option<Gone>, SpoolError>;
    async fn gone_page(
        &self,
        after: Option<Fingerprint>,
        limit: usize,
    ) -> Result<Vec<Gone>, SpoolError>;
    async fn forget_gone(&self, device: Fingerprint) -> Result<bool, SpoolError>;
    async fn list(
        &self,
        filter: Filter,
        after: Cursor,
        limit: usize,
        now: SystemTime,
    ) -> Result<Page, SpoolError>;
    async fn show(
        &self,
        id: Uuid,
        now: SystemTime,
    ) -> Result<Option<(Summary, Vec<u8>)>, SpoolError>;
    async fn retry(&self, selection: Selection, now: SystemTime) -> Result<Changed, SpoolError>;
    async fn discard(&self, selection: Selection, now: SystemTime) -> Result<Changed, SpoolError>;
    async fn stats(&self, now: SystemTime) -> Result<Stats, SpoolError>;
    async fn check(&self) -> Result<Vec<String>, SpoolError>;
}

/// Makes a test of each law for one implementation.
macro_rules! hold_to {
    ($spool:ty: $($law:ident)*) => {
        $(
            #[tokio::test]
            async fn $law() {
                $crate::contract::laws::$law::<$spool>().await;
            }
        )*
    };
}
pub(crate) use hold_to;

pub(crate) const A: Lane = Lane(0);
pub(crate) const B: Lane = Lane(1);
pub(crate) const HOLD: Duration = Duration::from_secs(60);

/// Some seconds after the beginning of every test.
pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

pub(crate) fn id(number: u64) -> Uuid {
    Uuid::from_u64_pair(0xfeed, number)
}

/// An entry in lane A that is due at once.
pub(crate) fn entry(number: u64) -> Entry {
    Entry {
        id: id(number),
        lane: A,
        owner: "contoso".into(),
        due: at(0),
        expiry: None,
        collapse: None,
        came: at(0),
        said: None,
        counted: 0,
        deferred: 0,
        bytes: format!("bytes of {number}").into_bytes(),
    }
}

pub(crate) fn key(number: u8) -> Fingerprint {
    Fingerprint([number; 16])
}

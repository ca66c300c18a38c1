//! What waits: targets that no provider has taken yet, on disk until one does or their time has passed.
//!
//! The relay's view of the spool. Every change of it goes through here, so that the books balance: an entry that goes in
//! is counted waiting, one that comes out is counted settled.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::try_join_all;
use pushrelay_push::record::{self, Record};
use pushrelay_push::{Device, Expiry, Service as Provider};
use pushrelay_spool::{
    Entry, Fingerprint, Lane, Lease, Selection, Settled, Settlement, Spool, SpoolError, State,
};
use tokio::sync::Notify;
use tracing::warn;
use uuid::Uuid;

use crate::config::SpoolConfig;
use crate::gone::{GoneDevices, Known};
use crate::metrics::{Ending, Metrics};

/// UUIDv5 of the DNS namespace and `collapse.pushrelay.invalid`: the namespace of collapse keys.
const COLLAPSE: Uuid = uuid::uuid!("8d9362b1-e54a-59f6-8b51-ac82989a334f");

/// Gone devices are read in pages of this many.
const GONE_PAGE: usize = 1000;

/// How often a settlement is tried before the lease is left to lapse.
const SETTLE_TRIES: u32 = 5;

/// The lane of a provider's entries. Written to disk: never renumber.
pub(crate) fn lane(provider: Provider) -> Lane {
    match provider {
        Provider::Apns => Lane(0),
        Provider::Mpns => Lane(1),
    }
}

/// A target that shall wait.
pub(crate) struct Waiter {
    /// What goes, and where to.
    pub(crate) record: Record,
    /// Not before.
    pub(crate) due: SystemTime,
    /// What was said of it; `None` where nobody was asked yet, or nobody has answered.
    pub(crate) said: Option<&'static str>,
}

impl Waiter {
    fn provider(&self) -> Option<Provider> {
        self.record
            .notification()
            .targets
            .first()
            .map(|target| target.device.service())
    }
}

/// The spool, its lanes' bells and the books.
pub(crate) struct Waiting {
    spool: Spool,
    metrics: Arc<Metrics>,
    bells: [Notify; 2],
}

impl Waiting {
    /// Opens the spool and takes over what lies in it: entries are counted, gone devices go into `gone`. Also says whether a
    /// sender may repeat what an earlier life has taken.
    pub(crate) async fn open(
        config: SpoolConfig,
        metrics: Arc<Metrics>,
        gone: &GoneDevices,
    ) -> anyhow::Result<(Waiting, bool)> {
        let SpoolConfig { path, options } = config;
        let spool = tokio::task::spawn_blocking(move || Spool::open(path, options)).await??;
        let stats = spool.stats(SystemTime::now()).await?;
        for provider in Provider::ALL {
            let books = metrics.service(provider);
            let waiting = stats.count(lane(provider), State::Waiting).entries;
            books.taken_over.inc_by(waiting);
            books
                .waiting
                .add(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
        let mut after = None;
        loop {
            let page = spool.gone_page(after, GONE_PAGE).await?;
            for device in &page {
                gone.note(
                    device.device,
                    Known {
                        since: device.since,
                        noted: device.noted,
                    },
                );
            }
            match page.last() {
                Some(last) if page.len() == GONE_PAGE => after = Some(last.device),
                _ => break,
            }
        }
        let absorbs = stats.seen > 0
            || stats
                .counts
                .iter()
                .any(|(_, _, _, count)| count.entries > 0);
        Ok((
            Waiting {
                spool,
                metrics,
                bells: Default::default(),
            },
            absorbs,
        ))
    }

    /// The spool itself, for questions that change nothing.
    pub(crate) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Rings when something new waits in a provider's lane.
    pub(crate) fn bell(&self, provider: Provider) -> &Notify {
        match provider {
            Provider::Apns => &self.bells[0],
            Provider::Mpns => &self.bells[1],
        }
    }

    /// Puts targets in. When this returns `Ok` all of them are on disk; after an error some may be, under their stable ids,
    /// and will be pushed: the sender comes again and is absorbed.
    pub(crate) async fn put(&self, waiters: Vec<Waiter>) -> Result<(), SpoolError> {
        let now = SystemTime::now();
        let mut lanes: [Vec<Entry>; 2] = Default::default();
        for waiter in waiters {
            if let Some(provider) = waiter.provider() {
                lanes[usize::from(lane(provider).0)].push(entry(&waiter, provider));
            }
        }
        let appends = Provider::ALL
            .into_iter()
            .zip(lanes)
            .filter(|(_, entries)| !entries.is_empty());
        try_join_all(appends.map(|(provider, entries)| self.append(provider, entries, now)))
            .await?;
        Ok(())
    }

    async fn append(
        &self,
        provider: Provider,
        entries: Vec<Entry>,
        now: SystemTime,
    ) -> Result<(), SpoolError> {
        let books = self.metrics.service(provider);
        let all = entries.len();
        let appended = self
            .spool
            .append(entries, now)
            .await
            .inspect_err(|error| self.metrics.spool_refused(*error))?;
        books
            .waiting
            .add(i64::try_from(appended.stored).unwrap_or(i64::MAX));
        books.end_many(Ending::Repeated, all - appended.stored);
        books
            .waiting
            .sub(i64::try_from(appended.superseded.len()).unwrap_or(i64::MAX));
        books.end_many(Ending::Superseded, appended.superseded.len());
        self.bell(provider).notify_one();
        Ok(())
    }

    /// Takes a target out again whose provider has taken it after all, before anybody leased it.
    pub(crate) async fn withdraw(&self, provider: Provider, id: Uuid, ending: Ending) {
        let now = SystemTime::now();
        match self.spool.discard(Selection::Id(id), now).await {
            Ok(changed) if !changed.list.is_empty() => {
                // One that was buried meanwhile has been counted.
                if changed.list.iter().all(|entry| entry.was == State::Waiting) {
                    self.settled(provider, Some(ending));
                }
                if let Err(error) = self.spool.remember(vec![id], now).await {
                    warn!(%error, "an id that was settled is not remembered: a repetition would be pushed again");
                }
            }
            // Leased, superseded or dropped meanwhile: whoever did it has settled it.
            Ok(_) => {}
            Err(error) => {
                warn!(%error, push_id = %id, "a push that was taken stays in the spool and will be sent again")
            }
        }
    }

    /// Says what became of a leased entry. A spool in trouble is asked a few times; then the lease lapses, and the entry comes
    /// back.
    pub(crate) async fn settle(
        &self,
        provider: Provider,
        lease: Lease,
        settlement: Settlement,
        ending: Option<Ending>,
    ) {
        let (mut lease, mut settlement) = (lease, settlement);
        for attempt in 1..=SETTLE_TRIES {
            match self
                .spool
                .settle(lease, settlement, SystemTime::now())
                .await
            {
                Ok(Settled::Yes) => return self.settled(provider, ending),
                Ok(Settled::Superseded) => return self.settled(provider, Some(Ending::Superseded)),
                // Somebody else holds or has dropped it, and keeps the books of it.
                Ok(Settled::Stale) => return,
                Err(unsettled) => {
                    warn!(error = %unsettled.error, attempt, "an entry cannot be settled");
                    (lease, settlement) = (unsettled.lease, unsettled.settlement);
                    tokio::time::sleep(Duration::from_millis(200) * attempt).await;
                }
            }
        }
    }

    /// The spool has given entries up that it cannot read, or that nobody survives.
    pub(crate) fn parked(&self, provider: Provider, entries: usize) {
        let books = self.metrics.service(provider);
        books
            .waiting
            .sub(i64::try_from(entries).unwrap_or(i64::MAX));
        books.end_many(Ending::Parked, entries);
    }

    fn settled(&self, provider: Provider, ending: Option<Ending>) {
        if let Some(ending) = ending {
            let books = self.metrics.service(provider);
            books.waiting.dec();
            books.end(ending);
        }
    }
}

fn entry(waiter: &Waiter, provider: Provider) -> Entry {
    let origin = &waiter.record.origin;
    Entry {
        id: origin.push_id,
        lane: lane(provider),
        owner: origin.partner.clone(),
        due: waiter.due,
        expiry: origin.expiry.map(moment),
        collapse: collapse(&waiter.record),
        said: waiter.said,
        bytes: record::encode(&waiter.record),
    }
}

/// Entries of the same device, app and collapse id take each other's place.
fn collapse(record: &Record) -> Option<Fingerprint> {
    let notification = record.notification();
    let id = notification.collapse.as_deref()?;
    let target = notification.targets.first()?;
    let device = match &target.device {
        Device::Apple(token) => token.as_str(),
        Device::WindowsPhone(channel) => channel.as_str(),
    };
    let name = [device, target.app.as_deref().unwrap_or_default(), id].join("\0");
    Some(Fingerprint(
        Uuid::new_v5(&COLLAPSE, name.as_bytes()).into_bytes(),
    ))
}

fn moment(expiry: Expiry) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(expiry.unix_seconds())
}

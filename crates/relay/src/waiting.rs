//! What waits: targets that no provider has taken yet, on disk until one does or their time has passed.
//!
//! The relay's view of the spool. Every change of it goes through here, so that the books balance: an entry that goes in
//! is counted waiting, one that comes out is counted settled.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pushrelay_push::record::{self, Record};
use pushrelay_push::retry::{Burial, Next, Tries};
use pushrelay_push::{Device, Expiry, Notification, Outcome, Service as Provider};
use pushrelay_spool::{
    Altered, Bound, Changed, Entry, Fingerprint, Lane, Lease, Selection, Settled, Settlement,
    Spool, SpoolError, State,
};
use tokio::sync::Notify;
use tracing::warn;
use uuid::Uuid;

use crate::clock;
use crate::config::SpoolConfig;
use crate::gone::{GoneDevices, Known};
use crate::metrics::{Ending, Metrics};
use crate::trail::{Trail, What};

/// UUIDv5 of the DNS namespace and `collapse.pushrelay.invalid`: the namespace of collapse keys.
const COLLAPSE: Uuid = uuid::uuid!("8d9362b1-e54a-59f6-8b51-ac82989a334f");

/// Gone devices are read in pages of this many.
const GONE_PAGE: usize = 1000;

/// How often a settlement is tried before the lease is left to lapse.
const SETTLE_TRIES: u32 = 5;

/// How many expired entries one call drops at most where there is no room.
const SHED: usize = 1000;

/// A lane that had nothing to shed is not searched again for this long: the search holds up everybody's appends.
const SHED_AGAIN: Duration = Duration::from_secs(1);

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
    /// How often it was deferred before it came here.
    pub(crate) tries: Tries,
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
    trail: Arc<Trail>,
    bells: [Notify; 2],
    /// Since when a lane has nothing to shed.
    barren: [Mutex<Option<Instant>>; 2],
}

impl Waiting {
    /// Opens the spool and takes over what lies in it.
    pub(crate) async fn open(
        config: SpoolConfig,
        metrics: Arc<Metrics>,
        trail: Arc<Trail>,
        gone: &GoneDevices,
    ) -> anyhow::Result<(Waiting, bool)> {
        let spool = open(config).await?;
        Ok(Waiting::take_over(spool, metrics, trail, gone).await?)
    }

    /// Takes over what lies in a spool: entries are counted, gone devices go into `gone`. Also says whether a sender may repeat
    /// what an earlier life has taken.
    pub(crate) async fn take_over(
        spool: Spool,
        metrics: Arc<Metrics>,
        trail: Arc<Trail>,
        gone: &GoneDevices,
    ) -> Result<(Waiting, bool), SpoolError> {
        let stats = spool.stats(clock::wall()).await?;
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
                trail,
                bells: Default::default(),
                barren: Default::default(),
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
        &self.bells[place(provider)]
    }

    /// Puts targets in, and says for each provider whether its own are on disk, all or none; those that are not stay in flight.
    /// After an error some may be on disk all the same, under their stable ids: the sender comes again and is absorbed.
    pub(crate) async fn put(&self, waiters: Vec<Waiter>) -> [Result<(), SpoolError>; 2] {
        let mut lanes: [Vec<Waiter>; 2] = Default::default();
        for waiter in waiters {
            if let Some(provider) = waiter.provider() {
                lanes[place(provider)].push(waiter);
            }
        }
        let [apns, mpns] = lanes;
        let appends = tokio::join!(
            self.append(Provider::Apns, apns),
            self.append(Provider::Mpns, mpns)
        );
        appends.into()
    }

    async fn append(&self, provider: Provider, waiters: Vec<Waiter>) -> Result<(), SpoolError> {
        if waiters.is_empty() {
            return Ok(());
        }
        let now = clock::wall();
        let entries = || waiters.iter().map(|waiter| entry(waiter, provider));
        let mut result = self.spool.append(entries().collect(), now).await;
        if let Err(SpoolError::Full(bound)) = result
            && !matches!(bound, Bound::Disk | Bound::DiskReserve)
            && self.shed(provider, now).await
        {
            result = self.spool.append(entries().collect(), now).await;
        }
        let appended = result.inspect_err(|error| self.metrics.spool_refused(*error))?;
        let books = self.metrics.service(provider);
        books.in_flight.sub(number(waiters.len()));
        books.waiting.add(number(appended.stored));
        books.end_many(Ending::Repeated, appended.repeated);
        books.waiting.sub(number(appended.superseded.len()));
        let superseded = appended.superseded.len() + appended.late.len();
        books.end_many(Ending::Superseded, superseded);
        for Waiter { record, due, .. } in waiters {
            // Which of several were there already, the spool does not say.
            let what = match (appended.stored, appended.repeated) {
                (0, 0) => continue,
                (0, _) => What::Ended(Ending::Repeated),
                _ => What::Kept { due },
            };
            self.note(record.origin.push_id, what);
        }
        for id in appended.superseded.into_iter().chain(appended.late) {
            self.note(id, What::Ended(Ending::Superseded));
        }
        self.bell(provider).notify_one();
        Ok(())
    }

    /// A notification that came at this time has reached its device without having waited: what waits for the same device under the same
    /// collapse id is older, and must not follow it.
    pub(crate) async fn supersede(&self, provider: Provider, key: Fingerprint, came: SystemTime) {
        let now = clock::wall();
        match self.spool.supersede(lane(provider), key, came, now).await {
            Ok(superseded) => {
                for id in superseded {
                    self.settled(provider, id, Some(Ending::Superseded));
                }
            }
            Err(error) => warn!(%error, "an older notification may follow a newer one"),
        }
    }

    /// Whether anything waits for a provider.
    pub(crate) fn is_empty(&self, provider: Provider) -> bool {
        self.metrics.service(provider).waiting.get() == 0
    }

    /// Makes room by dropping what has expired; the superseded have made room already. Whether there is any now.
    async fn shed(&self, provider: Provider, now: SystemTime) -> bool {
        let barren = || {
            let barren = &self.barren[place(provider)];
            barren.lock().unwrap_or_else(PoisonError::into_inner)
        };
        if barren().is_some_and(|since| clock::now() < since + SHED_AGAIN) {
            return false;
        }
        let dropped = self.drop_expired(provider, now, Ending::Shed).await;
        *barren() = (dropped == 0).then(clock::now);
        dropped > 0
    }

    /// Ends what has expired while nobody takes it up.
    pub(crate) async fn expire(&self, provider: Provider) {
        let now = clock::wall();
        while self.drop_expired(provider, now, Ending::Expired).await == SHED {}
    }

    /// How many; a spool in trouble drops none.
    async fn drop_expired(&self, provider: Provider, now: SystemTime, ending: Ending) -> usize {
        let dropped = self.spool.shed(lane(provider), SHED, now).await;
        let dropped = dropped.unwrap_or_default();
        for id in &dropped {
            self.settled(provider, *id, Some(ending));
        }
        dropped.len()
    }

    /// Says what became of a target whose first attempt has outlasted its answer, before anybody leased it.
    pub(crate) async fn conclude(
        &self,
        provider: Provider,
        id: Uuid,
        (settlement, ending): (Settlement, Option<Ending>),
    ) {
        let now = clock::wall();
        self.note_deferral(id, &settlement);
        match self.spool.settle_unleased(id, settlement, now).await {
            Ok(Settled::Yes) => {
                self.settled(provider, id, ending);
                // It may be due sooner now.
                self.bell(provider).notify_one();
            }
            Ok(Settled::Superseded) => self.settled(provider, id, Some(Ending::Superseded)),
            // Leased, superseded or dropped meanwhile: whoever did it has settled it.
            Ok(Settled::Stale) => {}
            Err(error) => {
                warn!(%error, push_id = %id, "what became of a push is not written down: it will be sent again");
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
        let id = lease.id;
        self.note_deferral(id, &settlement);
        let (mut lease, mut settlement) = (lease, settlement);
        for attempt in 1..=SETTLE_TRIES {
            match self.spool.settle(lease, settlement, clock::wall()).await {
                Ok(Settled::Yes) => return self.settled(provider, id, ending),
                Ok(Settled::Superseded) => {
                    return self.settled(provider, id, Some(Ending::Superseded));
                }
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
    pub(crate) fn parked(&self, provider: Provider, entries: &[Uuid]) {
        for id in entries {
            self.settled(provider, *id, Some(Ending::Parked));
        }
    }

    /// An operator makes entries due at once; those that had been given up wait again.
    pub(crate) async fn retry(&self, selection: Selection) -> Result<Changed, SpoolError> {
        let changed = self.spool.retry(selection, clock::wall()).await?;
        for provider in Provider::ALL {
            let books = self.metrics.service(provider);
            for entry in of(provider, &changed.list) {
                if entry.was != State::Waiting {
                    books.taken_over.inc();
                    books.waiting.inc();
                }
                self.note(entry.id, What::Retried);
            }
            self.bell(provider).notify_one();
        }
        Ok(changed)
    }

    /// An operator drops entries; those that had been given up were counted then.
    pub(crate) async fn discard(&self, selection: Selection) -> Result<Changed, SpoolError> {
        let changed = self.spool.discard(selection, clock::wall()).await?;
        for provider in Provider::ALL {
            for entry in of(provider, &changed.list) {
                if entry.was == State::Waiting {
                    self.settled(provider, entry.id, Some(Ending::Dropped));
                } else {
                    self.note(entry.id, What::Ended(Ending::Dropped));
                }
            }
        }
        Ok(changed)
    }

    fn settled(&self, provider: Provider, id: Uuid, ending: Option<Ending>) {
        if let Some(ending) = ending {
            let books = self.metrics.service(provider);
            books.waiting.dec();
            books.end(ending);
            self.note(id, What::Ended(ending));
        }
    }

    fn note_deferral(&self, id: Uuid, settlement: &Settlement) {
        if let Settlement::Defer { until, .. } = settlement {
            self.note(id, What::Deferred { until: *until });
        }
    }

    fn note(&self, push: Uuid, what: What) {
        self.trail.step(push, clock::now(), what);
    }
}

/// What an attempt's outcome means for an entry, and for the books where it ends.
pub(crate) fn settlement(next: Next, outcome: &Outcome) -> (Settlement, Option<Ending>) {
    match next {
        Next::Done => (Settlement::Done, Some(Ending::Accepted)),
        Next::Gone { .. } => (Settlement::Done, Some(Ending::Gone)),
        Next::At {
            when: until,
            counts,
        } => {
            let said = outcome.cause.label();
            (
                Settlement::Defer {
                    until,
                    counts,
                    said,
                },
                None,
            )
        }
        Next::Bury(Burial::Expired) => (Settlement::Done, Some(Ending::Expired)),
        Next::Bury(burial) => {
            let reason = format!("{}: {}", burial.label(), outcome.cause.label());
            (Settlement::Bury { reason }, Some(Ending::Refused))
        }
    }
}

/// Where a provider's own stand in an array.
pub(crate) fn place(provider: Provider) -> usize {
    match provider {
        Provider::Apns => 0,
        Provider::Mpns => 1,
    }
}

fn number(entries: usize) -> i64 {
    i64::try_from(entries).unwrap_or(i64::MAX)
}

fn of(provider: Provider, list: &[Altered]) -> impl Iterator<Item = &Altered> {
    list.iter()
        .filter(move |entry| entry.lane == lane(provider))
}

fn entry(waiter: &Waiter, provider: Provider) -> Entry {
    let origin = &waiter.record.origin;
    Entry {
        id: origin.push_id,
        lane: lane(provider),
        owner: origin.partner.clone(),
        due: waiter.due,
        expiry: origin.expiry.map(moment),
        collapse: collapse_key(waiter.record.notification(), 0),
        came: origin.received,
        said: waiter.said,
        counted: waiter.tries.counted,
        deferred: waiter.tries.deferred,
        bytes: record::encode(&waiter.record),
    }
}

/// Opens the spool, without holding up the thread.
pub(crate) async fn open(config: SpoolConfig) -> anyhow::Result<Spool> {
    let SpoolConfig { path, options } = config;
    Ok(tokio::task::spawn_blocking(move || Spool::open(path, options)).await??)
}

/// Entries of the same device, app and collapse id take each other's place.
pub(crate) fn collapse_key(notification: &Notification, target: usize) -> Option<Fingerprint> {
    let id = notification.collapse.as_deref()?;
    let target = notification.targets.get(target)?;
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

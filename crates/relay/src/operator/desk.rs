//! Answers what an operator asks, from the spool, the table of gone devices and the trail.
//!
//! The same desk sits in the daemon and in a command that works on the spool while no daemon runs; that one knows no trail.

use std::sync::Arc;
use std::time::SystemTime;

use pushrelay_push::Service as Provider;
use pushrelay_spool::{Changed, Filter, Lane, Page, Selection, SpoolError, Summary};
use serde_json::Value;
use tracing::warn;

use super::ask::{
    Ask, Changes, Choice, DeviceLine, DevicePage, Digest, EntryLine, EntryPage, Fault, Forgotten,
    Heap, Moment, ProviderName, Refused, Stock, UnderWay, cursor,
};
use super::story;
use crate::clock;
use crate::service::Service;
use crate::waiting::{self, Waiting};

/// Who answers.
#[derive(Clone)]
pub(crate) struct Desk {
    /// The spool and its books; `None` where none is configured.
    pub(crate) waiting: Option<Arc<Waiting>>,
    /// The daemon around it; `None` while none runs.
    pub(crate) daemon: Option<Arc<Service>>,
}

/// The longest page of devices.
const DEVICES: usize = 1000;

impl Desk {
    /// The desk of a daemon.
    pub(crate) fn of(service: &Arc<Service>) -> Desk {
        Desk {
            waiting: service.waiting.clone(),
            daemon: Some(service.clone()),
        }
    }

    /// Answers, and logs what was changed. To be polled to its end: a change that is left halfway would be missing in the books.
    pub(crate) async fn answer(&self, ask: Ask) -> Result<Value, Refused> {
        let now = clock::wall();
        let answer = match ask {
            Ask::SpoolList {
                which,
                after,
                limit,
            } => {
                let page = self
                    .spool()?
                    .spool()
                    .list(which.filter(now), cursor(after), limit, now);
                json(&entry_page(page.await?))
            }
            Ask::SpoolShow(id) => json(&story::entry(self, id, now).await?),
            Ask::SpoolRetry(choice) => {
                let selected = selection(choice.clone(), now);
                let changed = self.spool()?.retry(selected).await?;
                warn!(
                    entries = changed.list.len(),
                    ?choice,
                    "an operator has made entries due at once"
                );
                json(&changes(changed))
            }
            Ask::SpoolDrop(choice) => {
                let selected = selection(choice.clone(), now);
                let changed = self.spool()?.discard(selected).await?;
                warn!(
                    entries = changed.list.len(),
                    ?choice,
                    "an operator has dropped entries"
                );
                json(&changes(changed))
            }
            Ask::SpoolStats => json(&self.stock(now).await?),
            Ask::SpoolSearch { call_id, after } => {
                // As the record has it: a string in JSON.
                let needle = format!("\"call_id\":{}", Value::from(call_id));
                let filter = Filter {
                    bytes: Some(needle.into_bytes().into()),
                    ..Filter::default()
                };
                let page = self
                    .spool()?
                    .spool()
                    .list(filter, cursor(after), usize::MAX, now);
                json(&entry_page(page.await?))
            }
            Ask::DevicesList { after, limit } => json(&self.devices(after, limit).await?),
            Ask::DevicesForget(device) => json(&self.forget(device).await?),
            Ask::Explain(text) => json(&story::explain(self, &text, now).await?),
        };
        Ok(answer)
    }

    /// The spool; a refusal where there is none.
    pub(super) fn spool(&self) -> Result<&Waiting, Refused> {
        self.waiting.as_deref().ok_or_else(|| Refused {
            kind: Fault::Question,
            error: "this relay has no spool: expected `[spool] path` in its configuration".into(),
        })
    }

    async fn stock(&self, now: SystemTime) -> Result<Stock, Refused> {
        let spool = self.spool()?.spool();
        let stats = spool.stats(now).await?;
        Ok(Stock {
            heaps: stats
                .counts
                .iter()
                .map(|(lane, state, owner, count)| Heap {
                    service: provider(*lane),
                    state: (*state).into(),
                    partner: owner.to_string(),
                    entries: count.entries,
                    bytes: count.bytes,
                })
                .collect(),
            under_way: Provider::ALL
                .map(|provider| UnderWay {
                    service: provider.into(),
                    entries: stats.leased(waiting::lane(provider)),
                })
                .to_vec(),
            gone_devices: stats.gone,
            remembered_ids: stats.seen,
            trouble: spool.health().trouble.map(|trouble| trouble.to_string()),
        })
    }

    async fn devices(&self, after: Option<Digest>, limit: usize) -> Result<DevicePage, Refused> {
        let limit = limit.clamp(1, DEVICES);
        let spool = self.spool()?.spool();
        let list = spool.gone_page(after.map(|digest| digest.0), limit).await?;
        let next = list.last().filter(|_| list.len() == limit);
        Ok(DevicePage {
            next: next.map(|gone| Digest(gone.device)),
            devices: list
                .into_iter()
                .map(|gone| DeviceLine {
                    device: Digest(gone.device),
                    service: provider(gone.lane),
                    app: gone.app.into(),
                    since: gone.since.map(Moment),
                    noted: Moment(gone.noted),
                })
                .collect(),
        })
    }

    /// On disk first: what is only forgotten in memory would be known again after a restart.
    async fn forget(&self, device: Digest) -> Result<Forgotten, Refused> {
        let on_disk = match &self.waiting {
            Some(waiting) => waiting.spool().forget_gone(device.0).await?,
            None => false,
        };
        let in_memory = match &self.daemon {
            Some(daemon) => daemon.gone.forget(device.0),
            None => false,
        };
        let forgotten = on_disk || in_memory;
        if forgotten {
            warn!(%device, "an operator has let a device in again");
        }
        Ok(Forgotten { forgotten })
    }
}

impl From<SpoolError> for Refused {
    fn from(error: SpoolError) -> Refused {
        Refused {
            kind: Fault::Spool,
            error: error.to_string(),
        }
    }
}

/// The provider of a lane, where this version knows it.
pub(super) fn provider(lane: Lane) -> Option<ProviderName> {
    let mut providers = Provider::ALL.into_iter();
    let found = providers.find(|provider| waiting::lane(*provider) == lane);
    found.map(ProviderName::from)
}

/// An entry as an operator sees it.
pub(super) fn line(summary: Summary) -> EntryLine {
    let waits = summary.buried.is_none();
    EntryLine {
        id: summary.id,
        service: provider(summary.lane),
        state: summary.state.into(),
        under_way: summary.leased,
        partner: summary.owner.into(),
        appended: Moment(summary.appended),
        due: waits.then_some(Moment(summary.due)),
        expires: summary.expiry.map(Moment),
        buried: summary.buried.map(Moment),
        deferred: summary.deferred,
        deferred_by_device: summary.counted,
        bytes: summary.size,
        said: summary.reason.map(String::from),
    }
}

fn entry_page(page: Page) -> EntryPage {
    EntryPage {
        entries: page.list.into_iter().map(line).collect(),
        next: page.next.map(|cursor| cursor.number()),
    }
}

fn changes(changed: Changed) -> Changes {
    Changes {
        changed: changed.list.iter().map(|entry| entry.id).collect(),
        under_way: changed.leased,
        next: changed.next.map(|cursor| cursor.number()),
    }
}

fn selection(choice: Choice, now: SystemTime) -> Selection {
    match choice {
        Choice::Id(id) => Selection::Id(id),
        Choice::Matching { which, after } => Selection::All(which.filter(now), cursor(after)),
    }
}

fn json(answer: &impl serde::Serialize) -> Value {
    serde_json::to_value(answer).expect("answers have only string keys")
}

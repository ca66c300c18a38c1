//! The loop of one lane: takes what is due out of the spool, sends it, and settles it.
//!
//! One loop a provider, so that a dead Apple never delays a Windows Phone. After an outage the backlog ramps: as many at once as the
//! provider has shown to carry, one more for each that it took, half as many after one that failed. While every way to the provider is
//! barred, entries are left where they are: no disk is busy with putting them off, and they are due when it is back.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pushrelay_providers::Push;
use pushrelay_push::retry::{self, Next, Tries};
use pushrelay_push::{Cause, Scope, Service as Provider, Verdict, record};
use pushrelay_spool::{Lease, Settlement};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::attempt;
use crate::breaker::Passage;
use crate::clock;
use crate::listener;
use crate::metrics::Ending;
use crate::service::Service;
use crate::trail::What;
use crate::waiting;

/// The most entries that one call takes.
const BATCH: usize = 64;

/// How long an entry is held: longer than an exchange and its settlement may take.
const HOLD: Duration = Duration::from_secs(60);

/// With nothing due and nobody ringing, the spool is asked this often: a net below the bells.
const LOOK: Duration = Duration::from_secs(30);

/// After a spool in trouble: how long to leave it alone.
const TROUBLE: Duration = Duration::from_secs(1);

/// How many pushes of the backlog may be under way.
#[derive(Debug)]
struct Ramp {
    limit: usize,
    most: usize,
}

impl Ramp {
    fn new(most: usize) -> Ramp {
        Ramp {
            limit: 4.min(most),
            most,
        }
    }

    fn heed(&mut self, carried: bool) {
        self.limit = if carried {
            (self.limit + 1).min(self.most)
        } else {
            (self.limit / 2).max(1)
        };
    }
}

/// Works off one provider's lane until the drain begins, then finishes what it holds.
pub(crate) async fn run(
    service: Arc<Service>,
    provider: Provider,
    mut draining: watch::Receiver<bool>,
) {
    let Some(waiting) = service.waiting.as_ref() else {
        return;
    };
    let lane = waiting::lane(provider);
    let mut ramp = Ramp::new(service.dispatch_in_flight);
    let mut under_way = FuturesUnordered::new();
    let mut look_at = clock::now();
    let mut expire_at = look_at;
    let mut drained = false;
    loop {
        let room = ramp.limit.saturating_sub(under_way.len()).min(BATCH);
        let may_lease = !drained && room > 0;
        if drained && under_way.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            Some(worked) = under_way.next(), if !under_way.is_empty() => {
                let Worked { carried, due } = worked;
                if let Some(carried) = carried {
                    ramp.heed(carried);
                }
                if let Some(due) = due {
                    look_at = look_at.min(next_look(Some(due), false));
                }
            }
            () = listener::drained(&mut draining), if !drained => drained = true,
            () = waiting.bell(provider).notified(), if may_lease => look_at = clock::now(),
            () = tokio::time::sleep_until(look_at.into()), if may_lease => {
                let now = clock::now();
                let passage = service.rules.load().passage(provider, now);
                let room = match passage {
                    Passage::Free => room,
                    Passage::Probe => 1,
                    Passage::Barred(wait) => {
                        // Nobody else looks at what expires meanwhile.
                        if now >= expire_at {
                            waiting.expire(provider).await;
                            expire_at = now + LOOK;
                        }
                        look_at = now + wait;
                        continue;
                    }
                };
                match waiting.spool().lease(lane, room, HOLD, clock::wall()).await {
                    Ok(leases) => {
                        waiting.parked(provider, &leases.parked);
                        look_at = next_look(leases.next_due, leases.list.len() == room);
                        for lease in leases.list {
                            under_way.push(work(service.clone(), provider, lease));
                        }
                    }
                    Err(error) => {
                        warn!(%error, service = provider.label(), "the spool gives nothing out");
                        look_at = clock::now() + TROUBLE;
                    }
                }
            }
        }
    }
}

fn next_look(next_due: Option<SystemTime>, more: bool) -> Instant {
    let now = clock::now();
    if more {
        return now;
    }
    let wait = next_due.map_or(LOOK, |due| {
        due.duration_since(clock::wall()).unwrap_or_default()
    });
    now + wait.min(LOOK)
}

/// What came of one entry's attempt.
#[derive(Default)]
struct Worked {
    /// Whether the provider carried it; `None` where it was decided without asking.
    carried: Option<bool>,
    /// When it is due again.
    due: Option<SystemTime>,
}

/// One entry's attempt.
async fn work(service: Arc<Service>, provider: Provider, lease: Lease) -> Worked {
    let Some(waiting) = service.waiting.as_ref() else {
        return Worked::default();
    };
    let record = match record::decode(&lease.bytes) {
        Ok(record) => record,
        Err(error) => {
            warn!(push_id = %lease.id, %error, "an entry cannot be read, parking it");
            let bury = Settlement::Bury {
                reason: error.to_string(),
            };
            waiting
                .settle(provider, lease, bury, Some(Ending::Parked))
                .await;
            return Worked::default();
        }
    };
    let origin = record.origin.clone();
    let tries = Tries {
        counted: lease.counted,
        deferred: lease.deferred,
    };
    let taken_up = What::Leased {
        deferred: lease.deferred,
    };
    service.trail.step(lease.id, clock::now(), taken_up);
    let push = Push {
        id: origin.push_id,
        expiry: origin.expiry,
        notification: Arc::new(record.into_notification()),
        target: 0,
    };
    let begun = {
        let rules = service.rules.load();
        // A partner that is no longer there sent it while it was.
        let partner = rules.partners.named(&origin.partner);
        attempt::start(&service, &rules, partner, push)
    };
    let outcome = match begun {
        Ok(attempt) => attempt.await,
        Err(outcome) => outcome,
    };
    let now = clock::wall();
    let next = retry::next(
        &service.patience,
        &outcome,
        tries,
        now,
        origin.expiry,
        service.dice(),
    );
    info!(
        push_id = %origin.push_id,
        call_id = %origin.call_id.escape_debug(),
        partner = &*origin.partner,
        service = provider.label(),
        verdict = outcome.verdict.label(),
        cause = outcome.cause.label(),
        tries = tries.deferred + 1,
        "dispatched"
    );
    let (settlement, ending) = waiting::settlement(next, &outcome);
    waiting.settle(provider, lease, settlement, ending).await;
    let carried = match (outcome.verdict, outcome.cause) {
        (
            Verdict::Deferred {
                scope: Scope::Provider,
                ..
            },
            _,
        ) => Some(false),
        (_, Cause::Local(_)) => None,
        _ => Some(true),
    };
    let due = match next {
        Next::At { when, .. } => Some(when),
        Next::Done | Next::Gone { .. } | Next::Bury(_) => None,
    };
    Worked { carried, due }
}

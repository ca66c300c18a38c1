//! One notification on its way: every target to its provider at once, a verdict for each, one answer.
//!
//! Deliver first, spool only what must wait. What no provider has taken within `reply_within` is on disk before the sender hears
//! of success.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use pushrelay_providers::Push;
use pushrelay_push::record::{Origin, Record};
use pushrelay_push::retry::{self, Next, Tries};
use pushrelay_push::{
    Cause, Expiry, Local, Notification, Outcome, RequestIdentity, Service as Provider, Verdict,
    push_id,
};
use pushrelay_sip::Request;
use pushrelay_spool::SpoolError;
use tracing::warn;
use uuid::Uuid;

use crate::attempt::{self, Attempt};
use crate::breaker::Passage;
use crate::clock;
use crate::metrics::Ending;
use crate::partners::Partner;
use crate::recent::Claim;
use crate::rules::Rules;
use crate::service::Service;
use crate::session::Sender;
use crate::trail::Place;
use crate::verdicts::Verdicts;
use crate::waiting::{self, Waiter};

/// An entry whose first attempt is still under way is left alone for this long: longer than any exchange may take.
const UNDER_WAY: Duration = Duration::from_secs(15);

/// What is heard where the breaker is open.
const BARRED: Cause = Cause::Local(Local::BreakerOpen);

/// A notification whose targets are being sent to. Made without waiting; [`settle`](Delivery::settle) waits.
pub(crate) struct Delivery {
    service: Arc<Service>,
    /// Those that it began under; a reload does not change them.
    rules: Arc<Rules>,
    notification: Arc<Notification>,
    request: Request,
    partner: Arc<Partner>,
    expiry: Expiry,
    received: SystemTime,
    /// Those under way. There are 16 at most, so each is asked whenever one of them stirs.
    attempts: Vec<Tagged>,
    /// Targets that go to disk before anybody is asked.
    unstarted: Vec<usize>,
    verdicts: Verdicts,
    claim: Claim,
}

/// How a MESSAGE came.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'a> {
    /// Itself.
    pub(crate) request: &'a Request,
    /// Who sent it.
    pub(crate) sender: &'a Sender,
    /// Where it is remembered.
    pub(crate) place: Place,
}

/// An attempt and whose it is.
struct Tagged {
    target: usize,
    attempt: Attempt,
}

impl Delivery {
    /// Begins an attempt for every target. What needs no provider is settled here.
    pub(crate) fn new(
        service: &Arc<Service>,
        rules: &Arc<Rules>,
        arrival: Arrival<'_>,
        notification: Notification,
        expiry: Expiry,
        claim: Claim,
    ) -> Box<Delivery> {
        let targets = notification.targets.len();
        let mut delivery = Box::new(Delivery {
            service: service.clone(),
            rules: rules.clone(),
            notification: Arc::new(notification),
            request: arrival.request.clone(),
            partner: arrival.sender.partner.clone(),
            expiry,
            received: clock::wall(),
            attempts: Vec::with_capacity(targets),
            unstarted: Vec::new(),
            verdicts: Verdicts::new(targets),
            claim,
        });
        let spool_first = service.spools_first(rules);
        for target in 0..targets {
            let provider = delivery.provider(target);
            let metrics = service.metrics.service(provider);
            metrics.targets.inc();
            metrics.in_flight.inc();
            let push = delivery.push(target);
            service
                .trail
                .target(arrival.place, target, push.id, provider);
            if spool_first {
                delivery.unstarted.push(target);
                continue;
            }
            let partner = Some(&arrival.sender.partner);
            match attempt::start(service, rules, partner, push) {
                Ok(attempt) => delivery.attempts.push(Tagged { target, attempt }),
                Err(outcome) => delivery.heard(target, outcome),
            }
        }
        delivery
    }

    /// A number for jitter.
    pub(crate) fn dice(&self) -> u64 {
        self.service.dice()
    }

    /// Waits for every verdict, at most `reply_within`; then what is not settled goes to the spool. Gives the rules back, by which
    /// it is answered.
    pub(crate) async fn settle(mut self: Box<Self>) -> (Verdicts, Claim, Arc<Rules>) {
        let within = self.rules.reply_within;
        let verdicts = poll_fn(|cx| self.poll_attempts(cx));
        // In time or not: what is open now is to be kept.
        let _ = tokio::time::timeout(within, verdicts).await;
        if self.verdicts.is_open() {
            // Boxed, so that those that need no spool are not the larger for it.
            Box::pin(self.keep_the_rest()).await;
        }
        (self.verdicts, self.claim, self.rules)
    }

    /// Ready when no attempt is under way.
    fn poll_attempts(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut index = 0;
        while let Some(Tagged { target, attempt }) = self.attempts.get_mut(index) {
            let target = *target;
            match attempt.as_mut().poll(cx) {
                Poll::Ready(outcome) => {
                    self.attempts.swap_remove(index);
                    self.heard(target, outcome);
                }
                Poll::Pending => index += 1,
            }
        }
        if self.attempts.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn provider(&self, target: usize) -> Provider {
        self.notification.targets[target].device.service()
    }

    fn push(&self, target: usize) -> Push {
        Push {
            id: self.id(target),
            notification: self.notification.clone(),
            target,
            expiry: Some(self.expiry),
        }
    }

    fn id(&self, target: usize) -> Uuid {
        push_id(&self.notification, target, identity(&self.request))
    }

    /// A verdict that is final settles its target; a deferral leaves it open, to be kept.
    fn heard(&mut self, target: usize, outcome: Outcome) {
        let named = &self.notification.targets[target];
        self.verdicts.hear(target, named, outcome);
        if !matches!(outcome.verdict, Verdict::Deferred { .. }) {
            self.end(target, Ending::of(&outcome));
        }
        if outcome.verdict == Verdict::Accepted {
            self.supersede(target);
        }
    }

    /// What waits for the same device under the same collapse id is older, and shall not follow.
    fn supersede(&self, target: usize) {
        let provider = self.provider(target);
        let waits = self.service.waiting.as_ref();
        if waits.is_none_or(|waiting| waiting.is_empty(provider)) {
            return;
        }
        let Some(key) = waiting::collapse_key(&self.notification, target) else {
            return;
        };
        let (service, came) = (self.service.clone(), self.received);
        self.service.afterwards(async move {
            if let Some(waiting) = service.waiting.as_ref() {
                waiting.supersede(provider, key, came).await;
            }
        });
    }

    fn end(&mut self, target: usize, ending: Ending) {
        let metrics = self.service.metrics.service(self.provider(target));
        metrics.in_flight.dec();
        metrics.end(ending);
        self.verdicts.close(target);
    }

    /// Puts every target that is still open into the spool.
    async fn keep_the_rest(&mut self) {
        let now = clock::wall();
        let mut kept = Vec::new();
        let mut waiters = Vec::new();
        for target in self.verdicts.open() {
            match self.due(target, now) {
                Some((due, tries)) => {
                    kept.push(target);
                    waiters.extend(self.waiter(target, due, tries));
                }
                // The provider asks for more patience than the notification has.
                None => {
                    let provider = self.provider(target);
                    let mut outcome = Local::Expired.outcome();
                    if let Some(said) = self.verdicts.outcome(target) {
                        outcome.cause = said.cause;
                    }
                    self.verdicts.note(target, provider, outcome);
                    self.end(target, Ending::Expired);
                }
            }
        }
        let service = self.service.clone();
        let Some(waiting) = service.waiting.as_ref() else {
            return self.unsettled(&kept, None);
        };
        let results = waiting.put(waiters).await;
        for (provider, result) in Provider::ALL.into_iter().zip(results) {
            let own = kept.iter().copied();
            let own: Vec<usize> = own
                .filter(|target| self.provider(*target) == provider)
                .collect();
            match result {
                Ok(()) => own
                    .into_iter()
                    .for_each(|target| self.verdicts.keep(target)),
                Err(error) => {
                    warn!(%error, service = provider.label(), "the spool takes nothing: answering 503");
                    self.unsettled(&own, Some(error));
                    // Nothing is promised of these: they are cut off.
                    self.attempts.retain(|tagged| !own.contains(&tagged.target));
                }
            }
        }
        self.see_through();
    }

    /// When an open target is due, and how often it was deferred by then; `None` when that would be too late.
    fn due(&self, target: usize, now: SystemTime) -> Option<(SystemTime, Tries)> {
        if self.expiry == attempt::ONCE {
            return None;
        }
        let Some(outcome) = self.verdicts.outcome(target) else {
            // Not yet begun, or begun and not yet answered.
            let wait = if self.unstarted.contains(&target) {
                Duration::ZERO
            } else {
                UNDER_WAY
            };
            return Some((now + wait, Tries::default()));
        };
        let service = &self.service;
        match retry::next(
            &service.patience,
            outcome,
            Tries::default(),
            now,
            Some(self.expiry),
            service.dice(),
        ) {
            // Its lane sleeps as long as it must; in the order of coming, what waits lies close together on disk.
            Next::At { .. } if outcome.cause == BARRED && self.is_barred(target) => {
                Some((now, Tries::default()))
            }
            Next::At { when, counts } => {
                let tries = Tries {
                    counted: u32::from(counts),
                    deferred: 1,
                };
                Some((when, tries))
            }
            Next::Done | Next::Gone { .. } | Next::Bury(_) => None,
        }
    }

    /// Whether no push goes to the provider of a target now.
    fn is_barred(&self, target: usize) -> bool {
        let passage = self.rules.passage(self.provider(target), clock::now());
        passage != Passage::Free
    }

    fn waiter(&self, target: usize, due: SystemTime, tries: Tries) -> Option<Waiter> {
        let origin = Origin {
            push_id: self.id(target),
            expiry: Some(self.expiry),
            partner: self.partner.name.clone(),
            call_id: String::from_utf8_lossy(self.request.call_id()).into(),
            received: self.received,
        };
        Some(Waiter {
            record: Record::new(&self.notification, target, origin)?,
            due,
            said: self
                .verdicts
                .outcome(target)
                .map(|outcome| outcome.cause.label()),
            tries,
        })
    }

    /// Nothing is promised: the sender is told to come again.
    fn unsettled(&mut self, targets: &[usize], error: Option<SpoolError>) {
        let outcome = match error {
            Some(SpoolError::Full(_)) => Some(Local::SpoolFull.outcome()),
            Some(_) => Some(Local::SpoolTrouble.outcome()),
            None => None,
        };
        for target in targets {
            // Without a spool the deferral itself is the reason; where there is none, no answer came in time, and the request
            // may have gone out.
            let reason = outcome.or_else(|| self.verdicts.outcome(*target).copied());
            let reason = reason.unwrap_or(Outcome {
                ambiguous: true,
                ..Local::Deadline.outcome()
            });
            let provider = self.provider(*target);
            if matches!(reason.cause, Cause::Local(_)) {
                self.service.metrics.service(provider).outcome(&reason);
            }
            self.verdicts.note(*target, provider, reason);
            self.end(*target, Ending::Unsettled);
        }
    }

    /// Follows the attempts that are still under way although their targets are safe. What comes of them is said to the spool
    /// before anybody else tries the same: one that succeeds leaves it again, one that is deferred waits as long as it must.
    fn see_through(&mut self) {
        for Tagged { target, attempt } in std::mem::take(&mut self.attempts) {
            let (provider, id, service) =
                (self.provider(target), self.id(target), self.service.clone());
            let expiry = self.expiry;
            self.service.afterwards(async move {
                let outcome = attempt.await;
                let Some(waiting) = service.waiting.as_ref() else {
                    return;
                };
                let (now, dice) = (clock::wall(), service.dice());
                let tries = Tries::default();
                let next = retry::next(&service.patience, &outcome, tries, now, Some(expiry), dice);
                let settlement = waiting::settlement(next, &outcome);
                waiting.conclude(provider, id, settlement).await;
            });
        }
    }
}

/// What makes a MESSAGE itself and no other.
pub(crate) fn identity(request: &Request) -> RequestIdentity<'_> {
    RequestIdentity {
        call_id: request.call_id(),
        cseq: request.cseq().0,
        from_tag: request.from().tag().unwrap_or_default(),
    }
}

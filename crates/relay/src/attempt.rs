//! One attempt to deliver one target: from its first try or from the spool, it is the same.
//!
//! Decides what needs no provider, asks the breaker, sends, and heeds what the answer says of the way and of the device.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pushrelay_providers::Push;
use pushrelay_push::apns::ApnsReason;
use pushrelay_push::{Cause, Expiry, Local, Outcome, Scope, Service as Provider, Target, Verdict};
use pushrelay_spool::{Fingerprint, Gone};
use tracing::{debug, error, warn};
use uuid::Uuid;

use crate::breaker::{Passage, Report};
use crate::clock;
use crate::compose::{self, Way};
use crate::gone::{Known, Tide, fingerprint};
use crate::partners::Partner;
use crate::route::Route;
use crate::rules::Rules;
use crate::service::Service;
use crate::trail::What;

/// The expiry of what is tried once and never kept: `apns-expiration: 0`.
pub(crate) const ONCE: Expiry = Expiry::from_unix_seconds(0);

/// An attempt that is under way.
pub(crate) type Attempt = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Begins an attempt; what needs no provider is decided at once.
pub(crate) fn start(
    service: &Arc<Service>,
    rules: &Rules,
    partner: Option<&Arc<Partner>>,
    push: Push,
) -> Result<Attempt, Outcome> {
    let id = push.id;
    begin(service, rules, partner, push).map_err(|(provider, outcome)| {
        service.metrics.service(provider).outcome(&outcome);
        let decided = What::Attempt {
            app: None,
            outcome,
            took: None,
        };
        service.trail.step(id, clock::now(), decided);
        outcome
    })
}

fn begin(
    service: &Arc<Service>,
    rules: &Rules,
    partner: Option<&Arc<Partner>>,
    push: Push,
) -> Result<Attempt, (Provider, Outcome)> {
    let target = &push.notification.targets[push.target];
    let provider = target.device.service();
    let decided = |local: Local| (provider, local.outcome());
    compose::is_due(&push, clock::wall()).map_err(decided)?;
    let barred = |outcome: Outcome| (provider, outcome);
    match compose::way(rules, partner, target).map_err(decided)? {
        Way::Apple(app) => {
            service.at_the_door(target, &app.id).map_err(barred)?;
            let composed = compose::for_apple(rules, partner, app, &push).map_err(decided)?;
            pass(&app.route).map_err(barred)?;
            let (service, app) = (service.clone(), app.clone());
            Ok(Box::pin(async move {
                let start = clock::now();
                let outcome = app.client.send(composed).await;
                let app_id = Some(app.id.clone());
                let took = service.took(push.id, app_id, outcome, start);
                service.heed(&app.route, &push, &app.id, outcome, took)
            }))
        }
        Way::WindowsPhone(app) => {
            service.at_the_door(target, "").map_err(barred)?;
            let composed = compose::phone_look(rules, partner, app, &push)
                .and_then(|look| compose::for_phone(look, &push))
                .map_err(decided)?;
            pass(&app.route).map_err(barred)?;
            let (service, app) = (service.clone(), app.clone());
            Ok(Box::pin(async move {
                let start = clock::now();
                if let Some(before) = composed.before {
                    let outcome = app.client.send(before).await;
                    let took = service.took(push.id, None, outcome, start);
                    // A tile that is refused keeps nobody from hearing of the message.
                    if !matches!(outcome.verdict, Verdict::Accepted | Verdict::Refused(_)) {
                        return service.heed(&app.route, &push, "", outcome, took);
                    }
                    service.metrics.service(Provider::Mpns).outcome(&outcome);
                }
                let outcome = app.client.send(composed.last).await;
                let took = service.took(push.id, None, outcome, start);
                service.heed(&app.route, &push, "", outcome, took)
            }))
        }
    }
}

fn pass(route: &Route) -> Result<(), Outcome> {
    match route.breaker.ask(clock::now()) {
        Passage::Free | Passage::Probe => Ok(()),
        Passage::Barred(wait) => {
            let verdict = Verdict::Deferred {
                scope: Scope::Provider,
                retry_after: Some(wait),
            };
            Err(Outcome {
                verdict,
                ..Local::BreakerOpen.outcome()
            })
        }
    }
}

impl Service {
    fn at_the_door(&self, target: &Target, app: &str) -> Result<(), Outcome> {
        if self.gone.is_empty() {
            return Ok(());
        }
        match self
            .gone
            .find(fingerprint(target, app), target.registered, clock::wall())
        {
            Some(known) => Err(Outcome {
                verdict: Verdict::Gone { since: known.since },
                ..Local::KnownGone.outcome()
            }),
            None => Ok(()),
        }
    }

    /// Notes what a provider has said, and after how long.
    fn took(&self, id: Uuid, app: Option<Arc<str>>, outcome: Outcome, start: Instant) -> Duration {
        let took = clock::now() - start;
        let attempt = What::Attempt {
            app,
            outcome,
            took: Some(took),
        };
        self.trail.step(id, start + took, attempt);
        took
    }

    /// Counts an outcome and draws the conclusions for the way and for the device.
    fn heed(
        self: &Arc<Self>,
        route: &Route,
        push: &Push,
        app: &str,
        outcome: Outcome,
        took: Duration,
    ) -> Outcome {
        let target = &push.notification.targets[push.target];
        let provider = target.device.service();
        let metrics = self.metrics.service(provider);
        metrics.seconds.observe(took.as_secs_f64());
        metrics.outcome(&outcome);
        if outcome.ambiguous {
            debug!(push_id = %push.id, cause = outcome.cause.label(), "the request may have reached the provider, no answer came");
        }
        let failed = matches!(
            outcome.verdict,
            Verdict::Deferred {
                scope: Scope::Provider | Scope::App,
                ..
            }
        );
        let report = if failed {
            Report::Failed
        } else {
            Report::Alive
        };
        let was_open = route.breaker.is_open();
        route.breaker.report(report, clock::now(), self.dice());
        if was_open && let Some(waiting) = &self.waiting {
            // The lane sleeps until a probe may go; this was one, or somebody else's.
            waiting.bell(provider).notify_one();
        }
        if was_open != route.breaker.is_open() {
            let state = if was_open { "closed" } else { "open" };
            warn!(
                service = provider.label(),
                app,
                cause = outcome.cause.label(),
                "the breaker is {state}"
            );
        }
        match outcome.verdict {
            Verdict::Accepted => route.wave.alive(),
            Verdict::Gone { since } => self.device_is_gone(route, target, app, since),
            _ if outcome.cause == Cause::Apns(ApnsReason::BadDeviceToken) => {
                let tide = route.wave.lost(fingerprint(target, app), clock::now());
                self.ebb(tide, provider, app);
            }
            _ => {}
        }
        outcome
    }

    fn device_is_gone(
        self: &Arc<Self>,
        route: &Route,
        target: &Target,
        app: &str,
        since: Option<SystemTime>,
    ) {
        let device = fingerprint(target, app);
        let provider = target.device.service();
        match route.wave.lost(device, clock::now()) {
            Tide::Calm => {
                let noted = clock::wall();
                self.gone.note(device, Known { since, noted });
                let lane = crate::waiting::lane(provider);
                self.persist(Gone {
                    device,
                    lane,
                    app: app.into(),
                    since,
                    noted,
                });
            }
            tide => self.ebb(tide, provider, app),
        }
    }

    /// A wave of lost devices is our configuration: what was believed of them is taken back.
    fn ebb(self: &Arc<Self>, tide: Tide, provider: Provider, app: &str) {
        if let Tide::Rising(devices) = tide {
            error!(
                service = provider.label(),
                app,
                devices = devices.len(),
                "so many devices are called gone or bad at once that none is believed: check the app's environment and topic"
            );
            for device in &devices {
                self.gone.forget(*device);
            }
            self.forget(devices);
        }
    }

    fn persist(self: &Arc<Self>, gone: Gone) {
        let Some(waiting) = self.waiting.clone() else {
            return;
        };
        self.afterwards(async move {
            if let Err(error) = waiting.spool().note_gone(vec![gone]).await {
                warn!(%error, "a gone device is not written down: after a restart its provider is asked once more");
            }
        });
    }

    fn forget(self: &Arc<Self>, devices: Vec<Fingerprint>) {
        let Some(waiting) = self.waiting.clone() else {
            return;
        };
        self.afterwards(async move {
            for device in devices {
                if let Err(error) = waiting.spool().forget_gone(device).await {
                    warn!(%error, "a device stays written down as gone");
                }
            }
        });
    }
}

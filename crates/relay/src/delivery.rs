//! One notification on its way: every target to its provider at once, a verdict for each, one answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pushrelay_providers::{Push, apns, mpns};
use pushrelay_push::{
    Device, Event, Expiry, Local, Notification, Outcome, RequestIdentity, Service as Provider,
    push_id,
};
use pushrelay_sip::{Answer, Request};

use crate::service::Service;
use crate::verdicts::Verdicts;

/// A target's exchange with its provider: which target, and how it ended.
type Send = Pin<Box<dyn Future<Output = (usize, Outcome)> + std::marker::Send>>;

/// A notification whose targets are being sent to. Made without waiting; [`settle`](Delivery::settle) waits.
pub(crate) struct Delivery {
    service: Arc<Service>,
    notification: Arc<Notification>,
    sends: FuturesUnordered<Send>,
    verdicts: Verdicts,
}

impl Delivery {
    /// Composes a provider request for every target. What needs no provider is settled here.
    pub(crate) fn new(
        service: &Arc<Service>,
        request: &Request,
        notification: Notification,
        expiry: Expiry,
    ) -> Delivery {
        let mut delivery = Delivery {
            service: service.clone(),
            verdicts: Verdicts::new(notification.targets.len()),
            notification: Arc::new(notification),
            sends: FuturesUnordered::new(),
        };
        let expired = expiry.is_past(SystemTime::now());
        for target in 0..delivery.notification.targets.len() {
            let provider = delivery.provider(target);
            let metrics = service.metrics.service(provider);
            metrics.targets.inc();
            metrics.in_flight.inc();
            let outcome = if delivery.notification.event == Event::Test {
                Err(Local::Test)
            } else if expired {
                Err(Local::Expired)
            } else {
                delivery.send(request, target, expiry)
            };
            if let Err(local) = outcome {
                delivery.settled(target, local.outcome());
            }
        }
        delivery
    }

    /// Waits for every verdict, at most `reply_within`. What is not settled then is deferred.
    pub(crate) async fn settle(mut self) -> Verdicts {
        let deadline = tokio::time::Instant::now() + self.service.reply_within;
        while !self.sends.is_empty() {
            match tokio::time::timeout_at(deadline, self.sends.next()).await {
                Ok(Some((target, outcome))) => self.settled(target, outcome),
                Ok(None) => break,
                Err(_) => {
                    // The request may have gone out: nobody can know.
                    let outcome = Outcome {
                        ambiguous: true,
                        ..Local::Deadline.outcome()
                    };
                    for target in self.verdicts.open() {
                        self.settled(target, outcome);
                    }
                    break;
                }
            }
        }
        self.verdicts
    }

    fn provider(&self, target: usize) -> Provider {
        self.notification.targets[target].device.service()
    }

    fn settled(&mut self, target: usize, outcome: Outcome) {
        let provider = self.provider(target);
        self.service.metrics.service(provider).settle(&outcome);
        self.verdicts.settle(target, provider, outcome);
    }

    fn send(&mut self, request: &Request, target: usize, expiry: Expiry) -> Result<(), Local> {
        let service = self.service.clone();
        let named = &self.notification.targets[target];
        let push = Push {
            id: push_id(&self.notification, target, identity(request)),
            notification: self.notification.clone(),
            target,
            expiry: Some(expiry),
        };
        match &named.device {
            Device::Apple(_) => {
                if service.apple.is_none() {
                    return Err(Local::PlatformOff);
                }
                let app = service
                    .apple_app(named.app.as_deref(), named.environment)
                    .ok_or(Local::UnknownApp)?;
                let composed = apns::compose(&push, &app.app)?;
                let client = app.client.clone();
                self.sends.push(Box::pin(async move {
                    let start = Instant::now();
                    let outcome = client.send(composed).await;
                    service
                        .metrics
                        .service(Provider::Apns)
                        .seconds
                        .observe(start.elapsed().as_secs_f64());
                    (target, outcome)
                }));
            }
            Device::WindowsPhone(_) => {
                let client = service.windows_phone.clone().ok_or(Local::PlatformOff)?;
                let composed = mpns::compose(&push)?;
                self.sends.push(Box::pin(async move {
                    let start = Instant::now();
                    let outcome = client.send(composed).await;
                    service
                        .metrics
                        .service(Provider::Mpns)
                        .seconds
                        .observe(start.elapsed().as_secs_f64());
                    (target, outcome)
                }));
            }
        }
        Ok(())
    }
}

fn identity(request: &Request) -> RequestIdentity<'_> {
    RequestIdentity {
        call_id: request.call_id(),
        cseq: request.cseq().0,
        from_tag: request.from().tag().unwrap_or_default(),
    }
}

impl Verdicts {
    /// The answer to a MESSAGE whose targets ended so.
    pub(crate) fn into_answer(self, service: &Service) -> Answer {
        crate::verdicts::answer(
            &self,
            service.accepted_status,
            service.addresses.first_host(),
        )
    }
}

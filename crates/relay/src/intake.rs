//! One request: is it for us, may this peer send it, what does its body say. Ends in an answer or in a delivery.
//!
//! Not here: reading (`pushrelay_sip`), sending (`delivery`). No step of this file waits for anything.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use pushrelay_push::Notification;
use pushrelay_push::body::{Body, BodyError, Damage, Headers};
use pushrelay_sip::{Answer, Request};
use tokio::sync::{oneshot, watch};

use crate::clock;
use crate::config::UnknownBody;
use crate::delivery::{Arrival, Delivery};
use crate::identity;
use crate::metrics::Refusal;
use crate::rate::Rate;
use crate::recent::Before;
use crate::rules::Rules;
use crate::service::Service;
use crate::session::Sender;
use crate::trail::Place;
use crate::validity;
use crate::verdicts::{self, Verdicts};

/// What is to be done about a request.
pub(crate) enum Intake {
    /// It is answered now.
    Answer(Answer, Option<Refusal>),
    /// It is answered when something has happened.
    Wait(Wait),
}

/// What a MESSAGE waits for.
pub(crate) enum Wait {
    /// For the verdicts on its targets.
    Verdicts(Box<Delivery>, Damage),
    /// For its capture to be on disk.
    Capture(Box<Capture>),
    /// For the answer to the same MESSAGE, which came over another connection.
    Repetition(watch::Receiver<Option<u16>>),
}

/// A MESSAGE that nobody could read, and that counts as accepted once it is kept.
pub(crate) struct Capture {
    kept: oneshot::Receiver<bool>,
    accepted: Answer,
    refused: Answer,
}

/// How a MESSAGE ended, in the words of the log.
pub(crate) enum Words {
    /// A word for each target.
    Verdicts(Verdicts),
    /// Nobody could read it, and it was kept.
    Captured,
    /// As the same MESSAGE before it.
    Repeated,
}

impl Words {
    /// Why it was refused at the door, where it was.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        match self {
            Words::Captured => Some(Refusal::NotUnderstood),
            Words::Verdicts(_) | Words::Repeated => None,
        }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Words::Verdicts(verdicts) => verdicts.fmt(f),
            Words::Captured => f.write_str("captured"),
            Words::Repeated => f.write_str("repeated"),
        }
    }
}

impl Wait {
    /// Waits; gives the answer, and what the log says of it.
    pub(crate) async fn answer(self) -> (Answer, Words) {
        match self {
            Wait::Verdicts(delivery, damage) => {
                let dice = delivery.dice();
                let (verdicts, claim, rules) = delivery.settle().await;
                let mut answer = verdicts::answer(
                    &verdicts,
                    rules.accepted_status,
                    rules.addresses.first_host(),
                    dice,
                );
                if answer.status() < 300 {
                    claim.keep(answer.status());
                }
                answer = name_damage(answer, damage);
                (answer, Words::Verdicts(verdicts))
            }
            Wait::Capture(capture) => {
                let answer = match capture.kept.await {
                    Ok(true) => capture.accepted,
                    Ok(false) | Err(_) => capture.refused,
                };
                (answer, Words::Captured)
            }
            Wait::Repetition(mut outcome) => {
                let status = outcome
                    .wait_for(Option::is_some)
                    .await
                    .ok()
                    .and_then(|status| *status);
                let answer = status.map_or_else(
                    || {
                        let reason = "the same MESSAGE has just failed over another connection: send it again";
                        Answer::new(503).reason(reason).retry_after(1)
                    },
                    Answer::new,
                );
                (answer, Words::Repeated)
            }
        }
    }
}

/// Judges `request`, which came from `sender`, or from a stranger.
pub(crate) fn judge(
    service: &Arc<Service>,
    rules: &Arc<Rules>,
    request: &Request,
    sender: Option<&Sender>,
    place: Place,
    now: SystemTime,
) -> Intake {
    match admit(rules, request, sender) {
        Ok(None) => Intake::Answer(
            Answer::options().field("Accept", rules.bodies.decoders.accept().to_owned()),
            None,
        ),
        Ok(Some(sender)) => match read(rules, request) {
            Ok(read) => {
                let arrival = Arrival {
                    request,
                    sender,
                    place,
                };
                deliver(service, rules, arrival, read, now)
            }
            Err(unread) => keep(service, rules, request, &unread),
        },
        Err((answer, refusal)) => Intake::Answer(answer, Some(refusal)),
    }
}

/// Begins with a push, unless it has come before.
fn deliver(
    service: &Arc<Service>,
    rules: &Arc<Rules>,
    arrival: Arrival<'_>,
    (notification, damage): (Notification, Damage),
    now: SystemTime,
) -> Intake {
    let Arrival {
        request,
        sender,
        place,
    } = arrival;
    let from_tag = request.from().tag().unwrap_or_default();
    let identity = service.recent.identity(
        sender.account.number,
        request.call_id(),
        request.cseq().0,
        from_tag,
    );
    match service.recent.claim(identity, clock::now()) {
        Before::Never(claim) => {
            service.metrics.damage(damage);
            if let Some(config) = rules.bodies.capture.as_ref().filter(|config| config.all) {
                service.captures.keep(config, request, "decoded");
            }
            let until = validity::valid_until(request, now);
            if let Some(answer) = until.and_then(|until| validity::expired(until, now)) {
                return Intake::Answer(answer, Some(Refusal::Expired));
            }
            let expiry = validity::expiry(rules, &notification, until, now);
            let delivery = Delivery::new(service, rules, arrival, notification, expiry, claim);
            Intake::Wait(Wait::Verdicts(delivery, damage))
        }
        Before::Now(outcome) => {
            service.trail.repeats(place);
            Intake::Wait(Wait::Repetition(outcome))
        }
        Before::Answered(status) => {
            service.trail.repeats(place);
            Intake::Answer(Answer::new(status), None)
        }
    }
}

type Refused = (Answer, Refusal);

fn refused(status: u16, reason: impl Into<Cow<'static, str>>, refusal: Refusal) -> Refused {
    (Answer::new(status).reason(reason), refusal)
}

/// `Ok(None)` for an OPTIONS that is ours, `Ok(Some(_))` for a push.
fn admit<'a>(
    rules: &Rules,
    request: &Request,
    sender: Option<&'a Sender>,
) -> Result<Option<&'a Sender>, Refused> {
    let Some(sender) = sender else {
        let reason = "your certificate names no partner of this relay: ask its operator to add your Access Edge";
        return Err(refused(403, reason, Refusal::Stranger));
    };
    if let Some(fault) = request.fault() {
        return Err((fault.answer(), Refusal::Fault));
    }
    let Ok(uri) = request.request_uri() else {
        return Err(refused(
            400,
            "the Request-URI cannot be read, expected a SIP URI",
            Refusal::Fault,
        ));
    };
    if request.is_options() {
        if rules.addresses.has_host(uri.host()) {
            return Ok(None);
        }
        return Err(refused(
            404,
            "this relay does not serve the domain of the Request-URI",
            Refusal::ForeignUri,
        ));
    }
    identity::vouch(request, sender)?;
    if !rules.addresses.contains(uri.user(), uri.host()) {
        return Err(refused(
            404,
            "the Request-URI is no push address of this relay",
            Refusal::ForeignUri,
        ));
    }
    if let Some(rate) = &sender.partner.rate {
        within(rate, sender)?;
    }
    Ok(Some(sender))
}

/// Whether the partner sends no faster than it may; else it is told when to come again, and nobody but it.
fn within(rate: &Rate, sender: &Sender) -> Result<(), Refused> {
    let Err(wait) = sender.account.bucket.take(rate, clock::now()) else {
        return Ok(());
    };
    sender.account.over_rate.inc();
    let reason = format!(
        "partner {} may send {rate}: come again later",
        sender.partner.name
    );
    let (answer, refusal) = refused(503, reason, Refusal::OverRate);
    // Whole seconds, rounded up (RFC 3261 20.33).
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
    Err((answer.retry_after(seconds.saturating_add(1)), refusal))
}

/// What its body says, and what a filter has done to it.
pub(crate) fn read(rules: &Rules, request: &Request) -> Result<(Notification, Damage), Unread> {
    let content_type = request
        .content_type()
        .and_then(|value| std::str::from_utf8(value).ok());
    let body = Body {
        content_type,
        bytes: request.body(),
    };
    let reading = rules.bodies.decoders.read(body, &HeadersOf(request));
    let damage = reading.damage;
    match reading.result {
        Ok(notification) => Ok((notification, damage)),
        Err(error) => Err(Unread { error, damage }),
    }
}

/// What a mapping may look at beside the body.
struct HeadersOf<'a>(&'a Request);

impl Headers for HeadersOf<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.header(name)
    }
}

/// A body that is no notification.
pub(crate) struct Unread {
    error: BodyError,
    damage: Damage,
}

impl Unread {
    /// What the sender is told, where it is told that.
    pub(crate) fn answer(&self, rules: &Rules) -> Answer {
        let mut answer = Answer::new(self.error.status()).reason(self.error.to_string());
        if self.refusal() == Refusal::NotUnderstood {
            answer = answer.field("Accept", rules.bodies.decoders.accept().to_owned());
        }
        name_damage(answer, self.damage)
    }

    /// What the sender is told once the request is kept, where keeping it is enough.
    pub(crate) fn answer_once_kept(&self, rules: &Rules) -> Option<Answer> {
        let is_enough = self.refusal() == Refusal::NotUnderstood
            && rules.bodies.capture.is_some()
            && rules.bodies.unknown == UnknownBody::AcceptCaptured;
        let reason = "not understood and not pushed, only kept for this relay's operator (bodies.unknown_body)";
        is_enough.then(|| Answer::new(rules.accepted_status).reason(reason))
    }

    fn refusal(&self) -> Refusal {
        match self.error {
            BodyError::NotUnderstood(_) => Refusal::NotUnderstood,
            _ => Refusal::Malformed,
        }
    }
}

/// It is kept where the operator wants that, and refused, unless what was kept is enough.
fn keep(service: &Service, rules: &Rules, request: &Request, unread: &Unread) -> Intake {
    service.metrics.damage(unread.damage);
    let refusal = unread.refusal();
    let refused = unread.answer(rules);
    if let Some(config) = &rules.bodies.capture {
        let captures = &service.captures;
        match unread.answer_once_kept(rules) {
            None => captures.keep(config, request, refusal.label()),
            Some(accepted) => {
                if let Some(kept) = captures.keep_and_tell(config, request, refusal.label()) {
                    service.metrics.refusal(refusal);
                    return Intake::Wait(Wait::Capture(Box::new(Capture {
                        kept,
                        accepted,
                        refused,
                    })));
                }
            }
        }
    }
    Intake::Answer(refused, Some(refusal))
}

/// Tells the sender's administrator what their own filter does.
pub(crate) fn name_damage(answer: Answer, damage: Damage) -> Answer {
    if damage.is_none() {
        return answer;
    }
    let reason = match answer.reason_text() {
        "" => format!(
            "an IM URL filter at the sender has changed the body ({damage}), repaired where that is certain: take http: and https: out of (Get-CsImFilterConfiguration).Prefixes"
        ),
        first => format!("{first}; an IM URL filter at the sender has changed the body ({damage})"),
    };
    answer.reason(reason)
}

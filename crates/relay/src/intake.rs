//! One request: is it for us, may this peer send it, what does its body say. Ends in an answer or in a delivery.
//!
//! Not here: reading (`pushrelay_sip`), sending (`delivery`). No step of this file waits for anything.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use pushrelay_push::body::{Body, BodyError};
use pushrelay_push::{Event, Expiry, Notification};
use pushrelay_sip::{Answer, Request};
use tokio::sync::watch;

use crate::attempt;
use crate::delivery::Delivery;
use crate::metrics::Refusal;
use crate::recent::Before;
use crate::rules::Rules;
use crate::service::Service;
use crate::session::Sender;
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
    Verdicts(Box<Delivery>),
    /// For the answer to the same MESSAGE, which came over another connection.
    Repetition(watch::Receiver<Option<u16>>),
}

/// How a MESSAGE ended, in the words of the log.
pub(crate) enum Words {
    /// A word for each target.
    Verdicts(Verdicts),
    /// As the same MESSAGE before it.
    Repeated,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Words::Verdicts(verdicts) => verdicts.fmt(f),
            Words::Repeated => f.write_str("repeated"),
        }
    }
}

impl Wait {
    /// Waits; gives the answer, and what the log says of it.
    pub(crate) async fn answer(self) -> (Answer, Words) {
        match self {
            Wait::Verdicts(delivery) => {
                let (verdicts, claim, rules) = delivery.settle().await;
                let answer = verdicts::answer(
                    &verdicts,
                    rules.accepted_status,
                    rules.addresses.first_host(),
                );
                if answer.status() < 300 {
                    claim.keep(answer.status());
                }
                (answer, Words::Verdicts(verdicts))
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
    now: SystemTime,
) -> Intake {
    match admit(rules, request, sender) {
        Ok(None) => Intake::Answer(
            Answer::options().field("Accept", rules.decoders.accept().to_owned()),
            None,
        ),
        Ok(Some((sender, notification))) => {
            let from_tag = request.from().tag().unwrap_or_default();
            let identity = service.recent.identity(
                sender.account.number,
                request.call_id(),
                request.cseq().0,
                from_tag,
            );
            match service.recent.claim(identity, Instant::now()) {
                Before::Never(claim) => {
                    let expiry = expiry(rules, &notification, now);
                    let partner = &sender.partner;
                    let delivery = Delivery::new(
                        service,
                        rules,
                        request,
                        partner,
                        notification,
                        expiry,
                        claim,
                    );
                    Intake::Wait(Wait::Verdicts(delivery))
                }
                Before::Now(outcome) => Intake::Wait(Wait::Repetition(outcome)),
                Before::Answered(status) => Intake::Answer(Answer::new(status), None),
            }
        }
        Err((answer, refusal)) => Intake::Answer(answer, Some(refusal)),
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
) -> Result<Option<(&'a Sender, Notification)>, Refused> {
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
    let from = request.from().sip_uri();
    if !from.is_ok_and(|from| sender.partner.speaks_for(from.host())) {
        let reason = format!(
            "partner {} may not send for the domain of the From header",
            sender.partner.name
        );
        return Err(refused(403, reason, Refusal::ForeignFrom));
    }
    if !rules.addresses.contains(uri.user(), uri.host()) {
        return Err(refused(
            404,
            "the Request-URI is no push address of this relay",
            Refusal::ForeignUri,
        ));
    }
    decode(rules, request).map(|notification| Some((sender, notification)))
}

fn decode(rules: &Rules, request: &Request) -> Result<Notification, Refused> {
    let content_type = request
        .content_type()
        .and_then(|value| std::str::from_utf8(value).ok());
    rules
        .decoders
        .decode(Body {
            content_type,
            bytes: request.body(),
        })
        .map_err(|error| {
            let answer = Answer::new(error.status()).reason(error.to_string());
            match error {
                BodyError::NotUnderstood(_) => (
                    answer.field("Accept", rules.decoders.accept().to_owned()),
                    Refusal::NotUnderstood,
                ),
                BodyError::Malformed(_) | BodyError::TooLarge { .. } => {
                    (answer, Refusal::Malformed)
                }
            }
        })
}

/// The sender's time to live from when it made the notification, ours where it names none, and never past our ceiling.
fn expiry(rules: &Rules, notification: &Notification, now: SystemTime) -> Expiry {
    if notification.ttl == Some(Duration::ZERO) {
        return attempt::ONCE;
    }
    let wanted = match notification.ttl {
        Some(ttl) => Expiry::after(notification.created.unwrap_or(now), ttl),
        None if notification.event == Event::Test => Expiry::after(now, rules.max_ttl),
        None => Expiry::after(now, rules.default_ttl),
    };
    wanted.min(Expiry::after(now, rules.max_ttl))
}

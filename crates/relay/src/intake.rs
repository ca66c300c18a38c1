//! One request: is it for us, may this peer send it, what does its body say. Ends in an answer or in a delivery.
//!
//! Not here: reading (`pushrelay_sip`), sending (`delivery`). No step of this file waits for anything.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use pushrelay_push::body::{Body, BodyError};
use pushrelay_push::{Event, Expiry, Notification};
use pushrelay_sip::{Answer, Request};

use crate::delivery::Delivery;
use crate::metrics::Refusal;
use crate::service::Service;

/// What is to be done about a request.
pub(crate) enum Intake {
    /// It is answered now.
    Answer(Answer, Option<Refusal>),
    /// It is answered when its targets are settled.
    Deliver(Delivery),
}

/// Judges `request`, which came from the partner at `partner`, or from a stranger.
pub(crate) fn judge(
    service: &Arc<Service>,
    request: &Request,
    partner: Option<usize>,
    now: SystemTime,
) -> Intake {
    match admit(service, request, partner) {
        Ok(None) => Intake::Answer(Answer::options(), None),
        Ok(Some(notification)) => {
            let expiry = expiry(service, &notification, now);
            Intake::Deliver(Delivery::new(service, request, notification, expiry))
        }
        Err((answer, refusal)) => Intake::Answer(answer, Some(refusal)),
    }
}

type Refused = (Answer, Refusal);

fn refused(status: u16, reason: impl Into<Cow<'static, str>>, refusal: Refusal) -> Refused {
    (Answer::new(status).reason(reason), refusal)
}

/// `Ok(None)` for an OPTIONS that is ours, `Ok(Some(_))` for a push.
fn admit(
    service: &Service,
    request: &Request,
    partner: Option<usize>,
) -> Result<Option<Notification>, Refused> {
    let Some(partner) = partner.and_then(|index| service.partners.get(index)) else {
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
        if service.addresses.has_host(uri.host()) {
            return Ok(None);
        }
        return Err(refused(
            404,
            "this relay does not serve the domain of the Request-URI",
            Refusal::ForeignUri,
        ));
    }
    let from = request.from().sip_uri();
    if !from.is_ok_and(|from| partner.speaks_for(from.host())) {
        let reason = format!(
            "partner {} may not send for the domain of the From header",
            partner.name
        );
        return Err(refused(403, reason, Refusal::ForeignFrom));
    }
    if !service.addresses.contains(uri.user(), uri.host()) {
        return Err(refused(
            404,
            "the Request-URI is no push address of this relay",
            Refusal::ForeignUri,
        ));
    }
    decode(service, request).map(Some)
}

fn decode(service: &Service, request: &Request) -> Result<Notification, Refused> {
    let content_type = request
        .content_type()
        .and_then(|value| std::str::from_utf8(value).ok());
    service
        .decoders
        .decode(Body {
            content_type,
            bytes: request.body(),
        })
        .map_err(|error| {
            let answer = Answer::new(error.status()).reason(error.to_string());
            match error {
                BodyError::NotUnderstood(_) => (
                    answer.field("Accept", service.decoders.accept()),
                    Refusal::NotUnderstood,
                ),
                BodyError::Malformed(_) | BodyError::TooLarge { .. } => {
                    (answer, Refusal::Malformed)
                }
            }
        })
}

/// The sender's time to live from when it made the notification, ours where it names none, and never past our ceiling.
fn expiry(service: &Service, notification: &Notification, now: SystemTime) -> Expiry {
    let wanted = match notification.ttl {
        Some(ttl) => Expiry::after(notification.created.unwrap_or(now), ttl),
        None if notification.event == Event::Test => Expiry::after(now, service.max_ttl),
        None => Expiry::after(now, service.default_ttl),
    };
    wanted.min(Expiry::after(now, service.max_ttl))
}

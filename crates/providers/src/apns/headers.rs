//! The header fields of APNs requests: those of an app made once, those of a push put in their places.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use pushrelay_push::present::{Priority, PushKind};

static APNS_ID: HeaderName = HeaderName::from_static("apns-id");
static APNS_TOPIC: HeaderName = HeaderName::from_static("apns-topic");
static APNS_PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
static APNS_PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
static APNS_EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
static APNS_COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");

/// All pushes of one kind to one app, with a place for what each has of its own: to copy a map and fill its places takes a third
/// of what inserting takes.
pub(crate) fn template(topic: &HeaderValue, kind: PushKind, urgency: Priority) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(&APNS_TOPIC, topic.clone());
    headers.insert(&APNS_PUSH_TYPE, push_type(kind));
    headers.insert(&APNS_PRIORITY, priority(urgency));
    for name in [&APNS_ID, &APNS_EXPIRATION, &AUTHORIZATION] {
        headers.insert(name, HeaderValue::from_static(""));
    }
    headers
}

/// What a push has of its own.
pub(crate) struct Own<'a> {
    pub(crate) topic: Option<&'a HeaderValue>,
    pub(crate) id: &'a HeaderValue,
    pub(crate) expiration: Option<&'a HeaderValue>,
    pub(crate) collapse_id: Option<&'a HeaderValue>,
    pub(crate) authorization: Option<&'a HeaderValue>,
}

/// The header fields of one request.
pub(crate) fn fill(template: &HeaderMap, own: &Own<'_>) -> HeaderMap {
    let mut headers = template.clone();
    put(&mut headers, &APNS_ID, Some(own.id));
    if let Some(topic) = own.topic {
        put(&mut headers, &APNS_TOPIC, Some(topic));
    }
    put(&mut headers, &APNS_EXPIRATION, own.expiration);
    put(&mut headers, &AUTHORIZATION, own.authorization);
    if let Some(id) = own.collapse_id {
        headers.insert(&APNS_COLLAPSE_ID, id.clone());
    }
    headers
}

fn put(headers: &mut HeaderMap, name: &HeaderName, value: Option<&HeaderValue>) {
    match (headers.get_mut(name), value) {
        (Some(place), Some(value)) => place.clone_from(value),
        _ => drop(headers.remove(name)),
    }
}

fn push_type(kind: PushKind) -> HeaderValue {
    HeaderValue::from_static(match kind {
        PushKind::Alert => "alert",
        PushKind::Background => "background",
        PushKind::Voip => "voip",
    })
}

fn priority(urgency: Priority) -> HeaderValue {
    HeaderValue::from_static(match urgency {
        Priority::Immediate => "10",
        Priority::Considerate => "5",
        Priority::Low => "1",
    })
}

#[cfg(test)]
mod tests {
    use a2::request::notification as a2;

    use super::*;

    #[test]
    fn the_constants_are_the_ones_of_a2() {
        for (kind, theirs) in [
            (PushKind::Alert, a2::PushType::Alert),
            (PushKind::Background, a2::PushType::Background),
            (PushKind::Voip, a2::PushType::Voip),
        ] {
            assert_eq!(push_type(kind), theirs.to_string().as_str());
        }
        // Apple's 1 came later than a2's two.
        for (urgency, theirs) in [
            (Priority::Immediate, a2::Priority::High),
            (Priority::Considerate, a2::Priority::Normal),
        ] {
            assert_eq!(priority(urgency), theirs.to_string().as_str());
        }
    }
}

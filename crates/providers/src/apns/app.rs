//! One push as a request to Apple, before any connection is known.

use std::fmt;

use a2::request::notification::{CollapseId, Priority, PushType};
use bytes::Bytes;
use http::HeaderValue;
use http::uri::PathAndQuery;
use pushrelay_push::{Device, Local};

use super::ApnsError;
use super::headers;
use super::payload::{self, Kind};
use crate::Push;

/// One app on Apple's devices: what its requests have in common.
#[derive(Clone, Debug)]
pub struct ApnsApp {
    topic: HeaderValue,
    voip: bool,
}

impl ApnsApp {
    /// `topic`: the bundle id, for VoIP pushes with `.voip` behind it.
    pub fn new(topic: &str) -> Result<ApnsApp, ApnsError> {
        let error = || ApnsError::Topic(topic.to_owned());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if topic.is_empty() || topic.len() > 255 || !topic.bytes().all(plain) {
            return Err(error());
        }
        Ok(ApnsApp {
            topic: HeaderValue::from_str(topic).map_err(|_| error())?,
            voip: topic.ends_with(".voip"),
        })
    }

    /// `apns-topic`.
    pub fn topic(&self) -> &str {
        self.topic.to_str().unwrap_or_default()
    }
}

/// A request to Apple: path, headers and payload. Its `Debug` shows neither token nor text.
#[derive(Clone)]
pub struct ApnsRequest {
    pub(crate) path: PathAndQuery,
    pub(crate) topic: HeaderValue,
    pub(crate) push_type: HeaderValue,
    pub(crate) priority: HeaderValue,
    pub(crate) id: HeaderValue,
    pub(crate) expiration: Option<HeaderValue>,
    pub(crate) collapse_id: Option<HeaderValue>,
    pub(crate) payload: Bytes,
}

impl ApnsRequest {
    /// `:path`: holds the device token, never log it.
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    /// The headers that APNs knows, in the order in which they are sent, without `authorization`.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        [
            ("apns-topic", Some(&self.topic)),
            ("apns-push-type", Some(&self.push_type)),
            ("apns-priority", Some(&self.priority)),
            ("apns-id", Some(&self.id)),
            ("apns-expiration", self.expiration.as_ref()),
            ("apns-collapse-id", self.collapse_id.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?.as_bytes())))
    }

    /// The JSON payload: holds the text, never log it.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl fmt::Debug for ApnsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApnsRequest")
            .field("topic", &self.topic)
            .field("push_type", &self.push_type)
            .field("id", &self.id)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// Makes the request for one target: pure.
///
/// A push with something to show is an `alert`, one without a `background` push, one to a `.voip` topic a `voip` push. The
/// payload is held to 4096 bytes (`voip`: 5120) by shortening the alert; [`Local::TooLarge`] where that is not enough.
/// [`Local::UnknownApp`] where the target is no Apple device.
pub fn compose(push: &Push, app: &ApnsApp) -> Result<ApnsRequest, Local> {
    let notification = &*push.notification;
    let target = notification
        .targets
        .get(push.target)
        .ok_or(Local::UnknownApp)?;
    let Device::Apple(token) = &target.device else {
        return Err(Local::UnknownApp);
    };
    let kind = Kind::of(notification, app.voip);
    let payload = payload::compose(notification, kind)?;
    let (push_type, priority) = match kind {
        Kind::Alert => (PushType::Alert, Priority::High),
        Kind::Background => (PushType::Background, Priority::Normal),
        Kind::Voip => (PushType::Voip, Priority::High),
    };
    let mut path = String::with_capacity(PATH.len() + token.as_str().len());
    path.push_str(PATH);
    path.push_str(token.as_str());
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    Ok(ApnsRequest {
        path: PathAndQuery::try_from(path).expect("hexadecimal digits stand in a path"),
        topic: app.topic.clone(),
        push_type: headers::push_type(push_type),
        priority: headers::priority(&priority),
        id: HeaderValue::from_str(push.id.hyphenated().encode_lower(&mut id))
            .expect("hexadecimal digits stand in a header"),
        expiration: push
            .expiry
            .map(|expiry| HeaderValue::from(expiry.unix_seconds())),
        // Longer or with control characters it never left the decoder; from elsewhere it is left out.
        collapse_id: notification
            .collapse
            .as_deref()
            .and_then(|id| CollapseId::new(id).ok())
            .and_then(|id| HeaderValue::from_bytes(id.value.as_bytes()).ok()),
        payload,
    })
}

const PATH: &str = "/3/device/";

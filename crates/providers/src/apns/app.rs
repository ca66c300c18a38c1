//! One push as a request to Apple, before any connection is known.

use std::fmt;
use std::sync::Arc;

use a2::request::notification::{CollapseId, Priority, PushType};
use bytes::Bytes;
use http::header::InvalidHeaderValue;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
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
    /// Header fields of a push that shows something.
    urgent: Arc<HeaderMap>,
    /// Header fields of a push that only wakes the app.
    background: Arc<HeaderMap>,
}

impl ApnsApp {
    /// `topic`: the bundle id, for VoIP pushes with `.voip` behind it.
    pub fn new(topic: &str) -> Result<ApnsApp, ApnsError> {
        let error = || ApnsError::Topic(topic.to_owned());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if topic.is_empty() || topic.len() > 255 || !topic.bytes().all(plain) {
            return Err(error());
        }
        let voip = topic.ends_with(".voip");
        let urgent = if voip {
            PushType::Voip
        } else {
            PushType::Alert
        };
        let topic = HeaderValue::from_str(topic).map_err(|_| error())?;
        let template = |kind, urgency| Arc::new(headers::template(&topic, kind, &urgency));
        Ok(ApnsApp {
            urgent: template(urgent, Priority::High),
            background: template(PushType::Background, Priority::Normal),
            voip,
            topic,
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
    path: PathAndQuery,
    template: Arc<HeaderMap>,
    id: HeaderValue,
    expiration: Option<HeaderValue>,
    collapse_id: Option<HeaderValue>,
    payload: Bytes,
}

impl ApnsRequest {
    /// `:path`: holds the device token, never log it.
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    /// The header fields, without `authorization`, which is the client's.
    pub fn headers(&self) -> HeaderMap {
        self.fields(None)
    }

    /// The JSON payload: holds the text, never log it.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The head of the request to this service, with this `authorization`.
    pub(crate) fn head(
        &self,
        authority: &Authority,
        authorization: Option<&HeaderValue>,
    ) -> Request<()> {
        let mut uri = Parts::default();
        uri.scheme = Some(Scheme::HTTPS);
        uri.authority = Some(authority.clone());
        uri.path_and_query = Some(self.path.clone());
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.version_mut() = Version::HTTP_2;
        *head.uri_mut() = Uri::from_parts(uri).expect("scheme, authority and path make a URI");
        *head.headers_mut() = self.fields(authorization);
        head
    }

    fn fields(&self, authorization: Option<&HeaderValue>) -> HeaderMap {
        let own = headers::Own {
            id: &self.id,
            expiration: self.expiration.as_ref(),
            collapse_id: self.collapse_id.as_ref(),
            authorization,
        };
        headers::fill(&self.template, &own)
    }
}

impl fmt::Debug for ApnsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApnsRequest")
            .field("topic", &self.template.get("apns-topic"))
            .field("push_type", &self.template.get("apns-push-type"))
            .field("id", &self.id.to_str())
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
    let template = match kind {
        Kind::Alert | Kind::Voip => &app.urgent,
        Kind::Background => &app.background,
    };
    let mut path = String::with_capacity(PATH.len() + token.as_str().len());
    path.push_str(PATH);
    path.push_str(token.as_str());
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = push.id.hyphenated().encode_lower(&mut id);
    Ok(ApnsRequest {
        path: PathAndQuery::try_from(path).expect("hexadecimal digits stand in a path"),
        template: template.clone(),
        id: unindexed(id.as_bytes()).expect("hexadecimal digits stand in a header"),
        expiration: push
            .expiry
            .map(|expiry| HeaderValue::from(expiry.unix_seconds())),
        // Longer or with control characters it never left the decoder; from elsewhere it is left out.
        collapse_id: notification
            .collapse
            .as_deref()
            .and_then(|id| CollapseId::new(id).ok())
            .and_then(|id| unindexed(id.value.as_bytes()).ok()),
        payload,
    })
}

/// A value that hardly any other push has: kept out of the table of HPACK, where it would only push out those that repeat
/// (Apple asks for the same), and be compared with some fifty of its kind.
fn unindexed(value: &[u8]) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_bytes(value)?;
    value.set_sensitive(true);
    Ok(value)
}

const PATH: &str = "/3/device/";

//! One push as a request to Apple, before any connection is known.

use std::fmt;
use std::sync::Arc;

use a2::request::notification::CollapseId;
use bytes::Bytes;
use http::header::InvalidHeaderValue;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use pushrelay_push::present::{AppleLook, Priority, PushKind};
use pushrelay_push::{Device, Local, Target};

use super::ApnsError;
use super::headers;
use super::payload;
use crate::Push;

/// One app on Apple's devices, or those of a pattern: what its requests have in common.
#[derive(Clone, Debug)]
pub struct ApnsApp {
    topic: Topic,
    /// Header fields for each kind of push and each priority, in the order of their types.
    templates: Arc<[[HeaderMap; 3]; 3]>,
}

#[derive(Clone, Debug)]
enum Topic {
    /// This one; the templates have it.
    Fixed { voip: bool },
    /// The id by which the sender names the app.
    Named,
}

impl ApnsApp {
    /// `topic`: the bundle id, for VoIP pushes with `.voip` behind it.
    pub fn new(topic: &str) -> Result<ApnsApp, ApnsError> {
        let value = read_topic(topic).ok_or_else(|| ApnsError::Topic(topic.to_owned()))?;
        let voip = is_voip(topic);
        Ok(ApnsApp::with_templates(Topic::Fixed { voip }, &value))
    }

    /// Several apps, each with the id that the sender names as its topic.
    pub fn named_by_sender() -> ApnsApp {
        ApnsApp::with_templates(Topic::Named, &HeaderValue::from_static(""))
    }

    fn with_templates(topic: Topic, value: &HeaderValue) -> ApnsApp {
        let template = |kind| Priority::ALL.map(|urgency| headers::template(value, kind, urgency));
        ApnsApp {
            templates: Arc::new(PushKind::ALL.map(template)),
            topic,
        }
    }

    /// Whether the topic of this target takes calls only.
    pub fn is_voip(&self, target: &Target) -> bool {
        match self.topic {
            Topic::Fixed { voip } => voip,
            Topic::Named => target.app.as_deref().is_some_and(is_voip),
        }
    }
}

fn read_topic(topic: &str) -> Option<HeaderValue> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_topic = !topic.is_empty() && topic.len() <= 255 && topic.bytes().all(plain);
    HeaderValue::from_str(topic).ok().filter(|_| is_topic)
}

fn is_voip(topic: &str) -> bool {
    topic.ends_with(".voip")
}

/// A request to Apple: path, headers and payload. Its `Debug` shows neither token nor text.
#[derive(Clone)]
pub struct ApnsRequest {
    path: PathAndQuery,
    templates: Arc<[[HeaderMap; 3]; 3]>,
    kind: PushKind,
    priority: Priority,
    /// Where the templates have none.
    topic: Option<HeaderValue>,
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

    /// How many bytes of payload Apple takes in a push of this kind.
    pub fn most_bytes(&self) -> usize {
        payload::most_bytes(self.kind)
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
            topic: self.topic.as_ref(),
            id: &self.id,
            expiration: self.expiration.as_ref(),
            collapse_id: self.collapse_id.as_ref(),
            authorization,
        };
        headers::fill(self.template(), &own)
    }

    fn template(&self) -> &HeaderMap {
        &self.templates[self.kind as usize][self.priority as usize]
    }
}

impl fmt::Debug for ApnsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApnsRequest")
            .field("topic", &self.headers().get("apns-topic"))
            .field("push_type", &self.template().get("apns-push-type"))
            .field("id", &self.id.to_str())
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// Makes the request for one target: pure.
///
/// The payload is held to 4096 bytes (`voip`: 5120) by shortening the texts of `look`; [`Local::TooLarge`] where that is not enough.
/// [`Local::UnknownApp`] where the target is no Apple device, or its app's id no topic.
pub fn compose(push: &Push, app: &ApnsApp, look: &AppleLook<'_>) -> Result<ApnsRequest, Local> {
    let notification = &*push.notification;
    let target = notification
        .targets
        .get(push.target)
        .ok_or(Local::UnknownApp)?;
    let Device::Apple(token) = &target.device else {
        return Err(Local::UnknownApp);
    };
    let topic = match app.topic {
        Topic::Fixed { .. } => None,
        Topic::Named => {
            let named = target.app.as_deref().and_then(read_topic);
            Some(named.ok_or(Local::UnknownApp)?)
        }
    };
    let payload = payload::compose(notification, look)?;
    let mut path = String::with_capacity(PATH.len() + token.as_str().len());
    path.push_str(PATH);
    path.push_str(token.as_str());
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let id = push.id.hyphenated().encode_lower(&mut id);
    Ok(ApnsRequest {
        path: PathAndQuery::try_from(path).expect("hexadecimal digits stand in a path"),
        templates: app.templates.clone(),
        topic,
        kind: look.kind,
        priority: look.priority.unwrap_or(match look.kind {
            PushKind::Alert | PushKind::Voip => Priority::Immediate,
            PushKind::Background => Priority::Considerate,
        }),
        id: unindexed(id.as_bytes()).expect("hexadecimal digits stand in a header"),
        expiration: push
            .expiry
            .map(|expiry| HeaderValue::from(expiry.unix_seconds())),
        // Longer or with control characters it never comes here; from elsewhere it is left out.
        collapse_id: look
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

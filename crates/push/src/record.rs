//! One waiting target as bytes: what the spool keeps from the promise until its end.
//!
//! Not here: where the bytes lie, how often the target was tried and when it is due; that is the spool's.
//!
//! ```text
//! 0       1                    5          5+n         9+n
//! | version | n: u32 big-endian | payload  | CRC-32    |
//! ```
//!
//! The payload is JSON, so that an operator with a hex dump and patience can still read it in ten years. Members may be
//! added within a version: a reader ignores what it does not know and takes what is absent as empty. A member that
//! changes its meaning makes a new version; its reader keeps the one before, because an upgrade must deliver what the old
//! program promised. What was written under an earlier channel policy stays readable under a later one.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::channel::ChannelUri;
use crate::device::{Device, DeviceToken, Environment};
use crate::event::Event;
use crate::expiry::Expiry;
use crate::notification::{Alert, Notification, Sender, Target, WindowsPhone};

/// One target that waits, with everything that is needed to deliver it and to tell of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Where it comes from.
    pub origin: Origin,
    index: u32,
    notification: Notification,
}

/// Where a waiting target comes from, and until when it is worth anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The id at the provider ([`crate::push_id`]).
    pub push_id: Uuid,
    /// After this it is worthless.
    pub expiry: Option<Expiry>,
    /// The partner that sent it, as configured.
    pub partner: Box<str>,
    /// Call-ID of the MESSAGE.
    pub call_id: Box<str>,
    /// When the MESSAGE came.
    pub received: SystemTime,
}

impl Record {
    /// The record of one target of `notification`; `None` where it has no such target.
    pub fn new(notification: &Notification, index: usize, origin: Origin) -> Option<Record> {
        let target = notification.targets.get(index)?.clone();
        Some(Record {
            origin,
            index: u32::try_from(index).ok()?,
            notification: Notification {
                targets: vec![target],
                ..notification.clone()
            },
        })
    }

    /// Which target of the MESSAGE this was, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The notification, with exactly this one target.
    pub fn notification(&self) -> &Notification {
        &self.notification
    }

    /// The notification, with exactly this one target.
    pub fn into_notification(self) -> Notification {
        self.notification
    }
}

/// Writes a record in the newest version.
pub fn encode(record: &Record) -> Vec<u8> {
    let mut bytes = vec![VERSION, 0, 0, 0, 0];
    serde_json::to_writer(&mut bytes, &Payload::from(record))
        .expect("a payload has only string keys, and a Vec takes every write");
    let length = u32::try_from(bytes.len() - HEAD).expect("a body is at most some KiB");
    bytes[1..HEAD].copy_from_slice(&length.to_be_bytes());
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_be_bytes());
    bytes
}

/// Reads a record of this version or the one before (there is none before 1 yet).
pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
    let &version = bytes.first().ok_or(RecordError::Length)?;
    // The version before anything else: a later one may be built differently from here on.
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    let (checked, sum) = bytes.split_last_chunk().ok_or(RecordError::Length)?;
    let (&[_, length @ ..], payload) = checked
        .split_first_chunk::<HEAD>()
        .ok_or(RecordError::Length)?;
    if u32::try_from(payload.len()) != Ok(u32::from_be_bytes(length)) {
        return Err(RecordError::Length);
    }
    if crc32fast::hash(checked) != u32::from_be_bytes(*sum) {
        return Err(RecordError::Checksum);
    }
    let payload: Payload<'_> =
        serde_json::from_slice(payload).map_err(|_| RecordError::Payload("JSON"))?;
    payload.record()
}

/// Why bytes are no record. A poisoned record: reading it again will not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Cut off, or longer than it says.
    #[error("expected a record as long as it says, got another length")]
    Length,
    /// Written by a later program, or no record at all.
    #[error("expected a record of version {VERSION}, got version {0}")]
    Version(u8),
    /// A bit has turned.
    #[error("expected a record that matches its CRC-32, got another sum")]
    Checksum,
    /// The sum is right and the content is not: written by a program that disagrees with this one.
    #[error("expected {0} in the record's payload, got something else")]
    Payload(&'static str),
}

const VERSION: u8 = 1;
const HEAD: usize = 5;

/// Version 1. Names are those of the JSON body where it has them; moments are durations since 1970.
#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    push_id: Uuid,
    index: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiry: Option<u64>,
    partner: Cow<'a, str>,
    call_id: Cow<'a, str>,
    received: Duration,
    notification: Content<'a>,
}

#[derive(Serialize, Deserialize)]
struct Content<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<Duration>,
    event: Cow<'a, str>,
    target: TargetContent<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<Cow<'a, Sender>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alert: Option<Cow<'a, Alert>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    badge: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sound: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thread: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collapse: Option<Cow<'a, str>>,
    #[serde(default)]
    mpns: Cow<'a, WindowsPhone>,
    #[serde(default)]
    data: Cow<'a, Map<String, Value>>,
}

/// `token` or `uri`, whichever there is, tells the service.
#[derive(Serialize, Deserialize)]
struct TargetContent<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uri: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<Environment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    registered: Option<Duration>,
}

impl<'a> From<&'a Record> for Payload<'a> {
    fn from(record: &'a Record) -> Payload<'a> {
        let Record {
            origin,
            index,
            notification,
        } = record;
        Payload {
            push_id: origin.push_id,
            index: *index,
            expiry: origin.expiry.map(Expiry::unix_seconds),
            partner: borrowed(&origin.partner),
            call_id: borrowed(&origin.call_id),
            received: since_epoch(origin.received),
            notification: Content {
                id: notification.id,
                created: notification.created.map(since_epoch),
                ttl: notification.ttl,
                event: borrowed(notification.event.name()),
                target: TargetContent::from(&notification.targets[0]),
                from: notification.from.as_ref().map(Cow::Borrowed),
                alert: notification.alert.as_ref().map(Cow::Borrowed),
                badge: notification.badge,
                sound: notification.sound.as_deref().map(borrowed),
                thread: notification.thread.as_deref().map(borrowed),
                collapse: notification.collapse.as_deref().map(borrowed),
                mpns: Cow::Borrowed(&notification.windows_phone),
                data: Cow::Borrowed(&notification.data),
            },
        }
    }
}

impl<'a> From<&'a Target> for TargetContent<'a> {
    fn from(target: &'a Target) -> TargetContent<'a> {
        let (token, uri) = match &target.device {
            Device::Apple(token) => (Some(borrowed(token.as_str())), None),
            Device::WindowsPhone(uri) => (None, Some(borrowed(uri.as_str()))),
        };
        TargetContent {
            token,
            uri,
            app: target.app.as_deref().map(borrowed),
            env: target.environment,
            registered: target.registered.map(since_epoch),
        }
    }
}

impl Payload<'_> {
    fn record(self) -> Result<Record, RecordError> {
        let content = self.notification;
        Ok(Record {
            origin: Origin {
                push_id: self.push_id,
                expiry: self.expiry.map(Expiry::from_unix_seconds),
                partner: self.partner.into(),
                call_id: self.call_id.into(),
                received: moment(self.received)?,
            },
            index: self.index,
            notification: Notification {
                id: content.id,
                created: content.created.map(moment).transpose()?,
                ttl: content.ttl,
                event: Event::parse(&content.event).ok_or(RecordError::Payload("a known event"))?,
                targets: vec![content.target.target()?],
                from: content.from.map(Cow::into_owned),
                alert: content.alert.map(Cow::into_owned),
                badge: content.badge,
                sound: content.sound.map(Cow::into),
                thread: content.thread.map(Cow::into),
                collapse: content.collapse.map(Cow::into),
                windows_phone: content.mpns.into_owned(),
                data: content.data.into_owned(),
            },
        })
    }
}

impl TargetContent<'_> {
    fn target(self) -> Result<Target, RecordError> {
        let device = match (self.token, self.uri) {
            (Some(token), None) => DeviceToken::parse(&token)
                .map(Device::Apple)
                .map_err(|_| RecordError::Payload("a device token"))?,
            (None, Some(uri)) => ChannelUri::parse_recorded(&uri)
                .map(Device::WindowsPhone)
                .map_err(|_| RecordError::Payload("a channel URI"))?,
            _ => return Err(RecordError::Payload("either a token or a URI")),
        };
        Ok(Target {
            device,
            app: self.app.map(Cow::into),
            environment: self.env,
            registered: self.registered.map(moment).transpose()?,
        })
    }
}

fn borrowed(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// What lies before 1970 becomes 1970: nothing of value happened then.
fn since_epoch(moment: SystemTime) -> Duration {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn moment(since_epoch: Duration) -> Result<SystemTime, RecordError> {
    UNIX_EPOCH
        .checked_add(since_epoch)
        .ok_or(RecordError::Payload("a moment that clocks can show"))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;

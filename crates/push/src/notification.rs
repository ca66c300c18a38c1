//! What is to be told, and to whom.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::device::{Device, Environment};
use crate::event::Event;

/// One push as the sender meant it: what happened, what to show, and 1 to 16 devices.
///
/// Shape and limits: the body `application/vnd.pushrelay+json; v=1` (config/README.md).
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// The sender's own id, a UUID: with the sender's domain the idempotency key.
    pub id: Option<uuid::Uuid>,
    /// When the sender made it.
    pub created: Option<SystemTime>,
    /// How long after `created` (or arrival) it is worth delivering.
    pub ttl: Option<Duration>,
    /// What happened.
    pub event: Event,
    /// Who is to be told: 1 to 16.
    pub targets: Vec<Target>,
    /// Whose doing it was.
    pub from: Option<Sender>,
    /// What to show; `None` for a push without text.
    pub alert: Option<Alert>,
    /// The number on the app's icon or tile; 0 clears it.
    pub badge: Option<u32>,
    /// A sound's file name, or `default`.
    pub sound: Option<Box<str>>,
    /// Groups notifications on the device (`thread-id`).
    pub thread: Option<Box<str>>,
    /// Replaces an earlier notification of the same value (`apns-collapse-id`, at most 64 bytes).
    pub collapse: Option<Box<str>>,
    /// What only a Windows Phone understands.
    pub windows_phone: WindowsPhone,
    /// Custom members for the app, at the root of the APNs payload beside `aps`.
    pub data: serde_json::Map<String, serde_json::Value>,
}

/// One device of a notification, and the app on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where to.
    pub device: Device,
    /// The app's id as the sender names it; `None` means the configured default app.
    pub app: Option<Box<str>>,
    /// Apple only: which of Apple's worlds the token belongs to; `None` means the app's own.
    pub environment: Option<Environment>,
    /// When the device registered its token or channel last, as the sender knows it: later than the provider's word that the
    /// device is gone, it is there again.
    pub registered: Option<SystemTime>,
}

/// Whose doing a notification tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sender {
    /// A SIP URI.
    pub uri: Option<Box<str>>,
    /// A display name.
    pub name: Option<Box<str>>,
}

/// The text to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alert {
    /// First line.
    pub title: Option<Box<str>>,
    /// Second line; Apple only.
    pub subtitle: Option<Box<str>>,
    /// The text.
    pub body: Option<Box<str>>,
    /// A key into the app's own translations, instead of `body`.
    pub loc_key: Option<Box<str>>,
    /// What fills the placeholders of the translation.
    pub loc_args: Vec<String>,
}

/// What only a Windows Phone understands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WindowsPhone {
    /// Which kind of MPNS notification to send.
    pub kind: MpnsKind,
    /// `wp:Param` of a toast: a page of the app, beginning with `/`, at most 256 characters.
    pub param: Option<Box<str>>,
    /// The batching interval.
    pub delay: Delay,
    /// The tile to draw when `kind` is a tile.
    pub tile: Option<Tile>,
    /// The bytes to send when `kind` is raw, at most 1 KiB.
    pub raw: Option<Box<str>>,
}

/// The three kinds of MPNS notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MpnsKind {
    /// A banner with two texts.
    #[default]
    Toast,
    /// The app's icon on the start screen.
    Tile,
    /// Bytes for the running app.
    Raw,
}

/// When MPNS is to deliver: the tens of `X-NotificationClass`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Delay {
    /// At once (classes 1, 2, 3).
    #[default]
    #[serde(rename = "immediate")]
    Immediate,
    /// Within 450 seconds (classes 11, 12, 13).
    #[serde(rename = "450")]
    Within450Seconds,
    /// Within 900 seconds (classes 21, 22, 23).
    #[serde(rename = "900")]
    Within900Seconds,
}

/// The tile of Windows Phone 7.1; an absent member leaves what the phone shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tile {
    /// A secondary tile's navigation URI; `None` is the app's own tile.
    pub id: Option<Box<str>>,
    /// `wp:BackgroundImage`
    pub background: Option<Box<str>>,
    /// `wp:Count`, 1 to 99; 0 clears. `None` takes the notification's badge.
    pub count: Option<u32>,
    /// `wp:Title`
    pub title: Option<Box<str>>,
    /// `wp:BackBackgroundImage`
    pub back_background: Option<Box<str>>,
    /// `wp:BackTitle`
    pub back_title: Option<Box<str>>,
    /// `wp:BackContent`
    pub back_content: Option<Box<str>>,
}

impl Tile {
    /// A tile that leaves everything as it is.
    pub(crate) const NONE: Tile = Tile {
        id: None,
        background: None,
        count: None,
        title: None,
        back_background: None,
        back_title: None,
        back_content: None,
    };
}

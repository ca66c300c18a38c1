//! One push as a request to a channel, before any connection is known.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use http::uri::PathAndQuery;
use pushrelay_push::{
    ChannelUri, Delay, Device, Local, MpnsKind, Notification, Tile, WindowsPhone,
};

use super::xml::{self, Document};
use crate::Push;
use crate::shorten::shorten;

/// A request to a channel: where to, headers and body. Its `Debug` shows neither channel nor text.
#[derive(Clone)]
pub struct MpnsRequest {
    pub(crate) channel: ChannelUri,
    pub(crate) path: PathAndQuery,
    pub(crate) target: Option<&'static str>,
    pub(crate) class: &'static str,
    pub(crate) id: HeaderValue,
    pub(crate) body: Bytes,
}

impl MpnsRequest {
    /// The headers that MPNS knows, in the order in which they are sent.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        [
            ("content-type", Some(CONTENT_TYPE.as_bytes())),
            ("x-windowsphone-target", self.target.map(str::as_bytes)),
            ("x-notificationclass", Some(self.class.as_bytes())),
            ("x-messageid", Some(self.id.as_bytes())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }

    /// XML, or the raw bytes: holds the text, never log it.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl fmt::Debug for MpnsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MpnsRequest")
            .field("host", &self.channel.host())
            .field("target", &self.target)
            .field("class", &self.class)
            .field("id", &self.id)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Makes the request for one target: pure.
///
/// A toast without text but with a badge goes as a tile, because only a tile can show a number. Toast and tile are held to 3 KiB
/// by shortening their texts, raw bytes to 1 KiB; [`Local::TooLarge`] where that is not enough, [`Local::UnknownApp`] where the
/// target is no Windows Phone.
pub fn compose(push: &Push) -> Result<MpnsRequest, Local> {
    let notification = &*push.notification;
    let target = notification
        .targets
        .get(push.target)
        .ok_or(Local::UnknownApp)?;
    let Device::WindowsPhone(channel) = &target.device else {
        return Err(Local::UnknownApp);
    };
    let phone = &notification.windows_phone;
    let kind = kind(notification);
    let body = match kind {
        MpnsKind::Toast => Texts::of_toast(notification).fit(|texts| toast(phone, texts))?,
        MpnsKind::Tile => {
            let tile = phone.tile.clone().unwrap_or_default();
            Texts::of_tile(&tile).fit(|texts| document(&tile, notification.badge, texts))?
        }
        MpnsKind::Raw => raw(phone)?,
    };
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    Ok(MpnsRequest {
        path: PathAndQuery::try_from(channel.path_and_query())
            .expect("a channel URI has URI characters only"),
        channel: channel.clone(),
        target: match kind {
            MpnsKind::Toast => Some("toast"),
            // Microsoft's word; "tile" came with Windows Phone 8 and is understood by fewer.
            MpnsKind::Tile => Some("token"),
            MpnsKind::Raw => None,
        },
        class: class(kind, phone.delay),
        id: HeaderValue::from_str(push.id.hyphenated().encode_lower(&mut id))
            .expect("hexadecimal digits stand in a header"),
        body: Bytes::from(body),
    })
}

/// What the notification asks for, except that a number alone needs a tile.
fn kind(notification: &Notification) -> MpnsKind {
    match notification.windows_phone.kind {
        MpnsKind::Toast if notification.alert.is_none() && notification.badge.is_some() => {
            MpnsKind::Tile
        }
        kind => kind,
    }
}

/// `X-NotificationClass`: units for the kind, tens for the delay.
fn class(kind: MpnsKind, delay: Delay) -> &'static str {
    match (kind, delay) {
        (MpnsKind::Tile, Delay::Immediate) => "1",
        (MpnsKind::Toast, Delay::Immediate) => "2",
        (MpnsKind::Raw, Delay::Immediate) => "3",
        (MpnsKind::Tile, Delay::Within450Seconds) => "11",
        (MpnsKind::Toast, Delay::Within450Seconds) => "12",
        (MpnsKind::Raw, Delay::Within450Seconds) => "13",
        (MpnsKind::Tile, Delay::Within900Seconds) => "21",
        (MpnsKind::Toast, Delay::Within900Seconds) => "22",
        (MpnsKind::Raw, Delay::Within900Seconds) => "23",
    }
}

fn toast(phone: &WindowsPhone, texts: &Texts<'_>) -> String {
    let [text2, text1, _] = &texts.0;
    let mut toast = Document::toast();
    toast.element("Text1", text1.as_deref().unwrap_or_default());
    toast.element("Text2", text2.as_deref().unwrap_or_default());
    if let Some(param) = &phone.param {
        toast.element("Param", param);
    }
    toast.finish()
}

fn document(tile: &Tile, badge: Option<u32>, texts: &Texts<'_>) -> String {
    let [back_content, back_title, title] = &texts.0;
    let mut document = Document::tile(tile.id.as_deref());
    let mut text = |name, content: Option<&str>| {
        if let Some(content) = content {
            document.element_or_clear(name, content);
        }
    };
    text("BackgroundImage", tile.background.as_deref());
    let count = tile.count.or(badge).map(|count| match count {
        0 => String::new(),
        count => count.min(COUNT).to_string(),
    });
    text("Count", count.as_deref());
    text("Title", title.as_deref());
    text("BackBackgroundImage", tile.back_background.as_deref());
    text("BackTitle", back_title.as_deref());
    text("BackContent", back_content.as_deref());
    document.finish()
}

fn raw(phone: &WindowsPhone) -> Result<String, Local> {
    match &phone.raw {
        Some(raw) if raw.len() <= RAW_BYTES => Ok(raw.to_string()),
        _ => Err(Local::TooLarge),
    }
}

/// The texts that can be shortened, the first one first.
struct Texts<'a>([Option<Cow<'a, str>>; 3]);

impl<'a> Texts<'a> {
    fn of_toast(notification: &'a Notification) -> Texts<'a> {
        let alert = notification.alert.as_ref();
        let sender = || notification.from.as_ref()?.name.as_deref();
        let title = alert
            .and_then(|alert| alert.title.as_deref())
            .or_else(sender);
        let body = alert.and_then(|alert| alert.body.as_deref());
        Texts([body.map(Cow::Borrowed), title.map(Cow::Borrowed), None])
    }

    fn of_tile(tile: &'a Tile) -> Texts<'a> {
        Texts(
            [&tile.back_content, &tile.back_title, &tile.title]
                .map(|text| text.as_deref().map(Cow::Borrowed)),
        )
    }

    /// The document of these texts, held to [`BODY_BYTES`].
    fn fit(mut self, write: impl Fn(&Texts<'_>) -> String) -> Result<String, Local> {
        let mut document = write(&self);
        for at in 0..self.0.len() {
            let Some(excess) = document
                .len()
                .checked_sub(BODY_BYTES)
                .filter(|excess| *excess > 0)
            else {
                break;
            };
            if let Some(long) = self.0[at].take() {
                self.0[at] = shorten(&long, excess, xml::cost).map(Cow::Owned);
                document = write(&self);
            }
        }
        if document.len() > BODY_BYTES {
            return Err(Local::TooLarge);
        }
        Ok(document)
    }
}

/// `Content-Type` of all three kinds.
pub(crate) const CONTENT_TYPE: &str = "text/xml";

/// A toast or tile at most.
const BODY_BYTES: usize = 3 * 1024;

/// A raw notification at most.
const RAW_BYTES: usize = 1024;

/// The largest number that a tile shows.
const COUNT: u32 = 99;

//! One push as a request to a channel, before any connection is known.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use http::uri::PathAndQuery;
use pushrelay_push::present::{Shown, TileLook, ToastLook};
use pushrelay_push::{ChannelUri, Delay, Device, Local, MpnsKind};

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

    /// Where it goes: the channel, never log it.
    pub fn url(&self) -> &str {
        self.channel.as_str()
    }

    /// How many bytes of body MPNS takes in a request of this kind.
    pub fn most_bytes(&self) -> usize {
        match self.target {
            Some(_) => BODY_BYTES,
            None => RAW_BYTES,
        }
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

/// Makes the request for one part of what a target is shown: pure.
///
/// Toast and tile are held to 3 KiB by shortening their texts, raw bytes to 1 KiB; [`Local::TooLarge`] where that is not enough,
/// [`Local::UnknownApp`] where the target is no Windows Phone.
pub fn compose(push: &Push, shown: &Shown<'_>, delay: Delay) -> Result<MpnsRequest, Local> {
    let target = push
        .notification
        .targets
        .get(push.target)
        .ok_or(Local::UnknownApp)?;
    let Device::WindowsPhone(channel) = &target.device else {
        return Err(Local::UnknownApp);
    };
    let (kind, body) = match shown {
        Shown::Toast(look) => (
            MpnsKind::Toast,
            Texts::of_toast(look).fit(|texts| toast(look, texts))?,
        ),
        Shown::Tile(look) => (
            MpnsKind::Tile,
            Texts::of_tile(look).fit(|texts| tile(look, texts))?,
        ),
        Shown::Raw(raw) => (MpnsKind::Raw, self::raw(raw)?),
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
        class: class(kind, delay),
        id: HeaderValue::from_str(push.id.hyphenated().encode_lower(&mut id))
            .expect("hexadecimal digits stand in a header"),
        body: Bytes::from(body),
    })
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

fn toast(look: &ToastLook<'_>, texts: &Texts<'_>) -> String {
    let mut toast = Document::toast();
    for (name, text) in ["Text2", "Text1"].into_iter().zip(&texts.0).rev() {
        toast.element(name, text);
    }
    if let Some(param) = &look.param {
        toast.element("Param", param);
    }
    toast.finish()
}

fn tile(look: &TileLook<'_>, texts: &Texts<'_>) -> String {
    let mut document = Document::tile(look.id.as_deref(), look.style.template());
    for ((element, _), text) in look.elements.iter().zip(texts.0.iter().rev()) {
        document.element_or_clear(element.xml(), text);
    }
    document.finish()
}

fn raw(raw: &str) -> Result<String, Local> {
    if raw.is_empty() || raw.len() > RAW_BYTES {
        return Err(Local::TooLarge);
    }
    Ok(raw.to_owned())
}

/// The texts of a document, the one that is shortened first in front.
struct Texts<'a>(Vec<Cow<'a, str>>);

impl<'a> Texts<'a> {
    fn of_toast(look: &'a ToastLook<'_>) -> Texts<'a> {
        Texts(
            [&look.text2, &look.text1]
                .map(|text| Cow::Borrowed(&**text))
                .to_vec(),
        )
    }

    /// Devices want the short ones first, so the long ones are at the end.
    fn of_tile(look: &'a TileLook<'_>) -> Texts<'a> {
        let texts = look.elements.iter().rev();
        Texts(texts.map(|(_, text)| Cow::Borrowed(&**text)).collect())
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
            let short = shorten(&self.0[at], excess, xml::cost).unwrap_or_default();
            self.0[at] = Cow::Owned(short);
            document = write(&self);
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

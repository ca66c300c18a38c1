//! A body, or one part of one, while the decoders look at it: what each of them needs is made once, when it is first asked for.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::fmt;

use serde_json::Value;

use super::damage::{self, Damage};
use super::media_type::MediaType;
use super::place::not_understood;
use super::xml::{self, Element};
use super::{BodyError, Headers, encoding, json};

/// One document and what is known of it.
pub(super) struct Document<'a> {
    media_type: Option<MediaType<'a>>,
    bytes: &'a [u8],
    headers: &'a dyn Headers,
    damage: &'a Cell<Damage>,
    text: OnceCell<Result<Cow<'a, str>, BodyError>>,
    json: OnceCell<Result<Value, BodyError>>,
    xml: OnceCell<Result<Element, BodyError>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(
        media_type: Option<MediaType<'a>>,
        bytes: &'a [u8],
        headers: &'a dyn Headers,
        damage: &'a Cell<Damage>,
    ) -> Document<'a> {
        Document {
            media_type,
            bytes,
            headers,
            damage,
            text: OnceCell::new(),
            json: OnceCell::new(),
            xml: OnceCell::new(),
        }
    }

    /// `None` where there is none, or none that can be read.
    pub(super) fn media_type(&self) -> Option<&MediaType<'a>> {
        self.media_type.as_ref()
    }

    pub(super) fn is(&self, essence: &str) -> bool {
        self.media_type
            .as_ref()
            .is_some_and(|found| found.is(essence))
    }

    /// Our own formats say which version they are of, or leave it to the member `v`.
    pub(super) fn version(&self) -> Result<(), BodyError> {
        let media_type = self.media_type.as_ref();
        match media_type.and_then(|found| found.parameter("v")).as_deref() {
            None | Some("1") => Ok(()),
            Some(_) => Err(not_understood("v=1 in Content-Type", "another version")),
        }
    }

    /// The value of a SIP header.
    pub(super) fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        self.headers.header(name).map(String::from_utf8_lossy)
    }

    /// Notes what a URL filter has done.
    pub(super) fn damaged(&self, damage: Damage) {
        self.damage.set(self.damage.get() | damage);
    }

    /// The text, links repaired.
    pub(super) fn text(&self) -> Result<&str, BodyError> {
        let text = self.text.get_or_init(|| {
            let charset = self
                .media_type
                .as_ref()
                .and_then(|found| found.parameter("charset"));
            let text = encoding::text(charset.as_deref(), self.bytes)?;
            Ok(damage::without_underscores(text, || {
                self.damaged(Damage::LINKS)
            }))
        });
        borrow(text).map(Cow::as_ref)
    }

    /// The text as JSON, without what a filter may have put in front.
    pub(super) fn json(&self) -> Result<&Value, BodyError> {
        borrow(self.json.get_or_init(|| self.tree(&['{', '['], json::tree)))
    }

    /// The text as XML, without what a filter may have put in front.
    pub(super) fn xml(&self) -> Result<&Element, BodyError> {
        borrow(self.xml.get_or_init(|| self.tree(&['<'], xml::read)))
    }

    fn tree<T>(
        &self,
        opens: &[char],
        read: impl Fn(&str) -> Result<T, BodyError>,
    ) -> Result<T, BodyError> {
        let text = self.text()?;
        let error = match read(text) {
            Ok(tree) => return Ok(tree),
            Err(error) => error,
        };
        for open in opens {
            if !damage::has_text_in_front(text, *open) {
                continue;
            }
            if let Some(tree) = damage::beginnings(text, *open).find_map(|rest| read(rest).ok()) {
                self.damaged(Damage::TEXT_IN_FRONT);
                return Ok(tree);
            }
        }
        Err(error)
    }
}

/// Sizes only.
impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

fn borrow<T>(result: &Result<T, BodyError>) -> Result<&T, BodyError> {
    result.as_ref().map_err(Clone::clone)
}

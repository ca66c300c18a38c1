//! How a body becomes a notification: an ordered list of decoders.
//!
//! Not here: what to do with a body that nobody reads. The sender is told so with [`BodyError`].

mod container;
mod damage;
mod document;
mod encoding;
mod explain;
mod json;
mod mapping;
mod media_type;
mod member;
mod model;
mod place;
mod places;
mod rule;
mod shape;
mod twin;
mod xml;

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

pub use damage::Damage;
pub use explain::{Explanation, FieldExplanation, PartExplanation, Wrapped};
pub use mapping::{Field, FieldName, Mapping, MappingError, Match, Pattern};
pub use places::values;
pub use rule::{JsonPointer, Rule, Source, Transform, XmlPath};

use crate::channel::ChannelPolicy;
use crate::notification::Notification;
use container::Container;
use document::Document;
use media_type::MediaType;

/// A body as it came, with what its request says of it.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// The value of `Content-Type`, as it came.
    pub content_type: Option<&'a str>,
    /// The octets.
    pub bytes: &'a [u8],
}

/// The other headers of the request: a mapping may look at them.
pub trait Headers {
    /// The value of the first header of this name, in any case.
    fn header(&self, name: &str) -> Option<&[u8]>;
}

/// A body that came alone.
#[derive(Clone, Copy, Debug)]
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn header(&self, _: &str) -> Option<&[u8]> {
        None
    }
}

/// The decoders in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct Decoders {
    list: Vec<Decoder>,
    channels: ChannelPolicy,
    accept: Box<str>,
}

/// One way to read a body.
#[derive(Clone, Debug)]
pub enum Decoder {
    /// `application/vnd.pushrelay+json; v=1`
    Json,
    /// `application/vnd.pushrelay+xml; v=1`
    Xml,
    /// As the operator has written down.
    Mapping(Arc<Mapping>),
}

/// What became of a body.
#[derive(Debug)]
pub struct Reading {
    /// The notification, or why it is none.
    pub result: Result<Notification, BodyError>,
    /// What a URL filter at the sender has done to it; where there is a notification, it was undone.
    pub damage: Damage,
}

impl Decoders {
    /// The decoders that need no configuration; channel URIs are held to `channels`.
    pub fn new(channels: ChannelPolicy) -> Decoders {
        Decoders::ordered(channels, vec![Decoder::Json, Decoder::Xml])
    }

    /// These decoders in this order.
    pub fn ordered(channels: ChannelPolicy, list: Vec<Decoder>) -> Decoders {
        let mut types: Vec<&str> = Vec::new();
        for decoder in &list {
            for name in decoder.content_types() {
                if !types.contains(&name) {
                    types.push(name);
                }
            }
        }
        Decoders {
            accept: types.join(", ").into(),
            list,
            channels,
        }
    }

    /// The media types for `Accept`, comma-separated.
    pub fn accept(&self) -> &str {
        &self.accept
    }

    /// Reads a body that came alone.
    pub fn decode(&self, body: Body<'_>) -> Result<Notification, BodyError> {
        self.read(body, &NoHeaders).result
    }

    /// Asks each decoder in turn; the first that knows the body decides. What is wrapped is unwrapped where nobody knows the
    /// wrapping.
    pub fn read(&self, body: Body<'_>, headers: &dyn Headers) -> Reading {
        let damage = Cell::new(Damage::default());
        let result = if body.bytes.len() > BODY_BYTES {
            Err(BodyError::TooLarge {
                limit: BODY_BYTES,
                got: body.bytes.len(),
            })
        } else {
            self.part(body, headers, &damage, 0)
                .unwrap_or_else(|| Err(self.not_understood(body)))
        };
        Reading {
            result,
            damage: damage.get(),
        }
    }

    /// `None` where nobody knows it.
    fn part(
        &self,
        body: Body<'_>,
        headers: &dyn Headers,
        damage: &Cell<Damage>,
        level: usize,
    ) -> Option<Result<Notification, BodyError>> {
        let media_type = body.content_type.and_then(MediaType::parse);
        let document = Document::new(media_type, body.bytes, headers, damage);
        for decoder in &self.list {
            if decoder.mismatch(&document).is_none() {
                return Some(decoder.decode(&document, &self.channels));
            }
        }
        let media_type = media_type.filter(|_| level < container::LEVELS)?;
        let container = Container::of(&media_type)?;
        let parts = match container.open(&media_type, body.bytes) {
            Ok(parts) => parts,
            Err(error) => return Some(Err(error)),
        };
        container.order(parts.len()).into_iter().find_map(|index| {
            let part = &parts[index];
            let body = Body {
                // RFC 2046 5.2: a part without a type is plain text.
                content_type: Some(part.content_type.as_deref().unwrap_or("text/plain")),
                bytes: &part.bytes,
            };
            let result = self.part(body, headers, damage, level + 1)?;
            Some(result.map_err(|error| error.within(format_args!("part {}", index + 1))))
        })
    }

    fn not_understood(&self, body: Body<'_>) -> BodyError {
        let media_type = body.content_type.map(MediaType::parse);
        let got = match media_type {
            None => "no Content-Type",
            Some(None) => "a malformed Content-Type",
            Some(Some(found)) if found.is_container() => "a container without such a part",
            Some(Some(_)) => "another Content-Type, or a body that no mapping matches",
        };
        BodyError::NotUnderstood(format!("expected {}, got {got}", self.accept)).cut()
    }
}

impl Decoder {
    /// What errors and the manual call it.
    pub fn name(&self) -> &str {
        match self {
            Decoder::Json => json::NAME,
            Decoder::Xml => twin::NAME,
            Decoder::Mapping(mapping) => mapping.name(),
        }
    }

    fn content_types(&self) -> Vec<&str> {
        match self {
            Decoder::Json => vec![json::MEDIA_TYPE],
            Decoder::Xml => vec![twin::MEDIA_TYPE],
            Decoder::Mapping(mapping) => {
                mapping.content_types().iter().map(|name| &**name).collect()
            }
        }
    }

    /// Why it does not know this document; `None` where it does.
    fn mismatch(&self, document: &Document<'_>) -> Option<&'static str> {
        const OTHER: &str = "the content type is another";
        match self {
            Decoder::Json => (!document.is(json::MEDIA_TYPE)).then_some(OTHER),
            Decoder::Xml => (!document.is(twin::MEDIA_TYPE)).then_some(OTHER),
            Decoder::Mapping(mapping) => mapping.mismatch(document),
        }
    }

    fn decode(
        &self,
        document: &Document<'_>,
        channels: &ChannelPolicy,
    ) -> Result<Notification, BodyError> {
        match self {
            Decoder::Json => json::decode(document, channels),
            Decoder::Xml => twin::decode(document, channels),
            Decoder::Mapping(mapping) => mapping.decode(document, channels),
        }
        .map_err(|error| error.within(self.name()))
    }
}

/// The largest body that is read (protocol notes 1.5). The SIP reader allows more, so that the answer is ours to word.
const BODY_BYTES: usize = 16 * 1024;

/// Why a body is no notification. Its `Display` is a SIP reason: at most 200 characters, names decoder, place and
/// expectation, echoes no input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// No decoder knows this content type, or this major version of it: 415.
    #[error("{0}")]
    NotUnderstood(String),
    /// A decoder knows it, and it is wrong: 400.
    #[error("{0}")]
    Malformed(String),
    /// More than any decoder reads: 413.
    #[error("expected a body of at most {limit} bytes, got {got}")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
        /// What came, in bytes.
        got: usize,
    },
}

/// The longest reason.
const REASON_CHARACTERS: usize = 200;

impl BodyError {
    /// The SIP status that says so: 415 (with `Accept`), 400 or 413.
    pub fn status(&self) -> u16 {
        match self {
            BodyError::NotUnderstood(_) => 415,
            BodyError::Malformed(_) => 400,
            BodyError::TooLarge { .. } => 413,
        }
    }

    /// The same, with where it happened in front.
    fn within(self, place: impl fmt::Display) -> BodyError {
        match self {
            BodyError::NotUnderstood(what) => BodyError::NotUnderstood(format!("{place}: {what}")),
            BodyError::Malformed(what) => BodyError::Malformed(format!("{place}: {what}")),
            BodyError::TooLarge { .. } => self,
        }
        .cut()
    }

    fn cut(mut self) -> BodyError {
        if let BodyError::NotUnderstood(what) | BodyError::Malformed(what) = &mut self
            && let Some((at, _)) = what.char_indices().nth(REASON_CHARACTERS)
        {
            what.truncate(at);
        }
        self
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! How a body becomes a notification: an ordered list of decoders.
//!
//! Not here: what to do with a body that nobody reads. The sender is told so with [`BodyError`].

mod json;
mod media_type;
mod member;
mod place;

use crate::channel::ChannelPolicy;
use crate::notification::Notification;
use json::JsonDecoder;
use media_type::MediaType;

/// A body as it came, with what its request says of it.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// The value of `Content-Type`, as it came.
    pub content_type: Option<&'a str>,
    /// The octets.
    pub bytes: &'a [u8],
}

/// The decoders in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct Decoders {
    list: Vec<Decoder>,
}

/// One way to read a body.
#[derive(Clone, Debug)]
enum Decoder {
    Json(JsonDecoder),
}

impl Decoders {
    /// The decoders that need no configuration; channel URIs are held to `channels`.
    pub fn new(channels: ChannelPolicy) -> Decoders {
        Decoders {
            list: vec![Decoder::Json(JsonDecoder::new(channels))],
        }
    }

    /// The media types for `Accept`, comma-separated.
    pub fn accept(&self) -> &'static str {
        json::MEDIA_TYPE
    }

    /// Asks each decoder in turn; the first that knows the content type decides.
    pub fn decode(&self, body: Body<'_>) -> Result<Notification, BodyError> {
        if body.bytes.len() > BODY_BYTES {
            return Err(BodyError::TooLarge {
                limit: BODY_BYTES,
                got: body.bytes.len(),
            });
        }
        let media_type = body.content_type.and_then(MediaType::parse);
        let Some(media_type) = media_type else {
            let got = match body.content_type {
                None => "no Content-Type",
                Some(_) => "a malformed Content-Type",
            };
            return Err(self.not_understood(got));
        };
        for decoder in &self.list {
            if decoder.reads(&media_type) {
                return decoder.decode(&media_type, body.bytes);
            }
        }
        Err(self.not_understood("another Content-Type"))
    }

    fn not_understood(&self, got: &str) -> BodyError {
        BodyError::NotUnderstood(format!("expected {}, got {got}", self.accept()))
    }
}

impl Decoder {
    fn reads(&self, media_type: &MediaType<'_>) -> bool {
        match self {
            Decoder::Json(_) => media_type.is(json::MEDIA_TYPE),
        }
    }

    fn decode(&self, media_type: &MediaType<'_>, bytes: &[u8]) -> Result<Notification, BodyError> {
        match self {
            Decoder::Json(json) => json.decode(media_type, bytes),
        }
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

impl BodyError {
    /// The SIP status that says so: 415 (with `Accept`), 400 or 413.
    pub fn status(&self) -> u16 {
        match self {
            BodyError::NotUnderstood(_) => 415,
            BodyError::Malformed(_) => 400,
            BodyError::TooLarge { .. } => 413,
        }
    }
}

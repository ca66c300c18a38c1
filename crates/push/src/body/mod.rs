//! How a body becomes a notification: an ordered list of decoders.

mod json;

use crate::channel::ChannelPolicy;
use crate::notification::Notification;

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
    _channels: ChannelPolicy,
}

impl Decoders {
    /// The decoders that need no configuration; channel URIs are held to `channels`.
    pub fn new(channels: ChannelPolicy) -> Decoders {
        Decoders {
            _channels: channels,
        }
    }

    /// The media types for `Accept`, comma-separated.
    pub fn accept(&self) -> &'static str {
        json::MEDIA_TYPE
    }

    /// Asks each decoder in turn; the first that knows the content type decides.
    pub fn decode(&self, _body: Body<'_>) -> Result<Notification, BodyError> {
        Err(BodyError::NotUnderstood(String::new()))
    }
}

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
}

//! `application/vnd.pushrelay+json; v=1`: this project's own body, and the shape that every other one is read into.
//!
//! | member | type | rule |
//! | --- | --- | --- |
//! | `v` | integer | 1; required |
//! | `id` | string | a UUID: with the sender's domain the idempotency key |
//! | `created` | string | RFC 3339, from 1970 on |
//! | `ttl` | integer | seconds after `created` (or arrival), 0 to 4294967295; 0 means try once |
//! | `event` | string | see [`Event`]; required |
//! | `targets` | array | 1 to 16 objects; required |
//! | `targets[].service` | string | `apns` or `mpns`; required |
//! | `targets[].token` | string | `apns`: 8 to 200 hexadecimal digits, an even number of them; required |
//! | `targets[].uri` | string | `mpns`: the channel URI, held to the configured [`ChannelPolicy`]; required |
//! | `targets[].app` | string | 1 to 256 bytes; the configured default app without it |
//! | `targets[].env` | string | `apns`: `production` or `sandbox`; the app's own without it |
//! | `targets[].registered` | string | RFC 3339: when the device registered last; later than its provider's word that it is gone, it is there again |
//! | `from` | object | `uri`, `name`: strings |
//! | `alert` | object | `title`, `subtitle`, `body`, `loc_key`: strings; `loc_args`: at most 32 strings |
//! | `badge` | integer | 0 to 2147483647; 0 clears |
//! | `sound`, `thread` | string | |
//! | `collapse` | string | 1 to 64 bytes |
//! | `mpns` | object | `kind`: `toast`, `tile` or `raw`; `param`: begins with `/`, at most 256 characters; `delay`; `tile`; `raw`: 1 to 1024 bytes |
//! | `mpns.delay` | string | `immediate`, `450` or `900`: deliver at once or within so many seconds |
//! | `mpns.tile` | object | `id`, `background`, `title`, `back_background`, `back_title`, `back_content`: strings; `count`: 0 to 99 |
//! | `data` | object | custom members for the app, at most 32 levels deep |
//!
//! Every member but the required ones may be absent or null. Unknown members are ignored, at any depth. A known
//! member that appears twice in one object is refused, because two readers would disagree on which one counts; inside
//! `data` the last one counts. The parameter `v` of the media type may be absent, then the member decides alone.
//! At most 16 KiB, at most 128 levels deep. Control characters are refused in what becomes a header, a URI or a key.

use serde_json::Value;
use serde_json::error::Category;

use super::BodyError;
use super::damage::{self, Damage};
use super::document::Document;
use super::model::{self, Nulls};
use super::place::malformed;
use crate::channel::ChannelPolicy;
use crate::notification::Notification;

pub(super) const MEDIA_TYPE: &str = "application/vnd.pushrelay+json";
/// What its errors begin with.
pub(super) const NAME: &str = "pushrelay+json";

/// Reads `application/vnd.pushrelay+json; v=1`.
pub(super) fn decode(
    document: &Document<'_>,
    channels: &ChannelPolicy,
) -> Result<Notification, BodyError> {
    document.version()?;
    let text = document.text()?;
    let error = match read(text, channels) {
        Ok(notification) => return Ok(notification),
        Err(error) => error,
    };
    if !damage::has_text_in_front(text, '{') {
        return Err(error);
    }
    document.damaged(Damage::TEXT_IN_FRONT);
    // The repair is certain where what follows the text is a whole notification.
    damage::beginnings(text, '{')
        .find_map(|rest| read(rest, channels).ok())
        .ok_or(error)
}

fn read(text: &str, channels: &ChannelPolicy) -> Result<Notification, BodyError> {
    let root = serde_json::from_str(text).map_err(|error| not_json(text, &error))?;
    model::notification(root, channels, Nulls::Refused)
}

/// The document as a tree, for whoever wants to show it or to point into it.
pub(super) fn tree(text: &str) -> Result<Value, BodyError> {
    serde_json::from_str(text).map_err(|error| not_json(text, &error))
}

/// What the JSON reader could not read. Its own words are used only where they are known to hold no input.
fn not_json(text: &str, error: &serde_json::Error) -> BodyError {
    let (line, column) = (error.line(), error.column());
    // The Lync URL filter in its "warn" setting puts a text in front of the body.
    if damage::has_text_in_front(text, '{') {
        return malformed("expected { at the beginning, got a text in front of it");
    }
    if is_too_deep(text) {
        return malformed(format_args!("expected at most {LEVELS} levels, got more"));
    }
    let what = match error.classify() {
        Category::Eof => "expected more, got the end of the body",
        Category::Data => "expected each member once, got one twice",
        Category::Syntax | Category::Io => "expected JSON, got something else",
    };
    malformed(format_args!("line {line} column {column}: {what}"))
}

/// The deepest nesting that the JSON reader follows.
const LEVELS: usize = 128;

/// Whether brackets outside strings are nested deeper than that.
fn is_too_deep(text: &str) -> bool {
    let (mut level, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => level += 1,
            b'}' | b']' if !quoted => level = level.saturating_sub(1),
            _ => {}
        }
        if level >= LEVELS {
            return true;
        }
    }
    false
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;

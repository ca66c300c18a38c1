//! The value of `Content-Type` (RFC 3261 20.15, grammar of 25.1).

use std::borrow::Cow;

use super::container::Container;

/// `type/subtype; name=value; …`, taken apart where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct MediaType<'a> {
    essence: &'a str,
    parameters: &'a str,
}

impl<'a> MediaType<'a> {
    /// `None` where the part before the parameters is not `token/token`.
    pub(super) fn parse(text: &'a str) -> Option<MediaType<'a>> {
        let (essence, parameters) = split_at_first(text, b';').unwrap_or((text, ""));
        let essence = essence.trim_ascii();
        let (kind, subtype) = split_at_first(essence, b'/')?;
        (is_token(kind) && is_token(subtype)).then_some(MediaType {
            essence,
            parameters,
        })
    }

    /// Compares type and subtype, without case.
    pub(super) fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence)
    }

    /// Whether it wraps other bodies.
    pub(super) fn is_container(&self) -> bool {
        Container::of(self).is_some()
    }

    /// The value of a parameter, without its quotes; names compare without case, the first counts.
    pub(super) fn parameter(&self, name: &str) -> Option<Cow<'a, str>> {
        let mut rest = self.parameters;
        while !rest.is_empty() {
            let (one, after) = split_parameter(rest);
            rest = after;
            let (found, value) = split_at_first(one, b'=').unwrap_or((one, ""));
            if found.trim_ascii().eq_ignore_ascii_case(name) {
                return Some(unquote(value.trim_ascii()));
            }
        }
        None
    }
}

/// What stands before and behind the first of this byte. Each byte is looked at once: `str::split_once` is made for long texts.
fn split_at_first(text: &str, byte: u8) -> Option<(&str, &str)> {
    debug_assert!(byte.is_ascii());
    let at = text.bytes().position(|found| found == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| TOKEN[usize::from(byte)])
}

/// RFC 3261 25.1: `token`.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 0x7f {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
            );
        byte += 1;
    }
    table
};

/// The text up to the next semicolon outside quotes, and what follows it.
fn split_parameter(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

fn unquote(value: &str) -> Cow<'_, str> {
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    match inner {
        None => Cow::Borrowed(value),
        Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
        Some(inner) => {
            let mut escaped = false;
            let kept = inner.chars().filter(|&letter| {
                escaped = letter == '\\' && !escaped;
                !escaped
            });
            Cow::Owned(kept.collect())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn case_spaces_and_quotes_make_no_difference() {
        for text in [
            "application/x+json;v=1",
            "APPLICATION/X+JSON ; charset=utf-8 ; V=\"1\"",
            " application/x+json ;a=\"x;v=2\"; v = \"\\1\" ",
        ] {
            let media_type = MediaType::parse(text).unwrap();
            assert!(media_type.is("application/x+json"), "{text}");
            assert_eq!(media_type.parameter("v").as_deref(), Some("1"), "{text}");
            assert_eq!(media_type.parameter("w"), None);
        }
    }

    #[test]
    fn what_is_no_media_type_is_none() {
        for text in [
            "",
            "application",
            "application/",
            "/json",
            "a b/c",
            "text/plain, text/html",
            "a/b/c",
        ] {
            assert!(MediaType::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn broken_parameters_are_no_panic() {
        for text in [
            "a/b;",
            "a/b;;;",
            "a/b;v",
            "a/b;v=\"",
            "a/b;v=\"\\",
            "a/b;\"v=1",
            "a/b;=;v=\u{e9}",
        ] {
            let _ = MediaType::parse(text).unwrap().parameter("v"); // any answer will do
        }
    }
}

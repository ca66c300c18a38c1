//! Bodies that wrap others: multipart/alternative and multipart/mixed (RFC 2046 5.1), message/cpim (RFC 3862).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::BodyError;
use super::media_type::MediaType;
use super::place::malformed;

/// How deep containers are opened.
pub(super) const LEVELS: usize = 4;
/// The most parts of one container.
const PARTS: usize = 16;
/// The most header lines of one part.
const LINES: usize = 32;

/// What wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    /// The same thing several times, the last the richest.
    Alternative,
    /// Several things.
    Mixed,
    /// One thing in an envelope.
    Cpim,
}

/// What was wrapped.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) content_type: Option<String>,
    pub(super) bytes: Cow<'a, [u8]>,
}

impl Container {
    pub(super) fn of(media_type: &MediaType<'_>) -> Option<Container> {
        [
            ("multipart/alternative", Container::Alternative),
            ("multipart/mixed", Container::Mixed),
            ("message/cpim", Container::Cpim),
        ]
        .into_iter()
        .find(|(essence, _)| media_type.is(essence))
        .map(|(_, container)| container)
    }

    /// The parts in their order.
    pub(super) fn open<'a>(
        self,
        media_type: &MediaType<'_>,
        bytes: &'a [u8],
    ) -> Result<Vec<Part<'a>>, BodyError> {
        match self {
            Container::Alternative | Container::Mixed => multipart(media_type, bytes),
            Container::Cpim => {
                let (_, wrapped) = head(bytes)
                    .ok_or_else(|| malformed("message/cpim: expected an empty line, got none"))?;
                Ok(vec![part(wrapped).ok_or_else(|| {
                    malformed("message/cpim: expected MIME headers and an empty line, got none")
                })??])
            }
        }
    }

    /// The order in which the parts are looked at.
    pub(super) fn order(self, parts: usize) -> Vec<usize> {
        match self {
            Container::Alternative => (0..parts).rev().collect(),
            Container::Mixed | Container::Cpim => (0..parts).collect(),
        }
    }
}

fn multipart<'a>(media_type: &MediaType<'_>, bytes: &'a [u8]) -> Result<Vec<Part<'a>>, BodyError> {
    let boundary = media_type.parameter("boundary").unwrap_or_default();
    // RFC 2046 5.1.1: 1 to 70 characters.
    if boundary.is_empty() || boundary.len() > 70 {
        return Err(malformed(
            "multipart: expected a boundary of 1 to 70 characters in Content-Type, got none",
        ));
    }
    let mut parts = Vec::new();
    let mut begin = None;
    let mut closed = false;
    for (start, line) in lines(bytes) {
        let Some(rest) = line
            .strip_prefix(b"--")
            .and_then(|line| line.strip_prefix(boundary.as_bytes()))
        else {
            continue;
        };
        let rest = rest.trim_ascii();
        if !rest.is_empty() && rest != b"--" {
            continue;
        }
        if let Some(begin) = begin {
            if parts.len() >= PARTS {
                return Err(malformed(format_args!(
                    "multipart: expected at most {PARTS} parts, got more"
                )));
            }
            // The line end before a boundary belongs to the boundary.
            let content = without_line_end(&bytes[begin..start]);
            let part = part(content).ok_or_else(|| {
                malformed(format_args!(
                    "multipart: part {}: expected headers and an empty line, got none",
                    parts.len() + 1
                ))
            })??;
            parts.push(part);
        }
        closed = rest == b"--";
        if closed {
            break;
        }
        begin = Some(start + line_length(&bytes[start..]));
    }
    if !closed {
        return Err(malformed(
            "multipart: expected the closing boundary, got the end of the body",
        ));
    }
    if parts.is_empty() {
        return Err(malformed("multipart: expected at least one part, got none"));
    }
    Ok(parts)
}

/// Where each line begins, and the line without its end.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let start = at;
        let length = line_length(rest);
        at += length;
        Some((start, without_line_end(&rest[..length])))
    })
}

fn line_length(bytes: &[u8]) -> usize {
    memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1)
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

/// The lines before the first empty one, and what follows it.
fn head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (at, _) = lines(bytes).take(LINES).find(|(_, line)| line.is_empty())?;
    Some((&bytes[..at], &bytes[at + line_length(&bytes[at..])..]))
}

/// `None` where headers do not end.
fn part(bytes: &[u8]) -> Option<Result<Part<'_>, BodyError>> {
    let (head, content) = head(bytes)?;
    let encoding = field(head, "Content-Transfer-Encoding").unwrap_or_default();
    let is = |name| encoding.eq_ignore_ascii_case(name);
    let bytes = if encoding.is_empty() || is("7bit") || is("8bit") || is("binary") {
        Ok(Cow::Borrowed(content))
    } else if is("base64") {
        let digits: Vec<u8> = content
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect();
        STANDARD
            .decode(digits)
            .map(Cow::Owned)
            .map_err(|_| malformed("part: expected base64, got something else"))
    } else {
        Err(malformed(
            "part: expected Content-Transfer-Encoding 7bit, 8bit, binary or base64, got another",
        ))
    };
    Some(bytes.map(|bytes| Part {
        content_type: field(head, "Content-Type"),
        bytes,
    }))
}

/// The first header of this name, unfolded.
fn field(head: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let mut value: Option<String> = None;
    for line in text.lines() {
        if let (Some(value), true) = (&mut value, line.starts_with([' ', '\t'])) {
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        if value.is_some() {
            break;
        }
        if let Some((found, rest)) = line.split_once(':')
            && found.trim().eq_ignore_ascii_case(name)
        {
            value = Some(rest.trim().to_owned());
        }
    }
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn open(content_type: &str, body: &str) -> Result<Vec<(Option<String>, String)>, String> {
        let media_type = MediaType::parse(content_type).unwrap();
        let container = Container::of(&media_type).unwrap();
        match container.open(&media_type, body.as_bytes()) {
            Ok(parts) => Ok(parts
                .into_iter()
                .map(|part| {
                    let text = String::from_utf8(part.bytes.into_owned()).unwrap();
                    (part.content_type, text)
                })
                .collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    const MIXED: &str = "multipart/mixed; boundary=\"b 1\"";

    #[test]
    fn parts_are_what_stands_between_the_boundaries() {
        let body = "preamble\r\n--b 1\r\nContent-Type: text/plain;\r\n charset=utf-8\r\n\r\none\r\n--b 12\r\n\r\n--b 1  \r\n\r\ntwo\n--b 1\ncontent-type:a/b\nContent-Transfer-Encoding: BASE64\n\ndGhy\r\nZWU=\n--b 1--\r\nepilogue";
        assert_eq!(
            open(MIXED, body).unwrap(),
            [
                (
                    Some("text/plain; charset=utf-8".into()),
                    "one\r\n--b 12\r\n".into()
                ),
                (None, "two".into()),
                (Some("a/b".into()), "three".into())
            ]
        );
    }

    #[test]
    fn an_envelope_holds_one_part() {
        let body = "From: <im:a@b>\r\nTo: <im:c@d>\r\nDateTime: now\r\n\r\nContent-type: text/xml\r\n\r\n<a/>\r\n";
        assert_eq!(
            open("Message/CPIM", body).unwrap(),
            [(Some("text/xml".into()), "<a/>\r\n".into())]
        );
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        let many = format!("{}--b 1--", "--b 1\n\nx\n".repeat(17));
        let cases = [
            (
                "multipart/mixed",
                "",
                "multipart: expected a boundary of 1 to 70 characters in Content-Type, got none",
            ),
            (
                MIXED,
                "--b 1\n\nx",
                "multipart: expected the closing boundary, got the end of the body",
            ),
            (
                MIXED,
                "--b 1--",
                "multipart: expected at least one part, got none",
            ),
            (
                MIXED,
                "--b 1\nx\n--b 1--",
                "multipart: part 1: expected headers and an empty line, got none",
            ),
            (
                MIXED,
                &many,
                "multipart: expected at most 16 parts, got more",
            ),
            (
                MIXED,
                "--b 1\nContent-Transfer-Encoding: x\n\n\n--b 1--",
                "part: expected Content-Transfer-Encoding 7bit, 8bit, binary or base64, got another",
            ),
            (
                MIXED,
                "--b 1\nContent-Transfer-Encoding: base64\n\n?\n--b 1--",
                "part: expected base64, got something else",
            ),
            (
                "message/cpim",
                "a: b",
                "message/cpim: expected an empty line, got none",
            ),
            (
                "message/cpim",
                "a: b\n\nc",
                "message/cpim: expected MIME headers and an empty line, got none",
            ),
        ];
        for (content_type, body, expected) in cases {
            assert_eq!(open(content_type, body).unwrap_err(), expected);
        }
    }
}

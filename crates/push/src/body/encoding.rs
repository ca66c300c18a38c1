//! What a body's octets say as text: UTF-8, UTF-16, US-ASCII or ISO-8859-1.
//!
//! A byte order mark decides, then the parameter `charset`, then where the zeros stand; without any of them it is UTF-8.
//! What an XML declaration says is not asked: it is written before anybody knows how the text will travel (RFC 7303 3).

use std::borrow::Cow;

use super::BodyError;
use super::place::{malformed, not_understood};

enum Encoding {
    Utf8,
    Utf16 { big_endian: bool },
    Latin1,
}

/// The text without its byte order mark; borrowed where it is UTF-8.
pub(super) fn text<'a>(charset: Option<&str>, bytes: &'a [u8]) -> Result<Cow<'a, str>, BodyError> {
    let (encoding, mark) = match bytes {
        [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, 3),
        [0xff, 0xfe, ..] => (Encoding::Utf16 { big_endian: false }, 2),
        [0xfe, 0xff, ..] => (Encoding::Utf16 { big_endian: true }, 2),
        _ => (without_mark(charset, bytes)?, 0),
    };
    match encoding {
        Encoding::Utf8 => utf_8(bytes, mark),
        Encoding::Utf16 { big_endian } => utf_16(bytes, mark, big_endian),
        Encoding::Latin1 => Ok(bytes.iter().copied().map(char::from).collect()),
    }
}

fn without_mark(charset: Option<&str>, bytes: &[u8]) -> Result<Encoding, BodyError> {
    let zeros = match bytes {
        [0, _, ..] => Some(Encoding::Utf16 { big_endian: true }),
        [_, 0, ..] => Some(Encoding::Utf16 { big_endian: false }),
        _ => None,
    };
    let Some(charset) = charset else {
        return Ok(zeros.unwrap_or(Encoding::Utf8));
    };
    let is = |name| charset.eq_ignore_ascii_case(name);
    Ok(if is("utf-8") || is("utf8") || is("us-ascii") {
        Encoding::Utf8
    } else if is("utf-16le") {
        Encoding::Utf16 { big_endian: false }
    } else if is("utf-16be") {
        Encoding::Utf16 { big_endian: true }
    } else if is("utf-16") || is("unicode") {
        // RFC 2781 4.3: big endian where nothing says otherwise.
        zeros.unwrap_or(Encoding::Utf16 { big_endian: true })
    } else if is("iso-8859-1") {
        Encoding::Latin1
    } else {
        return Err(not_understood(
            "charset utf-8, utf-16, utf-16le, utf-16be, us-ascii or iso-8859-1",
            "another",
        ));
    })
}

fn utf_8(bytes: &[u8], mark: usize) -> Result<Cow<'_, str>, BodyError> {
    match std::str::from_utf8(&bytes[mark..]) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(error) => Err(malformed(format_args!(
            "byte {}: expected UTF-8, got something else",
            mark + error.valid_up_to()
        ))),
    }
}

fn utf_16(bytes: &[u8], mark: usize, big_endian: bool) -> Result<Cow<'_, str>, BodyError> {
    if !bytes.len().is_multiple_of(2) {
        return Err(malformed(format_args!(
            "expected an even number of bytes as UTF-16, got {}",
            bytes.len()
        )));
    }
    let units = bytes[mark..].chunks_exact(2).map(|pair| {
        let pair = [pair[0], pair[1]];
        if big_endian {
            u16::from_be_bytes(pair)
        } else {
            u16::from_le_bytes(pair)
        }
    });
    let mut text = String::with_capacity(bytes.len() / 2);
    let mut at = mark;
    for character in char::decode_utf16(units) {
        let Ok(character) = character else {
            return Err(malformed(format_args!(
                "byte {at}: expected UTF-16, got half a surrogate pair"
            )));
        };
        at += 2 * character.len_utf16();
        text.push(character);
    }
    Ok(Cow::Owned(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn utf_16_of(text: &str, mark: bool, big_endian: bool) -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        let units = mark.into_iter().chain(text.encode_utf16());
        units
            .flat_map(|unit| {
                if big_endian {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            })
            .collect()
    }

    #[test]
    fn every_encoding_says_the_same() {
        let words = "{\"a\": \"gr\u{fc}n \u{1f600}\"}";
        let mut marked = vec![0xef, 0xbb, 0xbf];
        marked.extend(words.bytes());
        let mut cases = vec![
            (None, words.as_bytes().to_vec()),
            (Some("UTF-8"), words.as_bytes().to_vec()),
            (None, marked.clone()),
            (Some("utf-8"), marked),
        ];
        for big_endian in [false, true] {
            let named = if big_endian { "utf-16be" } else { "UTF-16LE" };
            for mark in [false, true] {
                for charset in [None, Some("utf-16"), Some(named), Some("utf-8")] {
                    if charset != Some("utf-8") || mark {
                        cases.push((charset, utf_16_of(words, mark, big_endian)));
                    }
                }
            }
        }
        for (charset, bytes) in cases {
            assert_eq!(
                text(charset, &bytes).unwrap(),
                words,
                "{charset:?} {bytes:?}"
            );
        }
        assert_eq!(text(Some("iso-8859-1"), b"gr\xfcn").unwrap(), "gr\u{fc}n");
        assert_eq!(text(None, b"").unwrap(), "");
    }

    #[test]
    fn what_is_no_text_is_named_with_its_place() {
        let cases: [(Option<&str>, &[u8], &str); 5] = [
            (
                None,
                b"ab\xff",
                "byte 2: expected UTF-8, got something else",
            ),
            (
                None,
                b"\xef\xbb\xbfa\xff",
                "byte 4: expected UTF-8, got something else",
            ),
            (
                None,
                b"\xff\xfea",
                "expected an even number of bytes as UTF-16, got 3",
            ),
            (
                Some("utf-16be"),
                b"\0a\xd8\0\0b",
                "byte 2: expected UTF-16, got half a surrogate pair",
            ),
            (
                Some("koi8-r"),
                b"a",
                "expected charset utf-8, utf-16, utf-16le, utf-16be, us-ascii or iso-8859-1, got another",
            ),
        ];
        for (charset, bytes, expected) in cases {
            assert_eq!(text(charset, bytes).unwrap_err().to_string(), expected);
        }
    }
}

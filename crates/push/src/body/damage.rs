//! What an IM URL filter at the sender does to a body, and how it is undone.
//!
//! Lync's filter in its "allow" setting puts an underscore in front of links and may put a text in front of the message; in its
//! "warn" setting it puts a warning there (protocol notes 1.3). Neither was meant for a push, and both can be told apart from
//! what a sender wrote.

use std::borrow::Cow;
use std::fmt;
use std::ops::BitOr;

use memchr::memchr_iter;

/// What was found in one body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    links: bool,
    text_in_front: bool,
}

impl Damage {
    /// An underscore in front of `http://` or `https://`.
    pub const LINKS: Damage = Damage {
        links: true,
        text_in_front: false,
    };
    /// A text in front of the document.
    pub const TEXT_IN_FRONT: Damage = Damage {
        links: false,
        text_in_front: true,
    };

    /// Whether nothing was found.
    pub fn is_none(self) -> bool {
        self == Damage::default()
    }

    /// Whether links have an underscore.
    pub fn links(self) -> bool {
        self.links
    }

    /// Whether a text stands in front.
    pub fn text_in_front(self) -> bool {
        self.text_in_front
    }
}

impl BitOr for Damage {
    type Output = Damage;

    fn bitor(self, other: Damage) -> Damage {
        Damage {
            links: self.links || other.links,
            text_in_front: self.text_in_front || other.text_in_front,
        }
    }
}

/// `_http, text in front`
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.links, self.text_in_front) {
            (true, true) => "_http, text in front",
            (true, false) => "_http",
            (false, true) => "text in front",
            (false, false) => "none",
        })
    }
}

/// Takes the underscores away where a value begins with one: behind a quote, `>`, `=`, `:` or at the beginning of a line, blanks
/// allowed. Inside a running text the sender may have meant it.
pub(super) fn without_underscores<'a>(text: Cow<'a, str>, damaged: impl FnOnce()) -> Cow<'a, str> {
    let bytes = text.as_bytes();
    if !memchr_iter(b'_', bytes).any(|at| is_link(&bytes[at + 1..])) {
        return text;
    }
    damaged();
    let mut repaired = String::with_capacity(text.len());
    let mut copied = 0;
    for at in memchr_iter(b'_', bytes) {
        if is_link(&bytes[at + 1..]) && begins_a_value(&bytes[..at]) {
            repaired.push_str(&text[copied..at]);
            copied = at + 1;
        }
    }
    repaired.push_str(&text[copied..]);
    Cow::Owned(repaired)
}

fn is_link(rest: &[u8]) -> bool {
    ["http://", "https://"].iter().any(|scheme| {
        rest.get(..scheme.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme.as_bytes()))
    })
}

fn begins_a_value(before: &[u8]) -> bool {
    let trimmed = before.trim_ascii_end();
    let blanks = &before[trimmed.len()..];
    match trimmed.last() {
        None | Some(b'=' | b':' | b'>') => true,
        Some(b'"' | b'\'') => blanks.is_empty(),
        Some(_) => blanks.contains(&b'\n'),
    }
}

/// Whether a document that begins with `open` has a text in front of it.
pub(super) fn has_text_in_front(text: &str, open: char) -> bool {
    !text.trim_ascii_start().starts_with(open) && text.contains(open)
}

/// The places where the document may begin, in order.
pub(super) fn beginnings(text: &str, open: char) -> impl Iterator<Item = &str> {
    text.match_indices(open)
        .take(BEGINNINGS)
        .map(|(at, _)| &text[at..])
}

/// How many places are tried: a notice that has more braces or angle brackets of its own stays damage.
const BEGINNINGS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(text: &str) -> (String, bool) {
        let mut seen = false;
        let text = without_underscores(text.into(), || seen = true);
        (text.into_owned(), seen)
    }

    #[test]
    fn an_underscore_goes_where_a_value_begins_with_it() {
        for (damaged, whole) in [
            (r#"{"uri":"_https://h/x"}"#, r#"{"uri":"https://h/x"}"#),
            ("<u>_HTTP://h/</u>", "<u>HTTP://h/</u>"),
            ("<p xmlns='_http://h/'>", "<p xmlns='http://h/'>"),
            ("Channel: _http://h/", "Channel: http://h/"),
            ("a=_http://h/&b=_http://i/", "a=http://h/&b=http://i/"),
            ("_http://h/\n_http://i/", "http://h/\nhttp://i/"),
            ("<u>\n  _http://h/\n</u>", "<u>\n  http://h/\n</u>"),
        ] {
            assert_eq!(repaired(damaged), (whole.into(), true));
        }
    }

    #[test]
    fn inside_a_text_it_is_seen_and_left() {
        for text in [
            "look at _http://h/",
            "a_http://h/",
            "\"look: at _https://h/\"",
        ] {
            assert_eq!(repaired(text), (text.into(), true));
        }
        for text in ["", "_", "_http", "_http:/", "snake_case", "\u{e9}_"] {
            assert_eq!(repaired(text), (text.into(), false));
        }
    }
}

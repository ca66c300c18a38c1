//! Where one header field stands in a head, and which it is.

use crate::lex;

/// The header fields that this crate reads itself. Everything else is carried, and found by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Known {
    Via,
    From,
    To,
    CallId,
    CSeq,
    ContentLength,
    ContentType,
    ContentEncoding,
    MaxForwards,
    Require,
    Other,
}

impl Known {
    /// Recognises a name in any case, in its long or compact form (RFC 3261 7.3.3).
    pub(crate) fn of(name: &[u8]) -> Known {
        let (long, known): (&[u8], Known) = match name {
            [letter] => {
                return match letter.to_ascii_lowercase() {
                    b'v' => Known::Via,
                    b'f' => Known::From,
                    b't' => Known::To,
                    b'i' => Known::CallId,
                    b'l' => Known::ContentLength,
                    b'c' => Known::ContentType,
                    b'e' => Known::ContentEncoding,
                    _ => Known::Other,
                };
            }
            [_, _] => (b"to", Known::To),
            [_, _, _] => (b"via", Known::Via),
            [b'f' | b'F', _, _, _] => (b"from", Known::From),
            [_, _, _, _] => (b"cseq", Known::CSeq),
            [b'c' | b'C', _, _, _, _, _, _] => (b"call-id", Known::CallId),
            [_, _, _, _, _, _, _] => (b"require", Known::Require),
            [b'm' | b'M', ..] => (b"max-forwards", Known::MaxForwards),
            [b'c' | b'C', _, _, _, _, _, _, _, rest @ ..] => match rest.len() {
                4 => (b"content-type", Known::ContentType),
                6 => (b"content-length", Known::ContentLength),
                8 => (b"content-encoding", Known::ContentEncoding),
                _ => return Known::Other,
            },
            _ => return Known::Other,
        };
        if name.eq_ignore_ascii_case(long) {
            known
        } else {
            Known::Other
        }
    }
}

impl Known {
    /// The name, where such a header may stand only once.
    pub(crate) fn single(self) -> Option<&'static str> {
        match self {
            Known::From => Some("From"),
            Known::To => Some("To"),
            Known::CallId => Some("Call-ID"),
            Known::CSeq => Some("CSeq"),
            Known::MaxForwards => Some("Max-Forwards"),
            Known::ContentType => Some("Content-Type"),
            Known::ContentLength => Some("Content-Length"),
            Known::Via | Known::ContentEncoding | Known::Require | Known::Other => None,
        }
    }
}

/// One header field: places in the head it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) known: Known,
    /// The value goes over more than one line.
    pub(crate) folded: bool,
    name: u32,
    name_end: u32,
    value: u32,
    end: u32,
}

impl Field {
    /// Reads the line `head[start..end]`; `None` when it is no header line.
    pub(crate) fn read(head: &[u8], start: usize, end: usize) -> Option<Field> {
        let line = &head[..end];
        let name_end = lex::skip_token(line, start);
        let colon = skip_blanks(line, name_end);
        if name_end == start || line.get(colon) != Some(&b':') {
            return None;
        }
        let value = skip_blanks(line, colon + 1);
        let value_end = value + trim_end(&line[value..]).len();
        Some(Field {
            known: Known::of(&head[start..name_end]),
            folded: false,
            name: start as u32,
            name_end: name_end as u32,
            value: value as u32,
            end: value_end as u32,
        })
    }

    /// Takes the continuation line that ends at `end` to the value.
    pub(crate) fn fold(&mut self, end: usize) {
        self.folded = true;
        self.end = end as u32;
    }

    pub(crate) fn name<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.name as usize..self.name_end as usize]
    }

    /// The value without white space around it; a folded one has its line ends inside.
    pub(crate) fn value<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        let value = &head[self.value as usize..self.end as usize];
        if self.folded { lex::trim(value) } else { value }
    }
}

/// Which long name a compact one stands for: RFC 3261 7.3.3, RFC 3265, 3515, 3892, 4028 and 4474.
pub(crate) fn long_name(compact: u8) -> Option<&'static str> {
    Some(match compact.to_ascii_lowercase() {
        b'a' => "accept-contact",
        b'b' => "referred-by",
        b'c' => "content-type",
        b'd' => "request-disposition",
        b'e' => "content-encoding",
        b'f' => "from",
        b'i' => "call-id",
        b'j' => "reject-contact",
        b'k' => "supported",
        b'l' => "content-length",
        b'm' => "contact",
        b'n' => "identity-info",
        b'o' => "event",
        b'r' => "refer-to",
        b's' => "subject",
        b't' => "to",
        b'u' => "allow-events",
        b'v' => "via",
        b'x' => "session-expires",
        b'y' => "identity",
        _ => return None,
    })
}

fn skip_blanks(line: &[u8], mut at: usize) -> usize {
    while matches!(line.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

fn trim_end(mut value: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case_and_in_compact_form() {
        for (name, known) in [
            ("VIA", Known::Via),
            ("v", Known::Via),
            ("From", Known::From),
            ("F", Known::From),
            ("to", Known::To),
            ("t", Known::To),
            ("CALL-ID", Known::CallId),
            ("i", Known::CallId),
            ("cseq", Known::CSeq),
            ("Content-Length", Known::ContentLength),
            ("L", Known::ContentLength),
            ("content-TYPE", Known::ContentType),
            ("c", Known::ContentType),
            ("Content-Encoding", Known::ContentEncoding),
            ("e", Known::ContentEncoding),
            ("MaX-fOrWaRdS", Known::MaxForwards),
            ("Require", Known::Require),
            ("C%6Fntact", Known::Other),
            ("Contact", Known::Other),
            ("Content-Lengthy", Known::Other),
            ("ms-user-data", Known::Other),
            ("Date", Known::Other),
            ("x", Known::Other),
        ] {
            assert_eq!(Known::of(name.as_bytes()), known, "{name}");
        }
    }

    #[test]
    fn white_space_around_the_colon_and_at_the_end_is_not_the_value() {
        let line = b"Subject \t:  a b \t";
        let field = Field::read(line, 0, line.len()).unwrap();
        assert_eq!(
            (field.name(line), field.value(line)),
            (&b"Subject"[..], &b"a b"[..])
        );
    }

    #[test]
    fn a_line_without_a_name_or_colon_is_no_field() {
        for line in [
            &b"Foobar roobar"[..],
            b": x",
            b"Sub ject: x",
            b"Subject",
            b"Sub\0ject: x",
        ] {
            assert!(
                Field::read(line, 0, line.len()).is_none(),
                "{}",
                line.escape_ascii()
            );
        }
    }
}

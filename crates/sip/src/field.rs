//! Where one header field stands in a head, and which it is.

use crate::lex::{self, LWS, Span, TOKEN};

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
    Expires,
    Date,
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
            [b'd' | b'D', _, _, _] => (b"date", Known::Date),
            [_, _, _, _] => (b"cseq", Known::CSeq),
            [b'c' | b'C', _, _, _, _, _, _] => (b"call-id", Known::CallId),
            [b'e' | b'E', _, _, _, _, _, _] => (b"expires", Known::Expires),
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
    /// The headers that may stand only once, and their names.
    const SINGLE: [(Known, &'static str); 6] = [
        (Known::From, "From"),
        (Known::To, "To"),
        (Known::CallId, "Call-ID"),
        (Known::CSeq, "CSeq"),
        (Known::MaxForwards, "Max-Forwards"),
        (Known::ContentType, "Content-Type"),
    ];
}

/// The header fields of one head, in order: an index into it, without memory for each.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    all: Vec<Field>,
    /// Where the first of each kind stands, by its number.
    first: [u32; Known::Other as usize + 1],
    /// Which kinds stand more than once, a bit each.
    repeated: u16,
}

/// No field has this number.
const NOWHERE: u32 = u32::MAX;

impl Default for Fields {
    fn default() -> Self {
        Fields {
            all: Vec::new(),
            first: [NOWHERE; Known::Other as usize + 1],
            repeated: 0,
        }
    }
}

impl Fields {
    /// An empty index with room for some.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Fields {
            all: Vec::with_capacity(count),
            ..Fields::default()
        }
    }

    pub(crate) fn push(&mut self, field: Field) {
        let first = &mut self.first[field.known as usize];
        if *first == NOWHERE {
            *first = self.all.len() as u32;
        } else {
            self.repeated |= 1 << field.known as u16;
        }
        self.all.push(field);
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut Field> {
        self.all.last_mut()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.all.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The first of this kind.
    pub(crate) fn first(&self, known: Known) -> Option<&Field> {
        self.all.get(self.first[known as usize] as usize)
    }

    /// Whether this kind stands more than once.
    pub(crate) fn is_repeated(&self, known: Known) -> bool {
        self.repeated & 1 << known as u16 != 0
    }

    /// The name of a header that may stand only once and stands more than once.
    pub(crate) fn wrongly_repeated(&self) -> Option<&'static str> {
        if self.repeated == 0 {
            return None;
        }
        Known::SINGLE
            .iter()
            .find(|(known, _)| self.is_repeated(*known))
            .map(|(_, name)| *name)
    }
}

/// One header field: places in the head it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) known: Known,
    /// The value goes over more than one line.
    pub(crate) folded: bool,
    name: Span,
    value: Span,
}

/// A name and its colon as one number, to compare without case at once.
struct Pattern {
    name: u128,
    /// The bit that tells the cases apart, for letters.
    case: u128,
    mask: u128,
    colon: usize,
    known: Known,
}

impl Pattern {
    const fn new(name: &[u8], known: Known) -> Pattern {
        let colon = name.len() - 1;
        let mut pattern = Pattern {
            name: 0,
            case: 0,
            mask: 0,
            colon,
            known,
        };
        let mut at = 0;
        while at < name.len() {
            let case = if name[at].is_ascii_lowercase() {
                0x20
            } else {
                0
            };
            pattern.name |= (name[at] as u128) << (8 * at);
            pattern.case |= case << (8 * at);
            pattern.mask |= 0xff << (8 * at);
            at += 1;
        }
        pattern
    }

    /// The name that a line begins with, when it is one of the hot path, written as nearly everyone does: long, and the
    /// colon right behind.
    fn of(begin: &[u8; 16]) -> Option<&'static Pattern> {
        const VIA: Pattern = Pattern::new(b"via:", Known::Via);
        const FROM: Pattern = Pattern::new(b"from:", Known::From);
        const TO: Pattern = Pattern::new(b"to:", Known::To);
        const CALL_ID: Pattern = Pattern::new(b"call-id:", Known::CallId);
        const CSEQ: Pattern = Pattern::new(b"cseq:", Known::CSeq);
        const MAX_FORWARDS: Pattern = Pattern::new(b"max-forwards:", Known::MaxForwards);
        const CONTENT_TYPE: Pattern = Pattern::new(b"content-type:", Known::ContentType);
        const CONTENT_LENGTH: Pattern = Pattern::new(b"content-length:", Known::ContentLength);
        let pattern = match [begin[0] | 0x20, begin[1] | 0x20] {
            [b'v', _] => &VIA,
            [b'f', _] => &FROM,
            [b't', _] => &TO,
            [b'm', _] => &MAX_FORWARDS,
            [b'c', b'a'] => &CALL_ID,
            [b'c', b's'] => &CSEQ,
            [b'c', _] if begin[8] | 0x20 == b'l' => &CONTENT_LENGTH,
            [b'c', _] => &CONTENT_TYPE,
            _ => return None,
        };
        let line = u128::from_le_bytes(*begin);
        ((line | pattern.case) & pattern.mask == pattern.name).then_some(pattern)
    }
}

impl Field {
    /// Reads the line `head[start..end]`; `None` when it is no header line.
    pub(crate) fn read(head: &[u8], start: usize, end: usize) -> Option<Field> {
        let line = &head[..end];
        // Sixteen bytes may reach into the next line, but no name goes over a line's end.
        let begin = head[start..].first_chunk();
        let Some(pattern) = begin.and_then(Pattern::of) else {
            return Field::read_unusual(line, start);
        };
        let colon = start + pattern.colon;
        Some(Field::of(
            pattern.known,
            Span::new(start, colon),
            colon + 1,
            line,
        ))
    }

    fn read_unusual(line: &[u8], start: usize) -> Option<Field> {
        let name_end = lex::skip(line, start, TOKEN);
        let colon = lex::skip_lws(line, name_end);
        if name_end == start || line.get(colon) != Some(&b':') {
            return None;
        }
        let name = Span::new(start, name_end);
        Some(Field::of(Known::of(name.of(line)), name, colon + 1, line))
    }

    /// A field whose value begins at `value`, or behind white space there, and ends with `line`.
    fn of(known: Known, name: Span, value: usize, line: &[u8]) -> Field {
        let (start, end) = match &line[value..] {
            [b' ', first, .., last] if !lex::is(*first, LWS) && !lex::is(*last, LWS) => {
                (value + 1, line.len())
            }
            _ => trimmed(line, value),
        };
        Field {
            known,
            folded: false,
            name,
            value: Span::new(start, end),
        }
    }

    /// Takes the continuation line that ends with `head` to the value.
    pub(crate) fn fold(&mut self, head: &[u8]) {
        let value = Field::of(self.known, self.name, self.value.start as usize, head).value;
        *self = Field {
            folded: true,
            value,
            ..*self
        };
    }

    pub(crate) fn line<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        &head[self.name.start as usize..self.value.end as usize]
    }

    pub(crate) fn name<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        self.name.of(head)
    }

    /// The whole line with its line end, where it may be sent back as it is: `Name: value`, in one line.
    pub(crate) fn plain_line<'a>(&self, head: &'a [u8]) -> Option<&'a [u8]> {
        let begin = self.name.start as usize;
        let end = self.value.end as usize;
        let plain = !self.folded
            && self.name.end - self.name.start > 1
            && self.value.start - self.name.end == 2;
        head.get(begin..end + 2)
            .filter(|line| plain && line.ends_with(b"\r\n"))
    }

    /// The value without white space around it; a folded one has its line ends inside.
    pub(crate) fn value<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        self.value.of(head)
    }
}

/// The ends of `line` from `start` on, without white space.
#[cold]
fn trimmed(line: &[u8], start: usize) -> (usize, usize) {
    let start = lex::skip_lws(line, start);
    (start, start + lex::trim(&line[start..]).len())
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
            ("Expires", Known::Expires),
            ("eXPIRES", Known::Expires),
            ("Date", Known::Date),
            ("DATE", Known::Date),
            ("Data", Known::Other),
            ("C%6Fntact", Known::Other),
            ("Contact", Known::Other),
            ("Content-Lengthy", Known::Other),
            ("ms-user-data", Known::Other),
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

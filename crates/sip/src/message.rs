//! A framed message: a head whose lines have been found, and a body.

use bytes::Bytes;

use crate::field::{self, Field, Fields, Known};

/// One message as it was framed. Whether it makes sense is another question ([`Request`](crate::Request)).
#[derive(Clone)]
pub struct Message {
    /// Head and body.
    pub(crate) bytes: Bytes,
    pub(crate) head_end: u32,
    pub(crate) body: Bytes,
    pub(crate) fields: Fields,
    /// The end of the start line.
    pub(crate) start_line: u32,
    /// The number of the first line that is no header line, where there is one; the start line is 1.
    pub(crate) malformed_line: Option<u32>,
}

impl Message {
    /// Start line and header lines, with the empty line at their end.
    pub(crate) fn head(&self) -> &[u8] {
        &self.bytes[..self.head_end as usize]
    }

    /// The start line without its line end.
    pub fn start_line(&self) -> &[u8] {
        &self.bytes[..self.start_line as usize]
    }

    /// Whether this is a response: its start line begins with the version.
    pub fn is_response(&self) -> bool {
        self.start_line()
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"))
    }

    /// The header lines in order, each with its name; continuation lines belong to their first.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().map(|field| field.line(self.head()))
    }

    /// The value of the first header of this name, long or compact, in any case. A folded value has its line ends inside.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers(name).next()
    }

    /// The values of all headers of this name, in order, one for each line.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let name = match name.as_bytes() {
            [compact] => field::long_name(*compact).unwrap_or(name),
            _ => name,
        };
        let is_this = move |have: &[u8]| match have {
            [compact] => {
                field::long_name(*compact).is_some_and(|long| long.eq_ignore_ascii_case(name))
            }
            _ => have.eq_ignore_ascii_case(name.as_bytes()),
        };
        self.fields
            .iter()
            .filter(move |field| is_this(field.name(self.head())))
            .map(|field| field.value(self.head()))
    }

    /// The body: as many bytes as Content-Length said.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The fields of one kind, in order.
    pub(crate) fn known(&self, known: Known) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| field.known == known)
    }

    /// The value of the first field of this kind.
    pub(crate) fn value(&self, known: Known) -> Option<&[u8]> {
        self.fields
            .first(known)
            .map(|field| field.value(self.head()))
    }

    /// The values of the fields of one kind, in order.
    pub(crate) fn values(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.known(known).map(|field| field.value(self.head()))
    }
}

impl std::fmt::Debug for Message {
    /// Sizes only: heads and bodies hold what is nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("head_bytes", &self.head_end)
            .field("fields", &self.fields.len())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

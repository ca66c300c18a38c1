//! A request or a body that an operator has in a file: a capture, a piece of a trace, a body alone.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

use pushrelay_push::body::Headers;
use pushrelay_sip::{Answer, Connection, Limits, Output, Request};

/// The longest file that is read: a head and a body at their limits, and some more.
const FILE_BYTES: u64 = 1 << 20;

/// What a body alone comes in.
const NOBODYS_HEAD: &[u8] = b"MESSAGE sip:push@preview.invalid SIP/2.0\r\nVia: SIP/2.0/TLS preview.invalid;branch=z9hG4bKpreview\r\n\
    From: <sip:preview.invalid>;tag=preview\r\nTo: <sip:push@preview.invalid>\r\nCall-ID: preview\r\nCSeq: 1 MESSAGE\r\n";

/// The bytes of a file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unread = |error: io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(unread)?)
    };
    let read = source.take(FILE_BYTES + 1).read_to_end(&mut bytes);
    if read.map_err(unread)? as u64 > FILE_BYTES {
        return Err(format!("expected at most {FILE_BYTES} bytes, got more"));
    }
    Ok(bytes)
}

/// A request as it was kept, or pasted from somebody's trace: line ends and lengths may have suffered.
pub(super) struct Saved<'a> {
    /// The start line; empty where there is a body alone.
    start: &'a [u8],
    lines: Vec<(&'a [u8], Vec<u8>)>,
    /// What it says that its body is.
    pub(super) content_type: Option<String>,
    /// The body.
    pub(super) body: &'a [u8],
}

impl<'a> Saved<'a> {
    /// Reads a request, or takes the bytes for a body of this type.
    pub(super) fn new(bytes: &'a [u8], content_type: &str) -> Saved<'a> {
        let Some((head, body)) = split(bytes) else {
            return Saved {
                start: b"",
                lines: Vec::new(),
                content_type: Some(content_type.to_owned()),
                body: bytes,
            };
        };
        let mut rows = head.split(|byte| *byte == b'\n');
        let start = rows.next().unwrap_or_default().trim_ascii_end();
        let mut lines: Vec<(&[u8], Vec<u8>)> = Vec::new();
        for line in rows {
            if let (Some((_, value)), true) = (
                lines.last_mut(),
                line.starts_with(b" ") || line.starts_with(b"\t"),
            ) {
                value.push(b' ');
                value.extend_from_slice(line.trim_ascii());
            } else if let Some(colon) = line.iter().position(|byte| *byte == b':') {
                let (name, value) = line.split_at(colon);
                lines.push((name.trim_ascii(), value[1..].trim_ascii().to_vec()));
            }
        }
        let mut saved = Saved {
            start,
            lines,
            content_type: None,
            body,
        };
        saved.content_type = saved
            .header("Content-Type")
            .or_else(|| saved.header("c"))
            .map(|value| String::from_utf8_lossy(value).into_owned());
        saved
    }

    /// Whether it is more than a body.
    pub(super) fn has_head(&self) -> bool {
        !self.start.is_empty()
    }

    /// The request that the relay would have read, with the length that the body has now; a body alone comes in a MESSAGE of
    /// nobody's. `None` of what nobody answers, such as an ACK; the error is the answer where it would have read none.
    pub(super) fn request(&self, limits: Limits) -> Result<Option<Request>, Answer> {
        let mut bytes = Vec::with_capacity(self.body.len() + 1024);
        if self.has_head() {
            bytes.extend_from_slice(self.start);
            bytes.extend_from_slice(b"\r\n");
            let is_length = |name: &[u8]| {
                name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l")
            };
            for (name, value) in self.lines.iter().filter(|(name, _)| !is_length(name)) {
                bytes.extend([*name, b": ", value, b"\r\n"].concat());
            }
        } else {
            let kind = self.content_type.as_deref().unwrap_or_default();
            bytes.extend([NOBODYS_HEAD, b"Content-Type: ", kind.as_bytes(), b"\r\n"].concat());
        }
        bytes.extend(format!("Content-Length: {}\r\n\r\n", self.body.len()).into_bytes());
        bytes.extend_from_slice(self.body);
        let now = Instant::now();
        let mut connection = Connection::new(limits, ([127, 0, 0, 1], 5061).into(), 0);
        connection.receive(&bytes, now);
        while let Some(output) = connection.poll_output() {
            match output {
                Output::Request(request) => return Ok(Some(request)),
                Output::Refused { status, reason } => {
                    return Err(Answer::new(status).reason(reason));
                }
                Output::Transmit(_) | Output::Close(_) => {}
            }
        }
        Ok(None)
    }
}

impl Headers for Saved<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.lines
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.as_slice())
    }
}

/// Head and body of a SIP request; `None` where the first line is not one's.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = bytes.split(|byte| *byte == b'\n').next()?;
    if !first.trim_ascii_end().ends_with(b" SIP/2.0") {
        return None;
    }
    let at = |end: &[u8]| {
        let found = bytes.windows(end.len()).position(|window| window == end)?;
        Some((found, found + end.len()))
    };
    let (head, body) = [at(b"\r\n\r\n"), at(b"\n\n")]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or((bytes.len(), bytes.len()));
    Some((&bytes[..head], &bytes[body..]))
}

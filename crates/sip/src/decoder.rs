//! Bytes in any split become messages: framing by Content-Length, RFC 3261 18.3.
//!
//! Not here: what the headers say. Every byte is looked at once, however the stream was cut.

use bytes::{Buf, Bytes, BytesMut};

use crate::field::{Field, Fields, Known};
use crate::lex;
use crate::limits::Limits;
use crate::message::Message;

/// What the bytes of a stream turn out to be.
#[derive(Debug)]
pub enum Frame {
    /// A whole message.
    Message(Message),
    /// A double CRLF between messages, RFC 5626 3.5.1: answered with a single one.
    Ping,
    /// Where the next message begins is lost; nothing more is read.
    Refused(Refusal),
}

/// Why framing was lost, and in what.
#[derive(Debug)]
pub struct Refusal {
    /// What is wrong.
    pub error: FramingError,
    /// As much of the message as was read, to answer it with; without a body.
    pub message: Message,
}

/// Why the end of a message cannot be known, or is not waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// CR without LF or LF without CR in a head: proxies disagree about what that ends.
    #[error("a CR or LF that stands alone, expected CRLF")]
    LineEnd,
    /// RFC 3261 18.3: a stream needs one.
    #[error("no Content-Length")]
    NoContentLength,
    /// Even equal ones: who wrote the second?
    #[error("more than one Content-Length")]
    ContentLengths,
    /// Not digits alone, or past 32 bits.
    #[error("a Content-Length that is no number, expected digits only")]
    ContentLength,
    /// [`Limits::body_bytes`].
    #[error("a body of {length} bytes, at most {limit} are taken")]
    Body {
        /// What Content-Length says.
        length: u32,
        /// What is taken.
        limit: usize,
    },
    /// [`Limits::head_bytes`].
    #[error("a head of more than {limit} bytes")]
    Head {
        /// What is taken.
        limit: usize,
    },
    /// [`Limits::head_lines`].
    #[error("a head of more than {limit} lines")]
    Lines {
        /// What is taken.
        limit: usize,
    },
    /// [`Limits::message_life`] went by and the message is still not whole.
    #[error("the message was begun and never completed")]
    Stalled,
}

impl FramingError {
    /// The status that it is answered with: 400, 413 or 513.
    pub fn status(&self) -> u16 {
        match self {
            FramingError::Body { .. } => 413,
            FramingError::Head { .. } | FramingError::Lines { .. } => 513,
            _ => 400,
        }
    }
}

/// Turns the bytes of one stream into frames: [`feed`](Decoder::feed), then [`poll`](Decoder::poll) until there is none.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// What came and is not worked off. Messages are cut from it without copying, and share its memory.
    buffer: BytesMut,
    scan: Scan,
    /// How much of CRLFCRLF has been seen between messages.
    line_ends: usize,
    lost: bool,
}

/// A double CRLF.
const PING: &[u8] = b"\r\n\r\n";

/// Heads are indexed with 32 bits; no configuration needs more than this.
const HEAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The buffer of a stream: some messages fit. One that grew past it for a large message is given back.
const BUFFER_BYTES: usize = 16 * 1024;

/// More fields than this make the index grow once or twice.
const USUAL_FIELDS: usize = 24;

impl Decoder {
    /// A decoder at the begin of a stream.
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            head_bytes: limits.head_bytes.min(HEAD_BYTES_MAX),
            ..limits
        };
        Decoder {
            limits,
            buffer: BytesMut::new(),
            scan: Scan::default(),
            line_ends: 0,
            lost: false,
        }
    }

    /// Takes what came. Between two calls at most a head and a body are held, besides what was not polled.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.lost {
            return;
        }
        if self.buffer.capacity() - self.buffer.len() < bytes.len() {
            self.buffer.reserve(bytes.len().max(BUFFER_BYTES));
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame; `None` when more bytes are needed, and always after [`Frame::Refused`].
    pub fn poll(&mut self) -> Option<Frame> {
        if self.lost {
            return None;
        }
        if self.scan.at == 0 {
            match self.skip_line_ends() {
                Ok(false) => {}
                Ok(true) => return Some(Frame::Ping),
                Err(error) => return Some(Frame::Refused(self.refuse(error))),
            }
        }
        match self.scan.advance(&self.buffer, &self.limits) {
            Ok(Some(ends)) => {
                let bytes = self.buffer.split_to(ends.message).freeze();
                Some(Frame::Message(self.scan.take(bytes, ends.head)))
            }
            Ok(None) => {
                if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_BYTES {
                    self.buffer = BytesMut::new();
                }
                None
            }
            Err(error) => Some(Frame::Refused(self.refuse(error))),
        }
    }

    /// Whether a message has begun that is not whole yet.
    pub fn is_mid_message(&self) -> bool {
        self.scan.at > 0
    }

    /// Stops waiting for the rest of the message that has begun. Nothing is read any more.
    pub fn give_up(&mut self) -> Refusal {
        self.refuse(FramingError::Stalled)
    }

    /// Skips CRLFs before a start line, RFC 3261 7.5. Returns whether two in a row were found.
    fn skip_line_ends(&mut self) -> Result<bool, FramingError> {
        while let Some(&byte) = self.buffer.first() {
            if byte != PING[self.line_ends] {
                let after_cr = self.line_ends % 2 == 1;
                self.line_ends = 0;
                return if after_cr {
                    Err(FramingError::LineEnd)
                } else {
                    Ok(false)
                };
            }
            self.buffer.advance(1);
            self.line_ends += 1;
            if self.line_ends == PING.len() {
                self.line_ends = 0;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn refuse(&mut self, error: FramingError) -> Refusal {
        self.lost = true;
        let head = self.scan.line;
        let bytes = std::mem::take(&mut self.buffer).freeze();
        Refusal {
            error,
            message: self.scan.take(bytes.slice(..head), head),
        }
    }
}

/// How far the message at hand has been looked at. Places count from its first byte.
#[derive(Debug, Default)]
struct Scan {
    /// Everything before it has been looked at.
    at: usize,
    /// Where the line at hand begins.
    line: usize,
    lines: usize,
    start_line: u32,
    fields: Fields,
    malformed_line: Option<u32>,
    ends: Option<Ends>,
}

/// The ends of the head and of the message, once the head is whole.
#[derive(Clone, Copy, Debug)]
struct Ends {
    head: usize,
    message: usize,
}

impl Scan {
    /// Looks at what is new in `message`, which may be empty; returns its ends when it is whole.
    fn advance(&mut self, message: &[u8], limits: &Limits) -> Result<Option<Ends>, FramingError> {
        if self.ends.is_none() {
            self.read_lines(message, limits)?;
        }
        Ok(self.ends.filter(|ends| ends.message <= message.len()))
    }

    /// Finds the lines of the head, up to the empty one.
    fn read_lines(&mut self, message: &[u8], limits: &Limits) -> Result<(), FramingError> {
        let head = &message[..message.len().min(limits.head_bytes)];
        while let Some(length) = memchr::memchr2(b'\r', b'\n', &head[self.at..]) {
            let end = self.at + length;
            match &head[end..] {
                [b'\r', b'\n', ..] => {}
                [b'\r'] => {
                    self.at = end; // its LF is still to come
                    return self.wait(head, limits);
                }
                _ => return Err(FramingError::LineEnd),
            }
            if end == self.line {
                let body = self.content_length(head, limits)?;
                (self.at, self.line) = (end + 2, end + 2);
                self.ends = Some(Ends {
                    head: end + 2,
                    message: end + 2 + body,
                });
                return Ok(());
            }
            if self.lines == limits.head_lines {
                return Err(FramingError::Lines {
                    limit: limits.head_lines,
                });
            }
            self.lines += 1;
            self.index(head, end);
            (self.at, self.line) = (end + 2, end + 2);
        }
        self.at = head.len();
        self.wait(head, limits)
    }

    /// More of the head is to come; `head` is what there is of it, or all that is taken.
    fn wait(&self, head: &[u8], limits: &Limits) -> Result<(), FramingError> {
        if head.len() < limits.head_bytes {
            Ok(())
        } else {
            Err(FramingError::Head {
                limit: limits.head_bytes,
            })
        }
    }

    /// Takes the line `head[self.line..end]` to the index.
    fn index(&mut self, head: &[u8], end: usize) {
        let continues = matches!(head[self.line], b' ' | b'\t');
        if self.lines == 1 {
            self.start_line = end as u32;
            self.fields = Fields::with_capacity(USUAL_FIELDS);
        } else if !continues && let Some(field) = Field::read(head, self.line, end) {
            self.fields.push(field);
        } else if continues
            && self.malformed_line.is_none()
            && let Some(field) = self.fields.last_mut()
        {
            field.fold(&head[..end]);
        } else {
            self.malformed_line.get_or_insert(self.lines as u32);
        }
    }

    /// The one Content-Length of the head at hand.
    fn content_length(&self, head: &[u8], limits: &Limits) -> Result<usize, FramingError> {
        let field = self
            .fields
            .first(Known::ContentLength)
            .ok_or(FramingError::NoContentLength)?;
        if self.fields.is_repeated(Known::ContentLength) {
            return Err(FramingError::ContentLengths);
        }
        let length = lex::number(field.value(head), u32::MAX).ok_or(FramingError::ContentLength)?;
        if length as usize > limits.body_bytes {
            return Err(FramingError::Body {
                length,
                limit: limits.body_bytes,
            });
        }
        Ok(length as usize)
    }

    /// The message that was found in `bytes`, and a fresh start.
    fn take(&mut self, bytes: Bytes, head: usize) -> Message {
        let scan = std::mem::take(self);
        Message {
            body: bytes.slice(head..),
            bytes,
            head_end: head as u32,
            fields: scan.fields,
            start_line: scan.start_line,
            malformed_line: scan.malformed_line,
        }
    }
}

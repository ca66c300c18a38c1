//! Bytes in any split become messages: framing by Content-Length, RFC 3261 18.3.
//!
//! Not here: what the headers say. Every byte is looked at once, however the stream was cut.

use bytes::Bytes;

use crate::field::{Field, Known};
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
    /// [`Limits::transaction_life`] went by and the message is still not whole.
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

/// Turns the bytes of one stream into frames.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// The bytes of a message that is not whole yet, from its first on.
    partial: Vec<u8>,
    scan: Scan,
    /// How much of CRLFCRLF has been seen between messages.
    line_ends: usize,
    lost: bool,
}

/// A double CRLF.
const PING: &[u8] = b"\r\n\r\n";

/// Heads are indexed with 32 bits; no configuration needs more than this.
const HEAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A buffer that grew past this for one large message is given back.
const RETAINED_BYTES: usize = 16 * 1024;

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
            partial: Vec::new(),
            scan: Scan::default(),
            line_ends: 0,
            lost: false,
        }
    }

    /// Takes what came and calls `emit` for every frame that it completes. Holds on to what is left: at most a head, a
    /// body and one piece. After [`Frame::Refused`] nothing is read any more.
    pub fn decode(&mut self, bytes: &[u8], mut emit: impl FnMut(Frame)) {
        if self.lost {
            return;
        }
        if self.partial.is_empty() {
            let taken = self.frames(bytes, &mut emit);
            self.partial.extend_from_slice(&bytes[taken..]);
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(bytes);
            let taken = self.frames(&partial, &mut emit);
            partial.drain(..taken);
            self.partial = partial;
        }
        if self.partial.capacity() > RETAINED_BYTES && self.partial.len() <= RETAINED_BYTES {
            self.partial.shrink_to(RETAINED_BYTES);
        }
    }

    /// Emits what is whole in `input`, and returns how much of it is not needed any more.
    fn frames(&mut self, input: &[u8], emit: &mut impl FnMut(Frame)) -> usize {
        let mut rest = input;
        while !rest.is_empty() {
            let step = match self.skip_line_ends(&mut rest, emit) {
                Ok(()) => self.scan.advance(rest, &self.limits),
                Err(error) => Step::Lost(error),
            };
            match step {
                Step::More => break,
                Step::Whole { head, message } => {
                    let (whole, behind) = rest.split_at(message);
                    rest = behind;
                    emit(Frame::Message(
                        self.scan.take(&whole[..head], &whole[head..]),
                    ));
                }
                Step::Lost(error) => {
                    emit(Frame::Refused(self.refuse(error, rest)));
                    return input.len();
                }
            }
        }
        input.len() - rest.len()
    }

    /// Whether a message has begun that is not whole yet.
    pub fn is_mid_message(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Stops waiting for the rest of the message that has begun.
    pub fn give_up(&mut self) -> Refusal {
        let partial = std::mem::take(&mut self.partial);
        self.refuse(FramingError::Stalled, &partial)
    }

    fn refuse(&mut self, error: FramingError, rest: &[u8]) -> Refusal {
        self.lost = true;
        let head = &rest[..self.scan.line];
        Refusal {
            error,
            message: self.scan.take(head, &[]),
        }
    }

    /// Skips CRLFs before a start line, RFC 3261 7.5.
    fn skip_line_ends(
        &mut self,
        rest: &mut &[u8],
        emit: &mut impl FnMut(Frame),
    ) -> Result<(), FramingError> {
        if self.scan.at > 0 {
            return Ok(());
        }
        while let Some((&byte, behind)) = rest.split_first() {
            if byte != PING[self.line_ends] {
                let after_cr = self.line_ends % 2 == 1;
                self.line_ends = 0;
                return if after_cr {
                    Err(FramingError::LineEnd)
                } else {
                    Ok(())
                };
            }
            *rest = behind;
            self.line_ends = (self.line_ends + 1) % PING.len();
            if self.line_ends == 0 {
                emit(Frame::Ping);
            }
        }
        Ok(())
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
    fields: Vec<Field>,
    malformed_line: Option<u32>,
    /// The end of the head and of the message, once the head is whole.
    ends: Option<(usize, usize)>,
}

enum Step {
    More,
    Whole { head: usize, message: usize },
    Lost(FramingError),
}

impl Scan {
    /// Looks at what is new in `message`, which may be empty.
    fn advance(&mut self, message: &[u8], limits: &Limits) -> Step {
        let (head, end) = match self.ends {
            Some(ends) => ends,
            None => match self.head(message, limits) {
                Ok(Some(ends)) => *self.ends.insert(ends),
                Ok(None) => return Step::More,
                Err(error) => return Step::Lost(error),
            },
        };
        if message.len() < end {
            Step::More
        } else {
            Step::Whole { head, message: end }
        }
    }

    /// Finds the lines of the head, up to the empty one.
    fn head(
        &mut self,
        message: &[u8],
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, FramingError> {
        let too_large = FramingError::Head {
            limit: limits.head_bytes,
        };
        while let Some(found) = memchr::memchr2(b'\r', b'\n', &message[self.at..]) {
            let end = self.at + found;
            if message[end] == b'\n' {
                return Err(FramingError::LineEnd);
            }
            match message.get(end + 1) {
                None => {
                    self.at = end;
                    return if end >= limits.head_bytes {
                        Err(too_large)
                    } else {
                        Ok(None)
                    };
                }
                Some(b'\n') => {}
                Some(_) => return Err(FramingError::LineEnd),
            }
            if end + 2 > limits.head_bytes {
                return Err(too_large);
            }
            if end == self.line {
                let length = self.content_length(message, limits)?;
                self.line = end + 2;
                return Ok(Some((end + 2, end + 2 + length)));
            }
            self.lines += 1;
            if self.lines > limits.head_lines {
                return Err(FramingError::Lines {
                    limit: limits.head_lines,
                });
            }
            self.line(message, end);
            self.line = end + 2;
            self.at = end + 2;
        }
        self.at = message.len();
        if self.at > limits.head_bytes {
            Err(too_large)
        } else {
            Ok(None)
        }
    }

    /// Takes the line `message[self.line..end]` to the index.
    fn line(&mut self, message: &[u8], end: usize) {
        let continues = matches!(message[self.line], b' ' | b'\t');
        if self.lines == 1 {
            self.start_line = end as u32;
            self.fields.reserve(USUAL_FIELDS);
        } else if !continues && let Some(field) = Field::read(message, self.line, end) {
            self.fields.push(field);
        } else if continues
            && self.malformed_line.is_none()
            && let Some(field) = self.fields.last_mut()
        {
            field.fold(end);
        } else {
            self.malformed_line.get_or_insert(self.lines as u32);
        }
    }

    /// The one Content-Length of the head at hand.
    fn content_length(&self, head: &[u8], limits: &Limits) -> Result<usize, FramingError> {
        let mut all = self
            .fields
            .iter()
            .filter(|field| field.known == Known::ContentLength);
        let field = all.next().ok_or(FramingError::NoContentLength)?;
        if all.next().is_some() {
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

    /// The message that was found, in memory of its own, and a fresh start.
    fn take(&mut self, head: &[u8], body: &[u8]) -> Message {
        let scan = std::mem::take(self);
        Message {
            head: head.into(),
            body: Bytes::copy_from_slice(body),
            fields: scan.fields,
            start_line: scan.start_line,
            malformed_line: scan.malformed_line,
        }
    }
}

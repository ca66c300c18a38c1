//! What a request is answered with, and its form on the wire.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;

use crate::field::{Field, Known};
use crate::request::Request;
use crate::via;

/// A final answer. What identifies the transaction (Via, From, To, Call-ID, CSeq) is added when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    reason: Option<Cow<'static, str>>,
    warning: Option<(Cow<'static, str>, Cow<'static, str>)>,
    retry_after: Option<u32>,
    fields: Vec<(&'static str, Cow<'static, str>)>,
}

/// What this server takes, for Allow.
pub(crate) const ALLOW: &str = "MESSAGE, OPTIONS";

/// How every answer ends.
const NO_BODY: &[u8] = b"Content-Length: 0\r\n\r\n";

/// Longer reasons are cut: one line in an operator's log.
const REASON_CHARACTERS: usize = 200;

impl Answer {
    /// An answer with this status and nothing else. 200 to 699, and never 408, which means nothing to a request that is
    /// no INVITE (RFC 4320 4.2).
    pub fn new(status: u16) -> Self {
        debug_assert!((200..700).contains(&status) && status != 408);
        Answer {
            status,
            reason: None,
            warning: None,
            retry_after: None,
            fields: Vec::new(),
        }
    }

    /// 200.
    pub fn ok() -> Self {
        Answer::new(200)
    }

    /// 200 to an OPTIONS, RFC 3261 11.2. Replace the `Accept` where it is known what bodies can be read.
    pub fn options() -> Self {
        Answer::ok()
            .field("Allow", ALLOW)
            .field("Accept", "*/*")
            .field("Accept-Encoding", "identity")
            .field("Supported", "")
    }

    /// Why: `ms-diagnostics-public: 2;reason="…"`, which Lync and Skype for Business show to their operator. 2 is
    /// Microsoft's own "see response code and reason phrase". Past 200 characters it is cut.
    pub fn reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// `Warning: 399 agent "text"`, RFC 3261 20.43. `agent` is our host name.
    pub fn warning(
        mut self,
        agent: impl Into<Cow<'static, str>>,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.warning = Some((agent.into(), text.into()));
        self
    }

    /// `Retry-After`, in seconds.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// A further header; takes the place of an earlier one of the same name.
    pub fn field(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.fields
            .retain(|(have, _)| !have.eq_ignore_ascii_case(name));
        self.fields.push((name, value.into()));
        self
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The reason, uncut; empty where none was given.
    pub fn reason_text(&self) -> &str {
        self.reason.as_deref().unwrap_or_default()
    }

    /// `SIP/2.0 200 OK`.
    pub(crate) fn write_status_line(&self, out: &mut BytesMut) {
        if self.status == 200 {
            out.extend_from_slice(b"SIP/2.0 200 OK\r\n");
            return;
        }
        out.extend_from_slice(b"SIP/2.0 ");
        write_number(out, self.status.into());
        out.extend_from_slice(b" ");
        out.extend_from_slice(phrase(self.status).as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// Everything behind the headers that are copied from the request.
    pub(crate) fn write_rest(&self, out: &mut BytesMut) {
        for (name, value) in &self.fields {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend(
                value
                    .bytes()
                    .map(|byte| if byte.is_ascii_control() { b' ' } else { byte }),
            );
            out.extend_from_slice(b"\r\n");
        }
        if let Some((agent, text)) = &self.warning {
            out.extend_from_slice(b"Warning: 399 ");
            out.extend(agent.bytes().filter(u8::is_ascii_graphic));
            out.extend_from_slice(b" \"");
            write_quoted(out, text);
            out.extend_from_slice(b"\"\r\n");
        }
        if let Some(seconds) = self.retry_after {
            out.extend_from_slice(b"Retry-After: ");
            write_number(out, seconds);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(reason) = &self.reason {
            out.extend_from_slice(b"ms-diagnostics-public: 2;reason=\"");
            write_quoted(out, reason);
            out.extend_from_slice(b"\"\r\n");
        }
        out.extend_from_slice(NO_BODY);
    }
}

/// What is sent, line by line, without what is copied from the request and without the last line of the head.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = BytesMut::new();
        self.write_status_line(&mut out);
        self.write_rest(&mut out);
        out.truncate(out.len() - NO_BODY.len());
        let text = String::from_utf8_lossy(&out);
        f.write_str(&text.trim_end_matches("\r\n").replace("\r\n", "\n"))
    }
}

/// Who is at the other end, as the topmost Via is told.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    address: IpAddr,
    /// The address as `received` has it, without brackets.
    text: String,
    port: u16,
}

impl Hop {
    pub(crate) fn new(peer: SocketAddr) -> Self {
        let address = peer.ip().to_canonical();
        Hop {
            address,
            text: address.to_string(),
            port: peer.port(),
        }
    }

    /// Whether the host of sent-by is this peer's address.
    fn is(&self, host: &[u8]) -> bool {
        if host == self.text.as_bytes() {
            return true;
        }
        let Some(host) = host
            .strip_prefix(b"[")
            .and_then(|host| host.strip_suffix(b"]"))
        else {
            return false;
        };
        let address = std::str::from_utf8(host)
            .ok()
            .and_then(|host| host.parse::<Ipv6Addr>().ok());
        address.is_some_and(|address| address.to_canonical() == self.address)
    }
}

/// The Via lines of `request`, in order; the first says where it came from (RFC 3261 18.2.1, RFC 3581 4).
pub(crate) fn write_vias(out: &mut BytesMut, request: &Request, peer: &Hop) {
    let mut lines = request.known(Known::Via);
    if let Some(layout) = request.via_layout()
        && (layout.rport.is_some() || !peer.is(request.via_host()))
        && let Some(first) = lines.next()
    {
        out.extend_from_slice(b"Via: ");
        write_top_via(out, request.head(), first, &layout, peer);
        out.extend_from_slice(b"\r\n");
    }
    for line in lines {
        write_field(out, "Via: ", request.head(), line);
    }
}

/// The line whose hop is not where it says, or wants to know where it is.
fn write_top_via(out: &mut BytesMut, head: &[u8], line: &Field, via: &via::Layout, peer: &Hop) {
    let value = line.value(head);
    let last = via.last as usize;
    let mut written = 0;
    if let Some(rport) = via.rport {
        written = rport as usize;
        write_unfolded(out, &value[..written], line.folded);
        out.extend_from_slice(b"=");
        write_number(out, peer.port.into());
    }
    write_unfolded(out, &value[written..last], line.folded);
    if !via.received {
        out.extend_from_slice(b";received=");
        out.extend_from_slice(peer.text.as_bytes());
    }
    write_unfolded(out, &value[last..], line.folded);
}

/// The headers that are copied from the request, apart from Via. `tag` goes into a To that has none.
pub(crate) fn write_echo(out: &mut BytesMut, request: &Request, tag: u64) {
    let head = request.head();
    if let Some(from) = request.field(Known::From) {
        write_field(out, "From: ", head, from);
    }
    if let Some(to) = request.field(Known::To) {
        out.extend_from_slice(b"To: ");
        write_unfolded(out, to.value(head), to.folded);
        if request.to().tag().is_none() {
            out.extend_from_slice(b";tag=");
            write_hexadecimal(out, tag);
        }
        out.extend_from_slice(b"\r\n");
    }
    if let Some(call_id) = request.field(Known::CallId) {
        write_field(out, "Call-ID: ", head, call_id);
    }
    if let Some(cseq) = request.field(Known::CSeq) {
        write_field(out, "CSeq: ", head, cseq);
    }
}

fn write_field(out: &mut BytesMut, name: &str, head: &[u8], field: &Field) {
    if let Some(line) = field.plain_line(head) {
        out.extend_from_slice(line);
        return;
    }
    out.extend_from_slice(name.as_bytes());
    write_unfolded(out, field.value(head), field.folded);
    out.extend_from_slice(b"\r\n");
}

/// Folding is read and never written, RFC 3261 7.3.1: the white space that it comes with stays.
fn write_unfolded(out: &mut BytesMut, value: &[u8], folded: bool) {
    if folded {
        out.extend(
            value
                .iter()
                .copied()
                .filter(|byte| !matches!(byte, b'\r' | b'\n')),
        );
    } else {
        out.extend_from_slice(value);
    }
}

/// The inside of a quoted string: escaped, without control characters, cut.
fn write_quoted(out: &mut BytesMut, text: &str) {
    for character in text.chars().take(REASON_CHARACTERS) {
        match character {
            '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
            _ if character.is_control() => out.extend_from_slice(b" "),
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn write_number(out: &mut BytesMut, mut number: u32) {
    let mut digits = [0; 10];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn write_hexadecimal(out: &mut BytesMut, number: u64) {
    let digits: [u8; 16] = std::array::from_fn(|at| {
        let digit = (number >> (60 - 4 * at)) as usize & 0xf;
        b"0123456789abcdef"[digit]
    });
    out.extend_from_slice(&digits);
}

/// The reason phrase, RFC 3261 21 and RFC 3428. (rsip's names lack 202, call 201 Accepted, and have no spaces.)
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        486 => "Busy Here",
        488 => "Not Acceptable Here",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        _ => match status / 100 {
            2 => "Success",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}

//! A peer that a test plays: it owns the clock, sends bytes, sees what comes out and answers as it is told.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pushrelay_sip::{Answer, CloseReason, Connection, Decoder, Frame, Limits, Output, Request};

pub(crate) struct Peer {
    pub(crate) connection: Connection,
    pub(crate) now: Instant,
    /// What was handed out and not answered yet.
    pub(crate) requests: Vec<Request>,
    pub(crate) transmitted: Vec<u8>,
    pub(crate) refused: Vec<(u16, String)>,
    pub(crate) closed: Option<CloseReason>,
}

impl Peer {
    pub(crate) fn new() -> Self {
        Peer::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        Peer::at(limits, ([192, 0, 2, 10], 49812).into())
    }

    pub(crate) fn at(limits: Limits, address: SocketAddr) -> Self {
        Peer {
            connection: Connection::new(limits, address, 7),
            now: origin(),
            requests: Vec::new(),
            transmitted: Vec::new(),
            refused: Vec::new(),
            closed: None,
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.connection.receive(bytes.as_ref(), self.now);
        self.collect();
        self
    }

    pub(crate) fn wait(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.connection.handle_timeout(self.now);
        self.collect();
        self
    }

    /// Answers everything that waits, as the relay does: a fault first.
    pub(crate) fn answer_all(&mut self, answer: &Answer) -> &mut Self {
        for request in std::mem::take(&mut self.requests) {
            let fault = request.fault().map(|fault| fault.answer());
            self.connection
                .respond(request.key(), fault.as_ref().unwrap_or(answer), self.now);
        }
        self.collect();
        self
    }

    /// Takes what was transmitted since the last time, as text.
    pub(crate) fn take_text(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.transmitted)).into_owned()
    }

    /// Takes the answers that were transmitted since the last time.
    pub(crate) fn take_answers(&mut self) -> Vec<Response> {
        responses(&std::mem::take(&mut self.transmitted))
    }

    /// The one answer that was transmitted since the last time.
    pub(crate) fn take_answer(&mut self) -> Response {
        let mut answers = self.take_answers();
        assert_eq!(answers.len(), 1, "one answer is due");
        answers.remove(0)
    }

    fn collect(&mut self) {
        while let Some(output) = self.connection.poll_output() {
            assert_eq!(self.closed, None, "Close comes last");
            match output {
                Output::Transmit(bytes) => self.transmitted.extend_from_slice(&bytes),
                Output::Request(request) => self.requests.push(request),
                Output::Refused { status, reason } => self.refused.push((status, reason)),
                Output::Close(reason) => self.closed = Some(reason),
            }
        }
    }
}

/// An answer as the peer reads it.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Response {
    /// The values of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let of = |line: &'_ str| {
            line.split_once(':')
                .is_some_and(|(have, _)| have.eq_ignore_ascii_case(name))
        };
        let lines = self.text.split("\r\n").filter(|line| of(line));
        lines
            .filter_map(|line| line.split_once(':'))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The value of a header that stands once.
    pub(crate) fn one(&self, name: &str) -> &str {
        let all = self.all(name);
        assert_eq!(all.len(), 1, "{name} in {}", self.text);
        all[0]
    }
}

/// Reads what a server sent with a decoder of its own.
pub(crate) fn responses(bytes: &[u8]) -> Vec<Response> {
    let mut decoder = Decoder::new(Limits {
        head_bytes: 1 << 20,
        head_lines: 1 << 16,
        ..Limits::default()
    });
    decoder.feed(bytes);
    let mut found = Vec::new();
    while let Some(frame) = decoder.poll() {
        match frame {
            Frame::Message(message) => {
                assert!(message.is_response());
                let line = String::from_utf8_lossy(message.start_line()).into_owned();
                let fields = message
                    .lines()
                    .map(|line| String::from_utf8_lossy(line).into_owned());
                let text = [line.clone()]
                    .into_iter()
                    .chain(fields)
                    .collect::<Vec<_>>()
                    .join("\r\n");
                found.push(Response {
                    status: line.split(' ').nth(1).unwrap().parse().unwrap(),
                    text,
                });
            }
            Frame::Ping => panic!("a server sends no pings"),
            Frame::Refused(refusal) => panic!("an answer that cannot be framed: {}", refusal.error),
        }
    }
    assert!(!decoder.is_mid_message(), "an answer that is not whole");
    found
}

/// A time to begin with: an `Instant` has no other origin.
#[allow(clippy::disallowed_methods)]
pub(crate) fn origin() -> Instant {
    Instant::now()
}

/// A MESSAGE without faults; `{n}` makes it another transaction of another call.
pub(crate) fn message(n: u32) -> String {
    format!(
        "MESSAGE sip:push@push.example.org SIP/2.0\r\n\
         Via: SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK{n}\r\n\
         Max-Forwards: 68\r\n\
         From: \"Kim Akers\"<sip:kima@contoso.example>;tag=dfac414f0f;epid=ce4ccd49ad\r\n\
         To: <sip:push@push.example.org>\r\n\
         Call-ID: cecb8c21ba01462a90f2f723{n:08x}\r\n\
         CSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain\r\n\
         Content-Length: 5\r\n\r\nhello"
    )
}

/// [`message`] with a header line replaced, or left out when `line` is empty.
pub(crate) fn message_with(name: &str, line: &str) -> String {
    let text = message(1);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let is_this = |have: &str| {
        have.split_once(':')
            .is_some_and(|(have, _)| have.eq_ignore_ascii_case(name))
    };
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    match lines.iter().skip(1).position(|have| is_this(have)) {
        Some(at) if line.is_empty() => drop(lines.remove(at + 1)),
        Some(at) => lines[at + 1] = line,
        None if line.is_empty() => panic!("no {name} to leave out"),
        None => lines.push(line),
    }
    lines.join("\r\n") + "\r\n\r\n" + body
}

//! What the head of a request says: its start line, the headers that identify it, and the first thing that is wrong.

use crate::fault::Fault;
use crate::field::Known;
use crate::lex::{self, LWS, Span, TOKEN};
use crate::message::Message;
use crate::name_addr::{self, NameAddr};
use crate::uri::{self, SipUriError};
use crate::via;

/// Places in a [`Message`]: fields by their index. What is missing or cannot be read is `None` or empty.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The end of the method, which the start line begins with.
    method: u32,
    uri: Span,
    pub(crate) uri_layout: Result<uri::Layout, SipUriError>,
    pub(crate) via_layout: Option<via::Layout>,
    pub(crate) from_layout: name_addr::Layout,
    pub(crate) to_layout: name_addr::Layout,
    pub(crate) cseq_number: u32,
    /// The length of the method at the end of CSeq.
    pub(crate) cseq_method: u32,
    /// Everything by which a retransmission is recognised has been read.
    pub(crate) is_identified: bool,
}

/// RFC 3261 8.1.1.5: less than 2^31.
const CSEQ_MAX: u32 = (1 << 31) - 1;

/// RFC 3261 20.22.
const MAX_FORWARDS_MAX: u32 = 255;

impl Head {
    /// Reads the head of `message`, and what is wrong with it. Syntax comes first, then the checks of RFC 3261 8.2 in
    /// their order.
    pub(crate) fn read(message: &Message) -> (Head, Option<Box<Fault>>) {
        let mut head = Head {
            method: 0,
            uri: Span::default(),
            uri_layout: Err(SipUriError::Scheme),
            via_layout: None,
            from_layout: name_addr::Layout::default(),
            to_layout: name_addr::Layout::default(),
            cseq_number: 0,
            cseq_method: 0,
            is_identified: false,
        };
        let fault = head.read_syntax(message).or_else(|| head.inspect(message));
        (head, fault.map(Box::new))
    }

    pub(crate) fn method<'a>(&self, message: &'a Message) -> &'a [u8] {
        &message.head()[..self.method as usize]
    }

    pub(crate) fn uri<'a>(&self, message: &'a Message) -> &'a [u8] {
        self.uri.of(message.head())
    }

    /// What a request keeps on every way that it takes, besides CSeq: its From tag (RFC 2543: its From) and its Call-ID.
    pub(crate) fn identity<'a>(&self, message: &'a Message) -> (&'a [u8], &'a [u8]) {
        let from = message.value(Known::From).unwrap_or_default();
        let tag = NameAddr::new(from, self.from_layout).tag();
        let call_id = message.value(Known::CallId).unwrap_or_default();
        (tag.unwrap_or(from), call_id)
    }

    /// Reads all that can be read, however much is wrong, so that an answer can be made; returns the first fault.
    fn read_syntax(&mut self, message: &Message) -> Option<Fault> {
        let start_line = self.read_start_line(message.start_line());
        let headers = [
            ("Via", self.read_via(message)),
            ("From", self.read_from(message)),
            ("To", self.read_to(message)),
            ("Call-ID", self.read_call_id(message)),
            ("CSeq", self.read_cseq(message)),
        ];
        if let Err(fault) = start_line {
            return Some(fault);
        }
        if let Some(line) = message.malformed_line {
            let reason = format!("line {line} of the head is no header line");
            return Some(Fault::new(400, reason));
        }
        if let Some(name) = message.fields.wrongly_repeated() {
            return Some(Fault::malformed(name, "more than one"));
        }
        for (name, read) in headers {
            if let Err(what) = read {
                return Some(Fault::malformed(name, what));
            }
        }
        self.is_identified = true;
        let max_forwards = message.value(Known::MaxForwards)?;
        if lex::number(max_forwards, MAX_FORWARDS_MAX).is_some() {
            return None; // 0 too: we are where it goes, RFC 3261 8.1.1.6
        }
        Some(Fault::malformed(
            "Max-Forwards",
            "expected a number up to 255",
        ))
    }

    fn read_start_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let malformed = |what| Err(Fault::malformed("start line", what));
        let method = lex::skip(line, 0, TOKEN);
        self.method = method as u32;
        if method == 0 || line.get(method) != Some(&b' ') {
            return malformed("expected a method and one space");
        }
        let uri = method + 1;
        let Some(length) = memchr::memchr(b' ', &line[uri..]) else {
            return malformed("expected method, Request-URI and SIP/2.0");
        };
        self.uri = Span::new(uri, uri + length);
        let (uri, version) = (self.uri.of(line), &line[uri + length + 1..]);
        if uri.is_empty() || version.is_empty() || lex::find(version, 0, LWS) < version.len() {
            return malformed(
                "expected single spaces, and none inside the Request-URI or at the end",
            );
        }
        if uri[0] == b'<' {
            return malformed("the Request-URI stands in angle brackets");
        }
        self.uri_layout = uri::Layout::read(uri);
        if lex::is_name(version, b"SIP/2.0") {
            return Ok(());
        }
        match version.get(..4) {
            Some(name) if name.eq_ignore_ascii_case(b"SIP/") => {
                Err(Fault::new(505, "only SIP/2.0 is spoken here"))
            }
            _ => malformed("expected SIP/2.0 at its end"),
        }
    }

    fn read_via(&mut self, message: &Message) -> Result<(), &'static str> {
        let value = message.value(Known::Via).ok_or(MISSING)?;
        self.via_layout = Some(via::Layout::read(value)?);
        Ok(())
    }

    fn read_from(&mut self, message: &Message) -> Result<(), &'static str> {
        let value = message.value(Known::From).ok_or(MISSING)?;
        self.from_layout = name_addr::Layout::read(value)?;
        Ok(())
    }

    fn read_to(&mut self, message: &Message) -> Result<(), &'static str> {
        let value = message.value(Known::To).ok_or(MISSING)?;
        self.to_layout = name_addr::Layout::read(value)?;
        Ok(())
    }

    fn read_call_id(&self, message: &Message) -> Result<(), &'static str> {
        let call_id = message.value(Known::CallId).ok_or(MISSING)?;
        if call_id.is_empty() {
            return Err("empty");
        }
        // No early end: so the compiler looks at many bytes at once.
        let is_blank = |found, &byte: &u8| found | (byte <= b' ') | (byte == 0x7f);
        if call_id.iter().fold(false, is_blank) {
            return Err("white space or a control character inside");
        }
        Ok(())
    }

    fn read_cseq(&mut self, message: &Message) -> Result<(), &'static str> {
        const EXPECTED: &str = "expected a number below 2^31 and a method";
        let value = message.value(Known::CSeq).ok_or(MISSING)?;
        let digits = lex::find(value, 0, LWS);
        let number = lex::number(&value[..digits], CSEQ_MAX).ok_or(EXPECTED)?;
        let method = &value[lex::skip_lws(value, digits)..];
        if method != self.method(message) {
            return Err(if lex::is_token(method) {
                "its method is not that of the start line"
            } else {
                EXPECTED
            });
        }
        (self.cseq_number, self.cseq_method) = (number, method.len() as u32);
        Ok(())
    }

    /// The checks of RFC 3261 8.2 on a request whose syntax is right.
    fn inspect(&self, message: &Message) -> Option<Fault> {
        match self.uri_layout {
            Err(SipUriError::Malformed(what)) => {
                return Some(Fault::malformed("Request-URI", what));
            }
            Ok(uri) if uri.has_headers() => {
                return Some(Fault::malformed("Request-URI", "headers behind a ?"));
            }
            _ => {}
        }
        if !matches!(self.method(message), b"MESSAGE" | b"OPTIONS") {
            return Some(Fault::method());
        }
        if self.uri_layout.is_err() {
            return Some(Fault::new(
                416,
                "Request-URI: expected the scheme sip or sips",
            ));
        }
        if self.to_layout.has_tag() {
            return Some(Fault::new(
                481,
                "To: the tag names a dialog, and there are none here",
            ));
        }
        if message.fields.first(Known::Require).is_some() {
            return Some(Fault::extension(message.values(Known::Require)));
        }
        message.fields.first(Known::ContentEncoding)?;
        let is_foreign =
            |coding: &[u8]| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity");
        message
            .values(Known::ContentEncoding)
            .any(is_foreign)
            .then(Fault::encoding)
    }
}

const MISSING: &str = "missing";

//! What the head of a request says: its start line, the headers that identify it, and the first thing that is wrong.

use crate::fault::Fault;
use crate::field::Known;
use crate::lex;
use crate::message::Message;
use crate::name_addr::{self, NameAddr};
use crate::uri::{SipUri, SipUriError};
use crate::via;

/// Places in a [`Message`]: fields by their index. What is missing or cannot be read is `None` or empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// The end of the method, which the start line begins with.
    pub(crate) method: u32,
    pub(crate) uri: (u32, u32),
    pub(crate) via: Option<u32>,
    pub(crate) via_layout: Option<via::Layout>,
    pub(crate) from: Option<u32>,
    pub(crate) from_layout: name_addr::Layout,
    pub(crate) to: Option<u32>,
    pub(crate) to_layout: name_addr::Layout,
    pub(crate) call_id: Option<u32>,
    pub(crate) cseq: Option<u32>,
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
    pub(crate) fn read(message: &Message) -> (Head, Option<Fault>) {
        let mut head = Head::default();
        let fault = head.read_syntax(message).or_else(|| head.inspect(message));
        (head, fault)
    }

    pub(crate) fn method<'a>(&self, message: &'a Message) -> &'a [u8] {
        &message.head[..self.method as usize]
    }

    pub(crate) fn uri<'a>(&self, message: &'a Message) -> &'a [u8] {
        &message.head[self.uri.0 as usize..self.uri.1 as usize]
    }

    /// What a request keeps on every way that it takes, besides CSeq: its From tag (RFC 2543: its From) and its Call-ID.
    pub(crate) fn identity<'a>(&self, message: &'a Message) -> (&'a [u8], &'a [u8]) {
        let from = value(message, self.from).unwrap_or_default();
        let tag = NameAddr::new(from, self.from_layout).tag();
        (
            tag.unwrap_or(from),
            value(message, self.call_id).unwrap_or_default(),
        )
    }

    /// Reads all that can be read, however much is wrong, so that an answer can be made; returns the first fault.
    fn read_syntax(&mut self, message: &Message) -> Option<Fault> {
        let mut fault = self.read_start_line(message.start_line()).err();
        let mut note = |found: Result<(), Fault>| fault = fault.take().or(found.err());
        if let Some(line) = message.malformed_line {
            note(Err(Fault::new(
                400,
                format!("line {line} of the head is no header line"),
            )));
        }
        let first = First::of(message);
        if let Some(name) = first.repeated {
            note(Err(Fault::malformed(name, "more than one")));
        }
        (self.call_id, self.cseq) = (first.get(Known::CallId), first.get(Known::CSeq));
        (self.from, self.to, self.via) = (
            first.get(Known::From),
            first.get(Known::To),
            first.get(Known::Via),
        );
        note(
            self.read_via(message)
                .map_err(|what| Fault::malformed("Via", what)),
        );
        note(
            self.read_from(message)
                .map_err(|what| Fault::malformed("From", what)),
        );
        note(
            self.read_to(message)
                .map_err(|what| Fault::malformed("To", what)),
        );
        note(
            self.read_call_id(message)
                .map_err(|what| Fault::malformed("Call-ID", what)),
        );
        note(
            self.read_cseq(message)
                .map_err(|what| Fault::malformed("CSeq", what)),
        );
        self.is_identified = fault.is_none();
        fault.or_else(|| read_max_forwards(message, &first).err())
    }

    fn read_start_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let malformed = |what| Err(Fault::malformed("start line", what));
        self.method = lex::skip_token(line, 0) as u32;
        let method = self.method as usize;
        if method == 0 || line.get(method) != Some(&b' ') {
            return malformed("expected a method and one space");
        }
        let uri = method + 1;
        let Some(length) = memchr::memchr(b' ', &line[uri..]) else {
            return malformed("expected method, Request-URI and SIP/2.0");
        };
        self.uri = (uri as u32, (uri + length) as u32);
        let (uri, version) = (&line[uri..uri + length], &line[uri + length + 1..]);
        if uri.is_empty() || version.is_empty() || version.iter().any(|&byte| lex::is_lws(byte)) {
            return malformed(
                "expected single spaces, and none inside the Request-URI or at the end",
            );
        }
        if uri[0] == b'<' {
            return malformed("the Request-URI stands in angle brackets");
        }
        if version.eq_ignore_ascii_case(b"SIP/2.0") {
            return Ok(());
        }
        if version
            .get(..4)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"SIP/"))
        {
            return Err(Fault::new(505, "only SIP/2.0 is spoken here"));
        }
        malformed("expected SIP/2.0 at its end")
    }

    fn read_via(&mut self, message: &Message) -> Result<(), &'static str> {
        let value = value(message, self.via)?;
        self.via_layout = Some(via::Layout::read(value)?);
        Ok(())
    }

    fn read_from(&mut self, message: &Message) -> Result<(), &'static str> {
        self.from_layout = name_addr::Layout::read(value(message, self.from)?)?;
        Ok(())
    }

    fn read_to(&mut self, message: &Message) -> Result<(), &'static str> {
        self.to_layout = name_addr::Layout::read(value(message, self.to)?)?;
        Ok(())
    }

    fn read_call_id(&self, message: &Message) -> Result<(), &'static str> {
        let call_id = value(message, self.call_id)?;
        if call_id.is_empty() {
            return Err("empty");
        }
        if call_id.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
            return Err("white space or a control character inside");
        }
        Ok(())
    }

    fn read_cseq(&mut self, message: &Message) -> Result<(), &'static str> {
        let value = value(message, self.cseq)?;
        let digits = value
            .iter()
            .position(|&byte| lex::is_lws(byte))
            .ok_or("expected a number and a method")?;
        let number =
            lex::number(&value[..digits], CSEQ_MAX).ok_or("expected a number below 2^31")?;
        let method = &value[lex::skip_lws(value, digits)..];
        if !lex::is_token(method) {
            return Err("expected a number and a method");
        }
        if method != self.method(message) {
            return Err("its method is not that of the start line");
        }
        (self.cseq_number, self.cseq_method) = (number, method.len() as u32);
        Ok(())
    }

    /// The checks of RFC 3261 8.2 on a request whose syntax is right.
    fn inspect(&self, message: &Message) -> Option<Fault> {
        let uri = SipUri::parse(self.uri(message));
        if let Err(SipUriError::Malformed(what)) = uri {
            return Some(Fault::malformed("Request-URI", what));
        }
        if uri.is_ok_and(|uri| uri.headers().is_some()) {
            return Some(Fault::malformed("Request-URI", "headers behind a ?"));
        }
        if !matches!(self.method(message), b"MESSAGE" | b"OPTIONS") {
            return Some(Fault::method());
        }
        if uri.is_err() {
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
        if message.known(Known::Require).next().is_some() {
            let lines = message
                .known(Known::Require)
                .map(|field| field.value(&message.head));
            return Some(Fault::extension(lines));
        }
        let mut encodings = message
            .known(Known::ContentEncoding)
            .map(|field| field.value(&message.head));
        let is_foreign =
            |encoding: &[u8]| !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity");
        encodings.any(is_foreign).then(Fault::encoding)
    }
}

fn read_max_forwards(message: &Message, first: &First) -> Result<(), Fault> {
    let Some(index) = first.get(Known::MaxForwards) else {
        return Ok(());
    };
    let value = message.fields[index as usize].value(&message.head);
    match lex::number(value, MAX_FORWARDS_MAX) {
        Some(_) => Ok(()), // 0 too: we are where it goes, RFC 3261 8.1.1.6
        None => Err(Fault::malformed(
            "Max-Forwards",
            "expected a number up to 255",
        )),
    }
}

fn value(message: &Message, field: Option<u32>) -> Result<&[u8], &'static str> {
    field
        .map(|index| message.fields[index as usize].value(&message.head))
        .ok_or("missing")
}

/// The first field of each kind.
struct First {
    at: [u32; Known::Other as usize + 1],
    /// A header that may stand only once and stands more than once.
    repeated: Option<&'static str>,
}

const NOWHERE: u32 = u32::MAX;

impl First {
    fn of(message: &Message) -> First {
        let mut first = First {
            at: [NOWHERE; Known::Other as usize + 1],
            repeated: None,
        };
        for (index, field) in message.fields.iter().enumerate() {
            let at = &mut first.at[field.known as usize];
            if *at == NOWHERE {
                *at = index as u32;
            } else if let Some(name) = field.known.single() {
                first.repeated.get_or_insert(name);
            }
        }
        first
    }

    fn get(&self, known: Known) -> Option<u32> {
        let at = self.at[known as usize];
        (at != NOWHERE).then_some(at)
    }
}

//! A request: a message whose head has been read.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::fault::Fault;
use crate::field::{Field, Known};
use crate::head::Head;
use crate::lex;
use crate::message::Message;
use crate::name_addr::NameAddr;
use crate::transactions::TransactionKey;
use crate::uri::{SipUri, SipUriError};
use crate::via::{self, Via};

/// A request as it came, with its typed headers found. Cloning it copies nothing.
///
/// It holds on to the piece of the stream that it came in, some 16 KiB that it shares with its neighbours, and so does a
/// clone of its body: copy what is to be kept for long.
///
/// A faulty request is one too: what cannot be read is empty in it, and [`fault`](Request::fault) says why.
#[derive(Clone)]
pub struct Request(Arc<Inner>);

struct Inner {
    key: TransactionKey,
    message: Message,
    head: Head,
    fault: Option<Box<Fault>>,
}

/// How a branch of RFC 3261 begins, 8.1.1.7.
const COOKIE: &[u8] = b"z9hG4bK";

impl Request {
    pub(crate) fn new(
        key: TransactionKey,
        message: Message,
        head: Head,
        fault: Option<Box<Fault>>,
    ) -> Self {
        Request(Arc::new(Inner {
            key,
            message,
            head,
            fault,
        }))
    }

    /// Under which it is answered.
    pub fn key(&self) -> TransactionKey {
        self.0.key
    }

    /// The method, as it came: methods are compared with case.
    pub fn method(&self) -> &[u8] {
        self.0.head.method(&self.0.message)
    }

    /// Whether it is a MESSAGE, RFC 3428.
    pub fn is_message(&self) -> bool {
        self.method() == b"MESSAGE"
    }

    /// Whether it is an OPTIONS.
    pub fn is_options(&self) -> bool {
        self.method() == b"OPTIONS"
    }

    /// The Request-URI, as it came.
    pub fn uri(&self) -> &[u8] {
        self.0.head.uri(&self.0.message)
    }

    /// The Request-URI read as a SIP URI.
    pub fn request_uri(&self) -> Result<SipUri<'_>, SipUriError> {
        self.0
            .head
            .uri_layout
            .map(|layout| SipUri::new(self.uri(), layout))
    }

    /// Who it says it is from. TLS decides whether that is believed.
    pub fn from(&self) -> NameAddr<'_> {
        NameAddr::new(
            self.value(Known::From).unwrap_or_default(),
            self.0.head.from_layout,
        )
    }

    /// Whom it names as its destination; the Request-URI decides.
    pub fn to(&self) -> NameAddr<'_> {
        NameAddr::new(
            self.value(Known::To).unwrap_or_default(),
            self.0.head.to_layout,
        )
    }

    /// The Call-ID; empty where there is none.
    pub fn call_id(&self) -> &[u8] {
        self.value(Known::CallId).unwrap_or_default()
    }

    /// The number and the method of CSeq; 0 and nothing where they cannot be read.
    pub fn cseq(&self) -> (u32, &[u8]) {
        let method = self.0.head.cseq_method;
        (
            self.0.head.cseq_number,
            self.value(Known::CSeq)
                .map(|line| &line[line.len() - method as usize..])
                .unwrap_or_default(),
        )
    }

    /// The topmost Via: the hop that sent it to us. `None` where a faulty request has none.
    pub fn via(&self) -> Option<Via<'_>> {
        Some(Via::new(self.value(Known::Via)?, self.0.head.via_layout?))
    }

    /// The value of the first header of this name, long or compact, in any case. A folded value has its line ends inside.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.0.message.header(name)
    }

    /// The values of all headers of this name, in order, one for each line.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0.message.headers(name)
    }

    /// The body: as many bytes as Content-Length said.
    pub fn body(&self) -> &Bytes {
        self.0.message.body()
    }

    /// The Content-Type, as it came.
    pub fn content_type(&self) -> Option<&[u8]> {
        self.value(Known::ContentType)
    }

    /// Expires: how long the content is worth something, RFC 3428 5. `None` where it is missing or no number: what is
    /// malformed and not needed is ignored (RFC 3261 8.2).
    pub fn expires(&self) -> Option<Duration> {
        let seconds = lex::number(self.value(Known::Expires)?, u32::MAX)?;
        Some(Duration::from_secs(seconds.into()))
    }

    /// Date: when it was sent, by the sender's clock. `None` where it is missing or no date.
    pub fn date(&self) -> Option<SystemTime> {
        let text = std::str::from_utf8(self.value(Known::Date)?).ok()?;
        httpdate::parse_http_date(text).ok()
    }

    /// The first thing that is wrong with it.
    pub fn fault(&self) -> Option<&Fault> {
        self.0.fault.as_deref()
    }

    pub(crate) fn is_identified(&self) -> bool {
        self.0.head.is_identified
    }

    /// What tells the ways apart on which one request may come: RFC 3261 17.2.3 where the branch is one of RFC 3261, else
    /// RFC 2543's rule (the bare cookie is no branch: RFC 4475 3.2.1). The first two parts hold no white space.
    pub(crate) fn hop(&self) -> [&[u8]; 3] {
        let Some(via) = self.via() else {
            return [&[]; 3];
        };
        match via.branch() {
            Some(branch) if branch.len() > COOKIE.len() && branch.starts_with(COOKIE) => {
                [branch, via.host(), via.port_bytes()]
            }
            _ => [
                self.uri(),
                self.to().tag().unwrap_or_default(),
                via.as_bytes(),
            ],
        }
    }

    pub(crate) fn via_layout(&self) -> Option<via::Layout> {
        self.0.head.via_layout
    }

    /// The host that the topmost Via names; empty where there is none.
    pub(crate) fn via_host(&self) -> &[u8] {
        self.via().map(|via| via.host()).unwrap_or_default()
    }

    /// The first field of one kind.
    pub(crate) fn field(&self, known: Known) -> Option<&Field> {
        self.0.message.fields.first(known)
    }

    /// The fields of one kind, in order.
    pub(crate) fn known(&self, known: Known) -> impl Iterator<Item = &Field> {
        self.0.message.known(known)
    }

    /// Start line and header lines as they came, with the empty line at their end.
    pub fn head(&self) -> &[u8] {
        self.0.message.head()
    }

    /// The value of the first header of one kind.
    fn value(&self, known: Known) -> Option<&[u8]> {
        self.0.message.value(known)
    }
}

impl std::fmt::Debug for Request {
    /// What a log may show: no body, no headers but the Call-ID.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("method", &format_args!("{}", self.method().escape_ascii()))
            .field(
                "call_id",
                &format_args!("{}", self.call_id().escape_ascii()),
            )
            .field("body_bytes", &self.body().len())
            .field("fault", &self.fault().map(Fault::status))
            .finish()
    }
}

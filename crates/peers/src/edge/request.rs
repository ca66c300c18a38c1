//! Requests as an Access Edge sends them.
//!
//! Composed with rsip's header types; never parsed with them.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use rsip::Header;
use rsip::headers::{
    CSeq, CallId, ContentLength, ContentType, From, MaxForwards, RecordRoute, To, UntypedHeader,
    UserAgent, Via,
};

/// A request to be sent. Every field may be changed; the default shape is that of a MESSAGE that a front end has sent
/// through its Access Edge: three Via lines that do not stand together, Record-Route with `ms-route-sig`,
/// P-Asserted-Identity without a space, Call-ID without a host.
#[derive(Clone, Debug)]
pub struct SipRequest {
    /// The method.
    pub method: String,
    /// The Request-URI.
    pub uri: String,
    /// The topmost Via, without its name.
    pub via: String,
    /// The Via lines below, the newest first.
    pub more_vias: Vec<String>,
    /// The URI in From.
    pub from: String,
    /// The display name in From.
    pub display_name: Option<String>,
    /// The tag in From.
    pub from_tag: String,
    /// The whole To.
    pub to: String,
    /// The Call-ID.
    pub call_id: String,
    /// The number in CSeq.
    pub cseq: u32,
    /// Max-Forwards.
    pub max_forwards: u32,
    /// Further header fields, in their order, before Content-Type.
    pub fields: Vec<(String, String)>,
    /// The Content-Type; `None` leaves it out.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
    /// Whether the Microsoft fields of the default shape are there: Record-Route, User-Agent, P-Asserted-Identity.
    pub adorned: bool,
}

impl SipRequest {
    /// A MESSAGE from `user@domain` to `uri`, with a new Call-ID, From tag and branch.
    pub fn message(
        uri: &str,
        from: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> SipRequest {
        SipRequest {
            content_type: Some(content_type.to_owned()),
            body: body.into(),
            more_vias: vec![
                format!(
                    "SIP/2.0/TLS 10.0.0.21:50321;branch=z9hG4bK{};branched=FALSE;ms-received-port=50321;ms-received-cid=200",
                    unique(16)
                ),
                "SIP/2.0/TLS 10.0.0.20:50110;ms-received-port=50110;ms-received-cid=67F00"
                    .to_owned(),
            ],
            adorned: true,
            ..SipRequest::bare("MESSAGE", uri, from)
        }
    }

    /// A request with one Via and no body.
    pub fn bare(method: &str, uri: &str, from: &str) -> SipRequest {
        SipRequest {
            method: method.to_owned(),
            uri: uri.to_owned(),
            via: format!(
                "SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK{}.{};branched=FALSE",
                unique(8).to_uppercase(),
                unique(16).to_uppercase()
            ),
            more_vias: Vec::new(),
            from: from.to_owned(),
            display_name: None,
            from_tag: unique(10),
            to: format!("<{uri}>"),
            call_id: unique(32),
            cseq: 1,
            max_forwards: 68,
            fields: Vec::new(),
            content_type: None,
            body: Bytes::new(),
            adorned: false,
        }
    }

    /// The same with a topmost Via without a branch (RFC 2543), as a Lync front end writes it.
    pub fn branchless(mut self) -> SipRequest {
        self.via =
            "SIP/2.0/TLS 192.0.2.10:49812;ms-received-port=49812;ms-received-cid=1A00".to_owned();
        self
    }

    /// The same with one more header field.
    pub fn field(mut self, name: &str, value: &str) -> SipRequest {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The octets.
    pub fn encode(&self) -> Bytes {
        let headers = self.headers();
        let mut bytes = BytesMut::with_capacity(2048 + self.body.len());
        let head = format!("{} {} SIP/2.0\r\n{headers}\r\n", self.method, self.uri);
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes.freeze()
    }

    fn headers(&self) -> rsip::Headers {
        let mut headers = rsip::Headers::default();
        headers.push(Header::Via(Via::new(self.via.as_str())));
        if self.adorned {
            let host = self.from.rsplit('@').next().unwrap_or_default();
            headers.push(Header::RecordRoute(RecordRoute::new(format!(
                "<sip:sip.{host}:5061;transport=tls;ms-fe=fe01.{host};opaque=state:F:Ci.R67F00;lr;ms-route-sig={ROUTE_SIGNATURE}>"
            ))));
        }
        headers.push(Header::MaxForwards(MaxForwards::new(
            self.max_forwards.to_string(),
        )));
        for via in &self.more_vias {
            headers.push(Header::Via(Via::new(via.as_str())));
        }
        let name = self
            .display_name
            .as_ref()
            .map(|name| format!("\"{name}\""))
            .unwrap_or_default();
        headers.push(Header::From(From::new(format!(
            "{name}<{}>;tag={};epid=ce4ccd49ad",
            self.from, self.from_tag
        ))));
        headers.push(Header::To(To::new(self.to.as_str())));
        headers.push(Header::CallId(CallId::new(self.call_id.as_str())));
        headers.push(Header::CSeq(CSeq::new(format!(
            "{} {}",
            self.cseq, self.method
        ))));
        if self.adorned {
            headers.push(Header::UserAgent(UserAgent::new(
                "RTCC/5.0.0.0 McxService/5.0.0.0",
            )));
            headers.push(Header::Other(
                "P-ASSERTED-IDENTITY".to_owned(),
                format!("{name}<{}>", self.from),
            ));
        }
        for (name, value) in &self.fields {
            headers.push(Header::Other(name.clone(), value.clone()));
        }
        if let Some(content_type) = &self.content_type {
            headers.push(Header::ContentType(ContentType::new(content_type.as_str())));
        }
        headers.push(Header::ContentLength(ContentLength::new(
            self.body.len().to_string(),
        )));
        headers
    }
}

/// Lower-case hexadecimal digits that no other call in this process gives, and hardly one in another.
pub(crate) fn unique(digits: usize) -> String {
    static SEED: OnceLock<RandomState> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let word = |salt: u8| {
        let mut hasher = SEED.get_or_init(RandomState::new).build_hasher();
        hasher.write_u64(count);
        hasher.write_u8(salt);
        hasher.finish()
    };
    let mut text = format!("{:016x}{:016x}", word(0), word(1));
    text.truncate(digits);
    text
}

const ROUTE_SIGNATURE: &str = "aaUR3xP0bJqk1nQ7cGm8Yd2sVtL5wZ9fHhKj4eXoA";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &SipRequest) -> String {
        String::from_utf8_lossy(&request.encode()).into_owned()
    }

    #[test]
    fn a_message_has_the_shape_of_an_access_edge() {
        let request = SipRequest {
            display_name: Some("Kim Akers".to_owned()),
            ..SipRequest::message(
                "sip:push@push.example.org",
                "sip:kima@contoso.example",
                "text/plain",
                "hällo",
            )
        };
        let text = text(&request);
        let names: Vec<&str> = (text.lines().skip(1))
            .map_while(|line| line.split_once(": ").map(|(name, _)| name))
            .collect();
        assert_eq!(
            names,
            [
                "Via",
                "Record-Route",
                "Max-Forwards",
                "Via",
                "Via",
                "From",
                "To",
                "Call-ID",
                "CSeq",
                "User-Agent",
                "P-ASSERTED-IDENTITY",
                "Content-Type",
                "Content-Length"
            ]
        );
        assert!(text.starts_with("MESSAGE sip:push@push.example.org SIP/2.0\r\nVia: SIP/2.0/TLS "));
        assert!(text.contains("\r\nFrom: \"Kim Akers\"<sip:kima@contoso.example>;tag="));
        assert!(text.contains(";ms-route-sig="));
        assert!(text.ends_with("\r\nContent-Length: 6\r\n\r\nhällo"));
        assert_eq!(request.call_id.len(), 32);
    }

    #[test]
    fn a_branchless_via_has_no_branch_and_requests_differ() {
        let bare = || {
            SipRequest::bare(
                "OPTIONS",
                "sip:push.example.org",
                "sip:kima@contoso.example",
            )
        };
        assert!(!text(&bare().branchless()).contains("branch="));
        let (one, other) = (bare(), bare());
        assert_ne!(one.call_id, other.call_id);
        assert_ne!(one.from_tag, other.from_tag);
        assert_ne!(one.via, other.via);
    }

    #[test]
    fn a_field_of_ones_own_stands_before_the_content() {
        let request = SipRequest::bare("NEGOTIATE", "sip:127.0.0.1", "sip:a@b")
            .field("Compression", "LZ77-8K");
        assert!(text(&request).ends_with("\r\nCompression: LZ77-8K\r\nContent-Length: 0\r\n\r\n"));
    }
}

//! One MESSAGE as a Front End sends it, from its bytes to its answer.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use pushrelay_sip::{Answer, Connection, Limits, Output};

const MESSAGE: &[u8] = b"MESSAGE sip:push@push.example.org SIP/2.0\r\n\
Via: SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK0D6A9383.D119DEC5AC7C0F4E;branched=FALSE;ms-internal-info=\"ab;c\"\r\n\
Record-Route: <sip:sip.contoso.example:5061;transport=tls;lr;ms-route-sig=aaUR>\r\n\
Max-Forwards: 68\r\n\
Via: SIP/2.0/TLS 10.0.0.21:50321;branch=z9hG4bKC45BE092.1A435385;branched=FALSE;ms-received-port=50321\r\n\
Via: SIP/2.0/TLS 10.0.0.20:50110;ms-received-port=50110;ms-received-cid=67F00\r\n\
From: \"Kim Akers\"<sip:kima@contoso.example>;tag=dfac414f0f;epid=ce4ccd49ad\r\n\
To: <sip:push@push.example.org>\r\n\
Call-ID: cecb8c21ba01462a90f2f7235673f2b9\r\n\
CSeq: 1 MESSAGE\r\n\
User-Agent: RTCC/4.0.0.0 McxService/4.0.0.0\r\n\
Content-Type: text/plain; charset=UTF-8\r\n\
Content-Length: 5\r\n\r\nhello";

#[test]
fn a_message_is_read_and_answered() {
    let now = Instant::now();
    let mut connection = Connection::new(Limits::default(), ([192, 0, 2, 10], 49812).into(), 7);
    connection.receive(MESSAGE, now);
    let Some(Output::Request(request)) = connection.poll_output() else {
        panic!("a request")
    };
    assert_eq!(request.fault(), None);
    assert!(request.is_message());
    assert_eq!(request.request_uri().unwrap().user(), Some(&b"push"[..]));
    assert_eq!(request.from().tag(), Some(&b"dfac414f0f"[..]));
    assert_eq!(request.from().display(), b"\"Kim Akers\"");
    assert_eq!(request.from().sip_uri().unwrap().host(), b"contoso.example");
    assert_eq!(
        request.from().param("epid").unwrap().value,
        Some(&b"ce4ccd49ad"[..])
    );
    assert_eq!(request.cseq(), (1, &b"MESSAGE"[..]));
    assert_eq!(request.call_id(), b"cecb8c21ba01462a90f2f7235673f2b9");
    assert_eq!(&request.body()[..], b"hello");
    assert!(connection.poll_output().is_none());
    connection.respond(request.key(), &Answer::new(488).reason("say \"why\""), now);
    let Some(Output::Transmit(bytes)) = connection.poll_output() else {
        panic!("an answer")
    };
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let tag = text
        .split("org>;tag=")
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap();
    assert_eq!(
        text,
        format!(
            "SIP/2.0 488 Not Acceptable Here\r\n\
Via: SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK0D6A9383.D119DEC5AC7C0F4E;branched=FALSE;ms-internal-info=\"ab;c\"\r\n\
Via: SIP/2.0/TLS 10.0.0.21:50321;branch=z9hG4bKC45BE092.1A435385;branched=FALSE;ms-received-port=50321\r\n\
Via: SIP/2.0/TLS 10.0.0.20:50110;ms-received-port=50110;ms-received-cid=67F00\r\n\
From: \"Kim Akers\"<sip:kima@contoso.example>;tag=dfac414f0f;epid=ce4ccd49ad\r\n\
To: <sip:push@push.example.org>;tag={tag}\r\n\
Call-ID: cecb8c21ba01462a90f2f7235673f2b9\r\n\
CSeq: 1 MESSAGE\r\n\
ms-diagnostics-public: 2;reason=\"say \\\"why\\\"\"\r\n\
Content-Length: 0\r\n\r\n"
        )
    );
    assert_eq!(connection.unanswered(), 0);
}

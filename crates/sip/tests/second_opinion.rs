//! rsip, another reader of SIP, is asked what it makes of messages that it can read: both must say the same.
//!
//! Not here: anything hostile. rsip panics on 2 of 50 torture messages and guesses at the rest.
#![allow(clippy::unwrap_used)]

mod peer;

use peer::{Peer, message, message_with};
use rsip::headers::untyped::{ToTypedHeader, UntypedHeader};
use rsip::message::HeadersExt;

fn both(text: &str) {
    let theirs = rsip::Request::try_from(text.as_bytes()).unwrap();
    let mut peer = Peer::new();
    peer.send(text);
    let ours = peer.requests.remove(0);
    assert_eq!(ours.fault(), None, "{text}");

    assert_eq!(ours.method(), theirs.method().to_string().as_bytes());
    let uri = ours.request_uri().unwrap();
    assert_eq!(
        text_of(uri.host()),
        theirs.uri().host_with_port.host.to_string()
    );
    assert_eq!(
        uri.port(),
        theirs
            .uri()
            .host_with_port
            .port
            .as_ref()
            .map(|port| *port.value())
    );
    assert_eq!(
        uri.user().map(text_of),
        theirs.uri().auth.as_ref().map(|auth| auth.user.clone())
    );

    let via = theirs.via_header().unwrap().typed().unwrap();
    let our_via = ours.via().unwrap();
    assert_eq!(text_of(our_via.transport()), via.transport.to_string());
    assert_eq!(
        text_of(our_via.host()),
        via.uri.host_with_port.host.to_string()
    );
    assert_eq!(
        our_via.branch().map(text_of),
        via.branch().map(|branch| branch.value().to_owned())
    );

    let (from, to) = (
        theirs.from_header().unwrap().typed().unwrap(),
        theirs.to_header().unwrap().typed().unwrap(),
    );
    assert_eq!(
        ours.from().tag().map(text_of),
        from.tag().map(|tag| tag.value().to_owned())
    );
    assert_eq!(
        text_of(ours.from().sip_uri().unwrap().host()),
        from.uri.host_with_port.host.to_string()
    );
    assert_eq!(
        ours.to().tag().map(text_of),
        to.tag().map(|tag| tag.value().to_owned())
    );
    assert_eq!(
        ours.to().sip_uri().unwrap().user().map(text_of),
        to.uri.auth.map(|auth| auth.user)
    );

    let cseq = theirs.cseq_header().unwrap().typed().unwrap();
    assert_eq!(ours.cseq(), (cseq.seq, cseq.method.to_string().as_bytes()));
    assert_eq!(
        text_of(ours.call_id()),
        theirs.call_id_header().unwrap().value()
    );
    assert_eq!(ours.body(), theirs.body());
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn both_readers_agree_on_plain_messages() {
    both(&message(1));
    both(
        &message(7)
            .replacen("MESSAGE", "OPTIONS", 1)
            .replacen("1 MESSAGE", "1 OPTIONS", 1),
    );
}

#[test]
fn both_readers_agree_on_many_forms() {
    let forms: &[(&str, &[&str])] = &[
        (
            "Via",
            &[
                "Via: SIP/2.0/TLS edge.contoso.example:5061;branch=z9hG4bK0D6A9383.D119DEC5;branched=FALSE",
                "Via: SIP/2.0/TCP 10.0.0.20:50110;ms-received-port=50110;ms-received-cid=67F00",
                "Via: SIP/2.0/TLS 10.0.0.20;branch=z9hG4bKx\r\nVia: SIP/2.0/UDP next;branch=z9hG4bKy",
                "Via: SIP/2.0/UDP h;rport;branch=z9hG4bKx",
            ],
        ),
        (
            "From",
            &[
                "From: <sip:kima@contoso.example>;tag=1;epid=2",
                "From: \"A, B\" <sip:kima@contoso.example>;tag=1",
                "From: Kim <sip:kima@contoso.example:5061;transport=tls>;tag=abc",
                "From: <sips:kima@contoso.example>;tag=1",
            ],
        ),
        (
            "To",
            &[
                "To: <sip:push@push.example.org>",
                "To: Push <sip:push@push.example.org>",
                "To: <sip:push.example.org>",
            ],
        ),
        (
            "Call-ID",
            &[
                "Call-ID: a84b4c76e66710@pc33.example.com",
                "Call-ID: cecb8c21ba01462a90f2f7235673f2b9",
            ],
        ),
        (
            "CSeq",
            &[
                "CSeq: 4711 MESSAGE",
                "CSeq: 0 MESSAGE",
                "CSeq: 2147483647 MESSAGE",
            ],
        ),
        (
            "Subject",
            &["Subject: x", "Subject: y", "X-Odd_Name.1: ;;,,"],
        ),
        ("Content-Length", &["Content-Length: 5"]),
    ];
    for (name, lines) in forms {
        for line in *lines {
            both(&message_with(name, line));
        }
    }
    for uri in [
        "sip:push.example.org",
        "sip:push@push.example.org:5061;transport=tls",
        "sip:a:b@192.0.2.1;lr",
    ] {
        both(&message(1).replacen("sip:push@push.example.org", uri, 1));
    }
}

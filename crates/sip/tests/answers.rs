//! What an answer looks like on the wire.
#![allow(clippy::unwrap_used)]

mod peer;

use std::net::SocketAddr;

use peer::{Peer, Response, message, message_with};
use pushrelay_sip::{Answer, Limits};

fn answer_to(bytes: impl AsRef<[u8]>, answer: &Answer) -> String {
    let mut peer = Peer::new();
    peer.send(bytes).answer_all(answer);
    peer.take_text()
}

fn response(answer: &Answer) -> Response {
    let mut peer = Peer::new();
    peer.send(message(1)).answer_all(answer);
    peer.take_answer()
}

/// The top Via of the answer to a request with this one, from this address.
fn via(from: &str, via: &str) -> String {
    let mut peer = Peer::at(Limits::default(), from.parse::<SocketAddr>().unwrap());
    peer.send(message_with("Via", &format!("Via: {via}")))
        .answer_all(&Answer::ok());
    peer.take_answer().one("Via").to_owned()
}

#[test]
fn an_answer_is_these_bytes() {
    let text = answer_to(message(1), &Answer::ok());
    let (start, rest) = text.split_once(";tag=").unwrap();
    let (from_params, rest) = rest.split_once(";tag=").unwrap();
    let (_, rest) = rest.split_at(16);
    assert_eq!(
        format!("{start};tag={from_params};tag=T{rest}"),
        "SIP/2.0 200 OK\r\n\
         Via: SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK1\r\n\
         From: \"Kim Akers\"<sip:kima@contoso.example>;tag=dfac414f0f;epid=ce4ccd49ad\r\n\
         To: <sip:push@push.example.org>;tag=T\r\n\
         Call-ID: cecb8c21ba01462a90f2f72300000001\r\n\
         CSeq: 1 MESSAGE\r\n\
         Content-Length: 0\r\n\r\n"
    );
}

#[test]
fn an_answer_shows_what_is_its_own() {
    let answer = Answer::new(488).warning("push.example.org", "a \"b\"");
    let answer = answer.reason("x".repeat(300)).field("Accept", "text/plain");
    let shown = answer.to_string();
    let text = answer_to(message(1), &answer);
    let copied = [
        "Via:",
        "From:",
        "To:",
        "Call-ID:",
        "CSeq:",
        "Content-Length:",
    ];
    let own = text.trim_end().split("\r\n");
    let own: Vec<&str> = own
        .filter(|line| !copied.iter().any(|name| line.starts_with(name)))
        .collect();
    assert_eq!(shown.split('\n').collect::<Vec<_>>(), own);
    assert_eq!(own.len(), 4);
    assert_eq!(Answer::ok().to_string(), "SIP/2.0 200 OK");
}

#[test]
fn via_lines_come_back_in_order_and_as_they_were() {
    let vias = "Via: SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK1;ms-internal-info=\"a,b\"\r\n\
                X: y\r\n\
                v: SIP/2.0/UNKNOWN t4.example.com , SIP/2.0/SCTP t2\r\n\
                VIA:SIP/2.0/TLS 10.0.0.20:50110;ms-received-cid=67F00\r\n\
                Via: not even a Via";
    let mut peer = Peer::new();
    peer.send(message_with("Via", vias))
        .answer_all(&Answer::ok());
    assert_eq!(
        peer.take_answer().all("Via"),
        [
            "SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK1;ms-internal-info=\"a,b\"",
            "SIP/2.0/UNKNOWN t4.example.com , SIP/2.0/SCTP t2",
            "SIP/2.0/TLS 10.0.0.20:50110;ms-received-cid=67F00",
            "not even a Via"
        ]
    );
}

#[test]
fn the_top_via_says_where_it_came_from_when_sent_by_does_not() {
    let from = "192.0.2.10:5061";
    assert_eq!(
        via(from, "SIP/2.0/TLS 192.0.2.10;branch=x"),
        "SIP/2.0/TLS 192.0.2.10;branch=x"
    );
    assert_eq!(
        via(from, "SIP/2.0/TLS 192.0.2.1"),
        "SIP/2.0/TLS 192.0.2.1;received=192.0.2.10"
    );
    assert_eq!(
        via(from, "SIP/2.0/TLS edge.example:5061 ;a"),
        "SIP/2.0/TLS edge.example:5061 ;a;received=192.0.2.10"
    );
    assert_eq!(
        via(from, "SIP/2.0/TLS edge;a , SIP/2.0/TLS next;b"),
        "SIP/2.0/TLS edge;a;received=192.0.2.10 , SIP/2.0/TLS next;b"
    );
    assert_eq!(
        via(from, "SIP/2.0/TLS edge;received=9.9.9.9"),
        "SIP/2.0/TLS edge;received=9.9.9.9",
        "copied as it came"
    );
}

#[test]
fn rport_is_filled_in_and_never_overwritten() {
    let from = "192.0.2.10:49812";
    assert_eq!(
        via(from, "SIP/2.0/TLS 192.0.2.10;rport;branch=x"),
        "SIP/2.0/TLS 192.0.2.10;rport=49812;branch=x;received=192.0.2.10"
    );
    assert_eq!(
        via(from, "SIP/2.0/TLS edge ; RPORT"),
        "SIP/2.0/TLS edge ; RPORT=49812;received=192.0.2.10"
    );
    assert_eq!(
        via(from, "SIP/2.0/TLS edge;rport=5"),
        "SIP/2.0/TLS edge;rport=5;received=192.0.2.10"
    );
}

#[test]
fn ipv6_addresses_are_compared_as_addresses_and_written_without_brackets() {
    let from = "[2001:db8::9]:5061";
    assert_eq!(
        via(from, "SIP/2.0/TLS [2001:DB8:0:0::9]:5061"),
        "SIP/2.0/TLS [2001:DB8:0:0::9]:5061"
    );
    assert_eq!(
        via(from, "SIP/2.0/TLS [2001:db8::8]"),
        "SIP/2.0/TLS [2001:db8::8];received=2001:db8::9"
    );
    assert_eq!(
        via("[::ffff:192.0.2.1]:5", "SIP/2.0/TLS 192.0.2.1"),
        "SIP/2.0/TLS 192.0.2.1"
    );
    assert_eq!(
        via("[::ffff:192.0.2.1]:5", "SIP/2.0/TLS h"),
        "SIP/2.0/TLS h;received=192.0.2.1"
    );
}

#[test]
fn folding_is_read_and_never_written() {
    let text = message_with(
        "Via",
        "Via: SIP/2.0/TLS\r\n 192.0.2.10;rport\r\n\t;x=\"a\r\n b\"",
    )
    .replace("From: ", "From:\r\n  ")
    .replace("To: ", "To:\r\n ");
    let mut peer = Peer::new();
    peer.send(text).answer_all(&Answer::ok());
    let answer = peer.take_answer();
    assert_eq!(
        answer.one("Via"),
        "SIP/2.0/TLS 192.0.2.10;rport=49812\t;x=\"a b\";received=192.0.2.10"
    );
    assert!(answer.one("From").starts_with("\"Kim Akers\"<sip:kima"));
    assert!(
        answer
            .text
            .split("\r\n")
            .all(|line| !line.starts_with([' ', '\t']))
    );
}

#[test]
fn a_to_without_brackets_gets_its_tag_too() {
    let mut peer = Peer::new();
    peer.send(message_with("To", "t: sip:push@push.example.org;x"))
        .answer_all(&Answer::ok());
    assert!(
        peer.take_answer()
            .one("To")
            .starts_with("sip:push@push.example.org;x;tag=")
    );
}

#[test]
fn a_to_tag_is_not_doubled() {
    let mut peer = Peer::new();
    peer.send(message_with("To", "To: <sip:push@push.example.org>;tag=1"))
        .answer_all(&Answer::ok());
    assert_eq!(
        peer.take_answer().one("To"),
        "<sip:push@push.example.org>;tag=1"
    );
}

#[test]
fn what_is_missing_in_the_request_is_missing_in_the_answer() {
    let mut peer = Peer::new();
    peer.send("MESSAGE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS h\r\nCSeq: 7 MESSAGE\r\nl: 0\r\n\r\n")
        .answer_all(&Answer::ok());
    let answer = peer.take_answer();
    assert_eq!((answer.status, answer.one("CSeq")), (400, "7 MESSAGE"));
    assert!(
        answer.all("From").is_empty()
            && answer.all("To").is_empty()
            && answer.all("Call-ID").is_empty()
    );
}

#[test]
fn every_status_has_a_phrase() {
    for (status, phrase) in [
        (200, "OK"),
        (202, "Accepted"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (405, "Method Not Allowed"),
        (410, "Gone"),
        (413, "Request Entity Too Large"),
        (415, "Unsupported Media Type"),
        (416, "Unsupported URI Scheme"),
        (420, "Bad Extension"),
        (480, "Temporarily Unavailable"),
        (481, "Call/Transaction Does Not Exist"),
        (482, "Loop Detected"),
        (488, "Not Acceptable Here"),
        (500, "Server Internal Error"),
        (501, "Not Implemented"),
        (503, "Service Unavailable"),
        (505, "Version Not Supported"),
        (513, "Message Too Large"),
        (299, "Success"),
        (302, "Redirection"),
        (499, "Request Failure"),
        (599, "Server Failure"),
        (603, "Global Failure"),
    ] {
        let text = answer_to(message(1), &Answer::new(status));
        assert!(
            text.starts_with(&format!("SIP/2.0 {status} {phrase}\r\n")),
            "{text}"
        );
    }
}

#[test]
fn the_reason_is_quoted_escaped_and_cut() {
    let reason = |text: &str| {
        response(&Answer::new(400).reason(text.to_owned()))
            .one("ms-diagnostics-public")
            .to_owned()
    };
    assert_eq!(reason("plain"), "2;reason=\"plain\"");
    assert_eq!(reason("a \"b\" \\c"), "2;reason=\"a \\\"b\\\" \\\\c\"");
    assert_eq!(
        reason("a\r\nVia: x\0\t\u{7f}\u{85}b"),
        "2;reason=\"a  Via: x    b\""
    );
    assert_eq!(reason("ä…"), "2;reason=\"ä…\"");
    assert_eq!(
        reason(&"é".repeat(300)),
        format!("2;reason=\"{}\"", "é".repeat(200))
    );
    assert_eq!(Answer::new(400).reason("plain").reason_text(), "plain");
    assert_eq!(Answer::ok().reason_text(), "");
}

#[test]
fn warning_retry_after_and_further_headers_are_written() {
    let answer = Answer::new(503)
        .reason("full")
        .warning("push.example.org", "1 of \"2\"")
        .retry_after(30)
        .field("Server", "a\r\nb")
        .field("server", "c");
    let response = response(&answer);
    assert_eq!(response.status, 503);
    assert_eq!(
        response.one("Warning"),
        "399 push.example.org \"1 of \\\"2\\\"\""
    );
    assert_eq!(response.one("Retry-After"), "30");
    assert_eq!(response.one("Server"), "c", "the later one takes the place");
    assert_eq!(response.one("Content-Length"), "0");
    let forged = self::response(
        &Answer::ok()
            .field("Server", "a\r\nb: c")
            .warning("h\r\n x", "\n"),
    );
    assert_eq!(
        (forged.one("Server"), forged.one("Warning")),
        ("a  b: c", "399 hx \" \"")
    );
}

#[test]
fn options_are_told_what_is_served() {
    let response = response(&Answer::options().field("Accept", "application/json"));
    assert_eq!(response.status, 200);
    assert_eq!(response.one("Allow"), "MESSAGE, OPTIONS");
    assert_eq!(response.one("Accept"), "application/json");
    assert_eq!(response.one("Accept-Encoding"), "identity");
    assert_eq!(response.one("Supported"), "");
}

#[test]
fn a_2xx_has_no_body_and_no_contact() {
    let response = response(&Answer::new(202));
    assert!(response.all("Contact").is_empty() && response.all("Content-Type").is_empty());
    assert_eq!(response.one("Content-Length"), "0");
}

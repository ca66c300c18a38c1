//! Requests that are well framed and wrong: each has its status, its reason, and the connection goes on.
#![allow(clippy::unwrap_used)]

mod peer;

use peer::{Peer, Response, message, message_with};
use pushrelay_sip::Answer;

/// Sends a request, lets it be answered, checks that the next one is served, and returns the answer.
fn answered(bytes: impl AsRef<[u8]>) -> Response {
    let mut peer = Peer::new();
    peer.send(bytes).answer_all(&Answer::ok());
    assert_eq!(peer.refused, []);
    let answer = peer.take_answer();
    peer.send(message(99)).answer_all(&Answer::ok());
    assert_eq!(peer.take_answer().status, 200, "the next message is served");
    assert_eq!(peer.closed, None);
    answer
}

/// The reason of a refusal with this status.
#[track_caller]
fn reason(bytes: impl AsRef<[u8]>, status: u16) -> String {
    let answer = answered(bytes);
    assert_eq!(answer.status, status, "{}", answer.text);
    let reason = answer
        .one("ms-diagnostics-public")
        .strip_prefix("2;reason=\"")
        .unwrap();
    reason.strip_suffix('"').unwrap().to_owned()
}

fn with_method(method: &str) -> String {
    message(1).replacen("MESSAGE", method, 1).replacen(
        "CSeq: 1 MESSAGE",
        &format!("CSeq: 1 {method}"),
        1,
    )
}

fn with_start_line(line: &str) -> String {
    message(1).replacen("MESSAGE sip:push@push.example.org SIP/2.0", line, 1)
}

#[test]
fn other_methods_are_405_with_allow() {
    for method in [
        "INVITE",
        "NEGOTIATE",
        "SUBSCRIBE",
        "SERVICE",
        "CANCEL",
        "BYE",
        "message",
        "RE%47IST%45R",
        "!x-~'",
    ] {
        let answer = answered(with_method(method));
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.one("Allow"), "MESSAGE, OPTIONS");
        assert_eq!(answer.one("CSeq"), format!("1 {method}"));
    }
}

#[test]
fn a_negotiate_with_max_forwards_0_an_address_and_no_branch_is_405() {
    let answer = answered(
        "NEGOTIATE sip:192.0.0.1:5061 SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.0.2:2616\r\nCSeq: 1 NEGOTIATE\r\n\
         Call-ID: 8d8b20f87c9c4221a732f3a70f57e9b8\r\nFrom: <sip:192.0.0.2:2616>;tag=984721fb59b64e45b469c91aba8a9f8f\r\n\
         To: <sip:192.0.0.1:5061>\r\nCompression: LZ77-8K\r\nMax-Forwards: 0\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(answer.status, 405);
    assert_eq!(answer.all("Compression"), [""; 0]);
}

#[test]
fn max_forwards_0_is_served_and_what_is_no_number_is_400() {
    for value in ["0", "70", "255", "0068"] {
        assert_eq!(
            answered(message_with(
                "Max-Forwards",
                &format!("Max-Forwards: {value}")
            ))
            .status,
            200,
            "{value}"
        );
    }
    assert_eq!(
        answered(message_with("Max-Forwards", "")).status,
        200,
        "RFC 2543 knows none"
    );
    for value in ["-1", "256", "x", "", "1 2"] {
        assert!(
            reason(
                message_with("Max-Forwards", &format!("Max-Forwards: {value}")),
                400
            )
            .contains("Max-Forwards")
        );
    }
}

#[test]
fn a_missing_header_is_400_and_named() {
    for name in ["From", "To", "Call-ID", "CSeq", "Via"] {
        assert_eq!(
            reason(message_with(name, ""), 400),
            format!("{name}: missing")
        );
    }
}

#[test]
fn a_second_single_header_is_400_and_named() {
    for line in [
        "From: sip:x@y;tag=1",
        "To: sip:x@y",
        "Call-ID: x",
        "CSeq: 1 MESSAGE",
        "Max-Forwards: 1",
        "c: a/b",
    ] {
        let text = message(1).replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1);
        assert!(reason(text, 400).ends_with(": more than one"), "{line}");
    }
}

#[test]
fn a_line_that_is_no_header_is_400_and_counted_out() {
    for line in ["Foobar roobar", ": x", "Sub ject: x", "Sub\u{e9}: x"] {
        assert_eq!(
            reason(
                message_with("Via", &format!("{line}\r\nVia: SIP/2.0/TLS h")),
                400
            ),
            "line 2 of the head is no header line"
        );
    }
    assert_eq!(
        reason(message(1).replacen("\r\n", "\r\n folded\r\n", 1), 400),
        "line 2 of the head is no header line"
    );
}

#[test]
fn a_start_line_that_is_none_is_400() {
    for line in [
        "MESSAGE",
        "MESSAGE sip:push@push.example.org",
        "MESSAGE  sip:push@push.example.org SIP/2.0",
        "MESSAGE sip:push@push.example.org  SIP/2.0",
        "MESSAGE sip:push@push.example.org SIP/2.0 ",
        "MESSAGE sip:push@push.example.org; lr SIP/2.0",
        "MESSAGE <sip:push@push.example.org> SIP/2.0",
        "MESSAGE sip:push@push.example.org HTTP/1.1",
        "MESSAGE sip:push@push.example.org SIP",
        "MESS(AGE sip:push@push.example.org SIP/2.0",
        "MESSAGE\tsip:push@push.example.org\tSIP/2.0",
    ] {
        assert!(
            reason(with_start_line(line), 400).starts_with("start line: "),
            "{line}"
        );
    }
}

#[test]
fn another_version_is_505() {
    for version in ["SIP/7.0", "SIP/3.0", "sip/1.0", "SIP/2.00"] {
        reason(
            with_start_line(&format!("MESSAGE sip:push@push.example.org {version}")),
            505,
        );
    }
    let answer = answered(with_start_line("MESSAGE sip:push@push.example.org sip/2.0"));
    assert_eq!(answer.status, 200, "the version is compared without case");
}

#[test]
fn another_uri_scheme_is_416_and_a_broken_sip_uri_400() {
    for uri in [
        "tel:+12",
        "http://push.example.org",
        "nobodyKnowsThisScheme:totallyopaquecontent",
    ] {
        reason(with_start_line(&format!("MESSAGE {uri} SIP/2.0")), 416);
    }
    for uri in [
        "sip:",
        "sip:a@b@c",
        "push@push.example.org",
        "sip:a@b?Route=%3Csip:c%3E",
        "sip:a@b:99999",
    ] {
        assert!(
            reason(with_start_line(&format!("MESSAGE {uri} SIP/2.0")), 400)
                .starts_with("Request-URI: "),
            "{uri}"
        );
    }
}

#[test]
fn cseq_must_be_a_number_below_2_31_and_the_method() {
    for value in [
        "1 OPTIONS",
        "1 message",
        "1",
        "MESSAGE",
        "1MESSAGE",
        "2147483648 MESSAGE",
        "4294967297 MESSAGE",
        "-1 MESSAGE",
        "1 MESSAGE x",
    ] {
        assert!(
            reason(message_with("CSeq", &format!("CSeq: {value}")), 400).starts_with("CSeq: "),
            "{value}"
        );
    }
    for value in ["2147483647 MESSAGE", "0 MESSAGE", "0009\t MESSAGE"] {
        assert_eq!(
            answered(message_with("CSeq", &format!("CSeq: {value}"))).status,
            200,
            "{value}"
        );
    }
}

#[test]
fn what_identifies_the_request_must_be_readable() {
    for (name, value) in [
        ("From", "\"unbalanced <sip:a@b>;tag=1"),
        ("From", "<sip:a@b>, <sip:c@d>;tag=1"),
        ("To", "\"Mr. J. User <sip:j.user@example.com>"),
        ("To", "\"Watson, Thomas\" < sip:t.watson@example.org >"),
        ("Via", "SIP/2.0/UDP 192.0.2.15;;,;,,"),
        ("Via", ""),
        ("Call-ID", ""),
        ("Call-ID", "a b"),
        ("Call-ID", "a\u{7f}"),
    ] {
        let reason = reason(message_with(name, &format!("{name}: {value}")), 400);
        assert!(reason.starts_with(&format!("{name}: ")), "{reason}");
    }
}

#[test]
fn a_request_inside_a_dialog_is_481() {
    reason(
        message_with("To", "To: <sip:push@push.example.org>;tag=1"),
        481,
    );
    let answer = answered(message_with(
        "To",
        "To: <sip:push@push.example.org;tag=1>;x",
    ));
    assert_eq!(answer.status, 200, "a tag inside the URI is none");
    let answer =
        answered(with_method("BYE").replacen("example.org>\r\n", "example.org>;tag=1\r\n", 1));
    assert_eq!(answer.status, 405);
}

#[test]
fn require_is_420_and_named_back() {
    let answer = answered(message_with(
        "Require",
        "Require: nothingSupportsThis , nor-this\r\nRequire: 100rel",
    ));
    assert_eq!(answer.status, 420);
    assert_eq!(
        answer.one("Unsupported"),
        "nothingSupportsThis, nor-this, 100rel"
    );
    let answer = answered(message_with(
        "Proxy-Require",
        "Proxy-Require: noProxiesSupportThis",
    ));
    assert_eq!(answer.status, 200, "we are no proxy");
}

#[test]
fn what_require_names_cannot_fill_or_forge_the_answer() {
    let tags = vec!["x".repeat(60); 900].join(",");
    let answer = answered(message_with(
        "Require",
        &format!("Require: {tags}, a\r\n b, <c>, d\u{1}e, {}", "y".repeat(65)),
    ));
    assert_eq!(answer.status, 420);
    assert_eq!(answer.one("Unsupported").split(", ").count(), 16);
    let answer = answered(message_with("Require", "Require: a b, <c>, ok"));
    assert_eq!(answer.one("Unsupported"), "ok");
}

#[test]
fn a_coded_body_is_415() {
    for line in [
        "Content-Encoding: gzip",
        "e: deflate",
        "Content-Encoding: identity\r\nContent-Encoding: gzip",
    ] {
        let answer = answered(message_with("Content-Encoding", line));
        assert_eq!(answer.status, 415, "{line}");
        assert_eq!(answer.one("Accept-Encoding"), "identity");
    }
    assert_eq!(
        answered(message_with("Content-Encoding", "e: Identity")).status,
        200
    );
}

#[test]
fn headers_that_mean_nothing_here_are_ignored() {
    for line in [
        "Date: Fri, 01 Jan 2010 16:00:00 EST",
        "Authorization: NoOneKnowsThisScheme opaque-data=here",
        "Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E",
        "UnknownHeaderWithUnusualValue: ;;,,;;,;",
        "extensionHeader-!.%*+_`'~:\u{ef}\u{bb}",
        "C%6Fntact: <sip:x>",
        "Max-Breadth: x",
        "Ms-Keep-Alive: UAC;hop-hop=yes",
        "ms-edge-proxy-message-trust: ms-source-type=DirectPartner;ms-ep-fqdn=x",
        "Expires: 1000000000000000000000",
        "Empty:",
    ] {
        assert_eq!(answered(message_with("Extra", line)).status, 200, "{line}");
    }
}

#[test]
fn stray_acks_and_responses_are_dropped() {
    let mut peer = Peer::new();
    peer.send(with_method("ACK"))
        .send(message_with("CSeq", "").replacen("MESSAGE", "ACK", 1));
    peer.send("SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS h\r\nContent-Length: 3\r\n\r\nabc");
    peer.send("SIP/2.0 4294967301 better not break the receiver\r\nContent-Length: 0\r\n\r\n");
    assert!(peer.requests.is_empty());
    assert_eq!(peer.take_text(), "");
    let counts = peer.connection.counts();
    assert_eq!((counts.acks_dropped, counts.responses_dropped), (2, 2));
    peer.send(message(1)).answer_all(&Answer::ok());
    assert_eq!(peer.take_answer().status, 200);
}

#[test]
fn a_response_that_cannot_be_framed_closes_without_an_answer() {
    let mut peer = Peer::new();
    peer.send("SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS h\r\nContent-Length: -1\r\n\r\n");
    assert!(peer.closed.is_some());
    assert_eq!(peer.take_text(), "");
}

#[test]
fn the_status_of_a_fault_is_known_before_it_is_answered() {
    let mut peer = Peer::new();
    peer.send(message_with("CSeq", "CSeq: x"));
    let fault = peer.requests[0].fault().unwrap();
    assert_eq!(fault.status(), 400);
    assert_eq!(
        fault.reason(),
        "CSeq: expected a number below 2^31 and a method"
    );
    assert_eq!(Answer::from(fault), fault.answer());
    // What cannot be read is empty.
    assert_eq!(peer.requests[0].cseq(), (0, &b""[..]));
}

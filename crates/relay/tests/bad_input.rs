//! Bad input: each kind is told its own status and reason, costs no other connection anything, and ends nothing.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;

use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::FakeEdge;
use pushrelay_peers::edge::SipRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is sent, and what must come back.
struct Bad {
    octets: Vec<u8>,
    status: u16,
    /// A part of the reason.
    reason: &'static str,
}

fn bad(octets: impl Into<Vec<u8>>, status: u16, reason: &'static str) -> Bad {
    Bad {
        octets: octets.into(),
        status,
        reason,
    }
}

/// A MESSAGE with one thing replaced in its octets.
fn changed(edge: &FakeEdge, old: &str, new: &str) -> String {
    let message = edge.request(json(), body(&[APPLE])).encode();
    let message = String::from_utf8(message.to_vec()).unwrap();
    assert!(message.contains(old), "{old:?} in {message}");
    message.replacen(old, new, 1)
}

fn heads(edge: &FakeEdge) -> Vec<Bad> {
    let long = edge.request(json(), body(&[APPLE]));
    let foreign = |uri: &str, from: &str| SipRequest::message(uri, from, json(), body(&[APPLE]));
    vec![
        bad(changed(edge, "Call-ID:", "X-Call:"), 400, "Call-ID"),
        bad(changed(edge, " SIP/2.0\r\n", "\r\n"), 400, "start line"),
        bad(
            changed(edge, " SIP/2.0\r\n", " SIP/3.0\r\n"),
            505,
            "SIP/2.0",
        ),
        bad(changed(edge, "\r\nTo:", "\nTo:"), 400, "CR or LF"),
        bad(
            changed(edge, "Content-Length:", "X-Length:"),
            400,
            "no Content-Length",
        ),
        bad(
            changed(edge, "Content-Length:", "l: 5\r\nContent-Length:"),
            400,
            "more than one",
        ),
        bad(
            changed(edge, "Content-Length: ", "Content-Length: -"),
            400,
            "digits only",
        ),
        bad(changed(edge, "CSeq: 1 ", "CSeq: 4294967296 "), 400, "CSeq"),
        bad(
            changed(edge, "\r\nTo:", "\r\nRequire: foo\r\nTo:"),
            420,
            "no extension",
        ),
        bad(
            long.field("X-Long", &"x".repeat(70_000)).encode(),
            513,
            "head",
        ),
        bad(
            foreign(&edge.request_uri, "sip:kim@fabrikam.example").encode(),
            403,
            "From",
        ),
        bad(
            foreign("sip:pull@push.example.org", &edge.from).encode(),
            404,
            "Request-URI",
        ),
        bad(
            foreign("tel:+4930123456", &edge.from).encode(),
            416,
            "scheme",
        ),
    ]
}

fn bodies(edge: &FakeEdge) -> Vec<Bad> {
    let say = |content_type: &str, body: String, status, reason| {
        bad(edge.request(content_type, body).encode(), status, reason)
    };
    let target = |target: &str, status, reason| say(json(), body(&[target]), status, reason);
    let channel = |host: &str, status, reason| {
        let uri = format!("http://{host}/throttledthirdparty/01.00/AAG");
        target(
            &format!(r#"{{"service":"mpns","uri":"{uri}"}}"#),
            status,
            reason,
        )
    };
    let good = || body(&[APPLE]);
    vec![
        say("text/plain", good(), 415, "another Content-Type"),
        say("application/vnd.pushrelay+json; v=2", good(), 415, "v=1"),
        say(json(), good().replace("\"v\":1", "\"v\":2"), 415, "v: 1"),
        say(json(), good()[..100].to_owned(), 400, "the end of the body"),
        say(
            json(),
            good().replace("\"badge\":3", "\"badge\":\"3\""),
            400,
            "badge",
        ),
        say(
            json(),
            good().replace("im.message", "im.unheard-of"),
            400,
            "event",
        ),
        say(json(), body(&[APPLE; 17]), 400, "1 to 16 elements, got 17"),
        say(json(), " ".repeat(20_000), 413, "16384 bytes"),
        say(json(), " ".repeat(100_000), 413, "65536"),
        target(
            r#"{"service":"apns","token":"0011223344556"}"#,
            400,
            "even number",
        ),
        target(
            r#"{"service":"apns","token":"0011223344x6"}"#,
            400,
            "another character",
        ),
        target(r#"{"service":"apns","token":"001122"}"#, 400, "8 to 200"),
        target(
            r#"{"service":"gcm","token":"00112233"}"#,
            400,
            "apns or mpns",
        ),
        channel("127.0.0.1", 400, "targets[0].uri"),
        channel("db.internal", 400, "targets[0].uri"),
        channel("user@sn1.notify.live.net", 400, "targets[0].uri"),
        // A name that the operator allows, but which leads into the operator's own network.
        channel("localhost", 488, "no public address"),
    ]
}

#[tokio::test]
async fn each_bad_input_has_its_own_reason_and_costs_nobody_else_anything() {
    let relay = Relay::configured(|config| {
        let phone = config["windows_phone"].as_table_mut().unwrap();
        phone["hosts"] = vec![".notify.live.net", "localhost"].into();
        phone["ports"] = vec![80, 443].into();
        phone["allow_private_addresses"] = false.into();
    })
    .await;
    let other = relay.edge().await;
    let mut inputs = heads(&other);
    inputs.extend(bodies(&other));
    let mut reasons = HashSet::new();
    for (number, input) in inputs.iter().enumerate() {
        let edge = relay.edge().await;
        edge.send_raw(&input.octets).await.unwrap();
        let answer = edge.read_answer(PATIENCE).await.unwrap();
        let reason = answer.reason().unwrap();
        assert_eq!(answer.status, input.status, "input {number}: {reason}");
        assert!(reason.contains(input.reason), "input {number}: {reason}");
        assert!(reasons.insert(reason.clone()), "input {number}: {reason}");
        let good = other.message(json(), body(&[APPLE])).await.unwrap();
        assert_eq!(good.status, 200, "after input {number}");
    }
    assert_eq!(relay.world.apple.received().len(), inputs.len());
    nobody_panicked(&relay);
    relay.end().await;
}

#[tokio::test]
async fn what_breaks_off_or_is_no_tls_ends_alone() {
    let relay = Relay::start().await;
    let other = relay.edge().await;
    let message = other.request(json(), body(&[APPLE])).encode();
    for length in [1, message.len() / 4, message.len() - 1] {
        let edge = relay.edge().await;
        edge.send_raw(&message[..length]).await.unwrap();
        edge.half_close().await.unwrap();
        edge.closed(PATIENCE).await.unwrap();
        assert_eq!(edge.answers_waiting(), 0, "{length} octets are no request");
    }
    for octets in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff],
        &message,
    ] {
        let mut socket = tokio::net::TcpStream::connect(relay.daemon.sip_addr())
            .await
            .unwrap();
        socket.write_all(octets).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut said = Vec::new();
        // A reset is as good an end as any.
        let end = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut said));
        let _ = end.await.unwrap();
        assert!(!said.starts_with(b"SIP"), "{said:?}");
    }
    assert_eq!(
        other.message(json(), body(&[APPLE])).await.unwrap().status,
        200
    );
    assert_eq!(relay.world.apple.received().len(), 1);
    nobody_panicked(&relay);
    relay.end().await;
}

fn nobody_panicked(relay: &Relay) {
    let logs = relay.daemon.logs();
    let panicked = logs.iter().find(|line| line.contains("panicked"));
    assert_eq!(panicked, None);
}

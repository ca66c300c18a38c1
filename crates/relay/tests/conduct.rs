//! How the relay behaves as a SIP server, over real sockets: where its answers go, what it will not read, and until when a
//! MESSAGE is worth pushing.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::ApnsAnswer;
use pushrelay_peers::edge::SipRequest;

/// The reckoning of RFC 3261 18.2.2 for datagrams, DNS and `maddr` included, must never be done: an answer that dials where a
/// Via points lets any partner make the relay connect anywhere.
#[tokio::test]
async fn an_answer_goes_back_on_the_connection_of_the_request_wherever_its_via_points() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let elsewhere = Elsewhere::new();
    let port = elsewhere.port;
    for via in [
        format!("127.0.0.1:{port}"),
        format!("192.0.2.1:{port};maddr=127.0.0.1"),
        format!("localhost:{port};received=127.0.0.1;rport={port}"),
        "no-such-host.invalid".to_owned(),
    ] {
        let mut request = edge.request(json(), body(&[APPLE]));
        request.via = format!("SIP/2.0/TLS {via};branch=z9hG4bK{}", request.call_id);
        let answer = edge.exchange(&request).await.unwrap();
        assert_eq!(answer.status, 200, "{via}");
        assert!(
            answer.header("Via").unwrap().starts_with(&request.via),
            "{answer:?}"
        );
    }
    elsewhere.was_left_alone();
    relay.end().await;
}

#[tokio::test]
async fn an_answer_whose_connection_has_gone_is_sent_nowhere() {
    let relay = Relay::start().await;
    let elsewhere = Elsewhere::new();
    let slow = ApnsAnswer::ok().after(Duration::from_millis(300));
    relay.world.apple.script_default([slow]);
    let edge = relay.edge().await;
    let mut request = edge.request(json(), body(&[APPLE]));
    request.via = format!(
        "SIP/2.0/TLS 127.0.0.1:{};branch=z9hG4bKgone",
        elsewhere.port
    );
    edge.send(&request).await.unwrap();
    relay.world.apple.wait_for(1, PATIENCE).await.unwrap();
    drop(edge);
    let answered = ("pushrelay_messages_answered_total", [("status", "200")]);
    relay
        .daemon
        .wait_metrics(PATIENCE, |samples| {
            samples.sum(answered.0, &answered.1) == 1.0
                && samples.sum("pushrelay_connections", &[]) == 0.0
        })
        .await
        .unwrap();
    elsewhere.was_left_alone();
    relay.end().await;
}

#[tokio::test]
async fn a_body_that_is_encoded_otherwise_than_identity_is_415_and_says_what_is_read() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    for (name, value) in [
        ("Content-Encoding", "gzip"),
        ("e", "deflate"),
        ("CONTENT-ENCODING", "identity, gzip"),
    ] {
        let request = edge.request(json(), body(&[APPLE])).field(name, value);
        let answer = edge.exchange(&request).await.unwrap();
        assert_eq!(answer.status, 415, "{name}: {value}");
        assert_eq!(answer.header("Accept-Encoding"), Some("identity"));
        assert!(answer.reason().unwrap().contains("Content-Encoding"));
    }
    assert_eq!(relay.world.apple.received().len(), 0);
    let plain = edge
        .request(json(), body(&[APPLE]))
        .field("Content-Encoding", "Identity");
    assert_eq!(edge.exchange(&plain).await.unwrap().status, 200);
    relay.end().await;
}

#[tokio::test]
async fn a_request_inside_a_dialog_is_481_because_there_are_none() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let mut message = edge.request(json(), body(&[APPLE]));
    let mut options = SipRequest::bare("OPTIONS", &edge.request_uri, &edge.from);
    for request in [&mut message, &mut options] {
        request.to += ";tag=5F3A";
        let answer = edge.exchange(request).await.unwrap();
        assert_eq!(answer.status, 481);
        assert_eq!(
            answer.to_tag(),
            Some("5F3A"),
            "the tag is not ours to change"
        );
    }
    assert_eq!(relay.world.apple.received().len(), 0);
    relay.end().await;
}

#[tokio::test]
async fn an_expired_message_is_never_pushed_and_the_sender_is_told_since_when() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    for (expires, age) in [("60", 600), ("0", 120), ("3600", 86_400)] {
        let request = edge
            .request(json(), body(&[APPLE, &relay.windows_phone("phone")]))
            .field("Expires", expires)
            .field("Date", &date(ago(age)));
        let answer = edge.exchange(&request).await.unwrap();
        assert_eq!(answer.status, 488, "{expires} {age}: {answer:?}");
        let reason = answer.reason().unwrap();
        assert!(
            reason.contains("expired") && reason.contains("Date") && reason.contains("Expires"),
            "{reason}"
        );
    }
    let samples = relay.daemon.metrics().await.unwrap();
    let expired = [("reason", "expired")];
    assert_eq!(samples.sum("pushrelay_refusals_total", &expired), 3.0);
    assert_eq!(relay.world.apple.received().len(), 0);
    assert_eq!(relay.world.windows_phone.received().len(), 0);
    relay.end().await;
}

/// Two machines whose clocks are a minute apart are no reason to lose a push; but one that was to be worth nothing any more
/// by now is tried once and not kept.
#[tokio::test]
async fn a_message_that_has_expired_by_less_than_clocks_may_differ_is_tried_once() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let request = edge
        .request(json(), body(&[APPLE]))
        .field("Expires", "10")
        .field("Date", &date(ago(40)));
    assert_eq!(edge.exchange(&request).await.unwrap().status, 200);
    let [push] = &relay.world.apple.received()[..] else {
        panic!("one push");
    };
    assert_eq!(push.expiration, Some(0));
    relay.end().await;
}

#[tokio::test]
async fn expires_says_until_when_a_push_is_tried() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    // The fields, and in how many seconds the push then ends.
    for (expires, sent, seconds) in [
        ("600", None, 600),
        ("600", Some(ago(100)), 500),
        // The sender's clock is ahead: its message is no younger than now.
        (
            "600",
            Some(SystemTime::now() + Duration::from_secs(3600)),
            600,
        ),
        // Longer than max_ttl, 30 days.
        ("4294967295", None, 30 * 86_400),
        // What cannot be read is no reason to refuse: default_ttl, a day.
        ("soon", None, 86_400),
    ] {
        let mut request = edge
            .request(json(), body(&[APPLE]))
            .field("Expires", expires);
        if let Some(sent) = sent {
            request = request.field("Date", &date(sent));
        }
        let before = unix_seconds(SystemTime::now());
        assert_eq!(edge.exchange(&request).await.unwrap().status, 200);
        let after = unix_seconds(SystemTime::now());
        let expiration = relay.world.apple.received().last().unwrap().expiration;
        let expiration = expiration.unwrap();
        assert!(
            (before + seconds - 1..=after + seconds).contains(&expiration),
            "{expires} {sent:?}: {expiration}, now {before}"
        );
    }
    // Of two ends the earlier one counts; Date alone says nothing.
    for (ttl, expires, seconds) in [(60, "600", 60), (600, "60", 60), (60, "", 60)] {
        let body = body(&[APPLE]).replacen('{', &format!("{{\"ttl\":{ttl},"), 1);
        let mut request = edge.request(json(), body).field("Date", &date(ago(0)));
        if !expires.is_empty() {
            request = request.field("Expires", expires);
        }
        let before = unix_seconds(SystemTime::now());
        assert_eq!(edge.exchange(&request).await.unwrap().status, 200);
        let expiration = relay.world.apple.received().last().unwrap().expiration;
        let late = expiration.unwrap().abs_diff(before + seconds);
        assert!(late <= 2, "{ttl} {expires}: {expiration:?}, now {before}");
    }
    relay.end().await;
}

/// Somebody's port that a Via points to, where nobody must connect.
struct Elsewhere {
    listener: TcpListener,
    port: u16,
}

impl Elsewhere {
    fn new() -> Elsewhere {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        Elsewhere { listener, port }
    }

    fn was_left_alone(&self) {
        let kind = self.listener.accept().unwrap_err().kind();
        assert_eq!(kind, std::io::ErrorKind::WouldBlock);
    }
}

fn ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A SIP date, RFC 3261 20.17.
fn date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

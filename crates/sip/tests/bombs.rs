//! Heads that are made to cost much: linear time, bounded memory, and the next message is served.
//!
//! A reader that begins again with each piece needs minutes for any of these.
#![allow(clippy::unwrap_used)]

mod peer;

use std::time::{Duration, Instant};

use peer::{Peer, message, message_with};
use pushrelay_sip::{Answer, Limits};

/// What an unoptimised build on a busy machine needs a few percent of.
const DEADLINE: Duration = Duration::from_secs(10);

#[allow(clippy::disallowed_methods, reason = "what is measured is real time")]
fn within_deadline(work: impl FnOnce()) {
    let begun = Instant::now();
    work();
    assert!(
        begun.elapsed() < DEADLINE,
        "not linear: {:?}",
        begun.elapsed()
    );
}

/// Sends a message whole and in pieces, and lets it be answered.
fn play(text: &str) {
    within_deadline(|| {
        for piece in [1, 7, 1460, usize::MAX] {
            let mut peer = Peer::new();
            for bytes in text.as_bytes().chunks(piece) {
                peer.send(bytes);
            }
            peer.answer_all(&Answer::ok());
            let answers = peer.take_answers();
            assert_eq!(answers.len(), 1);
            peer.send(text).send(message(2)).answer_all(&Answer::ok());
            assert!(!peer.take_answers().is_empty() || peer.closed.is_some());
        }
    });
}

#[test]
fn values_of_64_kib() {
    let filler = "x".repeat(64_000);
    for line in [
        format!("Via: SIP/2.0/TLS h;branch=z9hG4bK{filler}"),
        format!("From: \"{filler}\"<sip:a@b>;tag=1"),
        format!("From: <sip:{filler}@b>;tag={}", &filler[..100]),
        format!("Call-ID: {filler}"),
        format!("Subject: {filler}"),
        format!("Require: {filler}"),
    ] {
        play(&message_with(line.split(':').next().unwrap(), &line));
    }
}

#[test]
fn a_thousand_vias_in_one_line_and_in_many() {
    let list = vec!["SIP/2.0/TLS host.example.com;branch=z9hG4bK1"; 1000].join(",");
    play(&message_with("Via", &format!("Via: {list}")));
    let lines = vec!["Via: SIP/2.0/TLS host.example.com;branch=z9hG4bK1"; 240].join("\r\n");
    play(&message_with("Via", &lines));
    let too_many = vec!["v: SIP/2.0/TLS h"; 1000].join("\r\n");
    let mut peer = Peer::new();
    peer.send(message_with("Via", &too_many));
    assert_eq!(peer.refused[0].0, 513);
}

#[test]
fn twenty_thousand_parameters() {
    let parameters = ";a=".repeat(20_000).replace("=;", "=1;");
    let parameters = &parameters[..60_000].rsplit_once(';').unwrap().0;
    for line in [
        format!("Via: SIP/2.0/TLS h{parameters}"),
        format!("From: <sip:a@b>{parameters}"),
        format!("To: <sip:a@b{parameters}>"),
    ] {
        play(&message_with(line.split(':').next().unwrap(), &line));
    }
    let mut peer = Peer::new();
    peer.send(message_with(
        "From",
        &format!("From: <sip:a@b>{parameters};tag=last"),
    ));
    within_deadline(|| {
        let from = peer.requests[0].from();
        assert_eq!(from.tag(), Some(&b"last"[..]));
        assert!(from.params().count() > 10_000);
        assert!(from.param("absent").is_none());
    });
}

#[test]
fn quotes_folds_brackets_and_commas_without_end() {
    for filler in [
        "\"", "\\", "<", ">", "(", "()", ",", ";", "=", "[", "%", " ", "\t", "\\\"", "\"\"", "<>",
        "@", ":", "sip:",
    ] {
        let filler = filler.repeat(60_000 / filler.len());
        for name in [
            "Via: SIP/2.0/TLS h;x=",
            "From: ",
            "To: \"",
            "CSeq: 1",
            "Require: ",
            "Content-Encoding: ",
        ] {
            let name_end = name.find(':').unwrap();
            play(&message_with(&name[..name_end], &format!("{name}{filler}")));
        }
    }
    let folds = "\r\n x".repeat(240);
    play(&message_with(
        "From",
        &format!("From: <sip:a@b>;tag=1{}", folds.replace('x', ";x")),
    ));
}

#[test]
fn a_flood_of_pings_is_answered_in_one_go() {
    let mut peer = Peer::new();
    within_deadline(|| {
        peer.send("\r\n".repeat(100_000));
    });
    assert_eq!(peer.take_text().len(), 100_000);
}

#[test]
fn a_flood_of_small_messages_in_one_piece() {
    let all: String = (0..20_000).map(message).collect();
    let mut peer = Peer::with(Limits::default());
    within_deadline(|| {
        peer.send(&all).answer_all(&Answer::ok());
    });
    assert_eq!(
        peer.connection.counts().transactions_forgotten,
        20_000 - 4096
    );
}

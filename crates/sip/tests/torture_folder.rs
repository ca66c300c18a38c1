//! The messages of RFC 4475 as they are, where they lie beside the checkout: each ends as its index allows.
//!
//! Not here: our own vectors for the same rules, `torture.rs`.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

mod peer;

use std::path::{Path, PathBuf};

use peer::{Peer, Response};
use pushrelay_sip::{Answer, Decoder, Frame, Limits, Message};
use serde_json::Value;

/// Names the folder with `index.json`; without it, the place beside the checkout is looked at.
const FOLDER: &str = "PUSHRELAY_SIP_TORTURE";

#[test]
fn every_message_of_the_folder_ends_as_its_index_allows() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/sip-torture");
    let folder = std::env::var_os(FOLDER).map_or(beside, PathBuf::from);
    let Ok(index) = std::fs::read(folder.join("index.json")) else {
        println!(
            "skipped: no index.json in {}, set {FOLDER} to the folder of RFC 4475's messages",
            folder.display()
        );
        return;
    };
    let index: Value = serde_json::from_slice(&index).unwrap();
    let tests = index["tests"].as_array().unwrap();
    assert_eq!(tests.len() as u64, index["count_files"].as_u64().unwrap());
    let mut preferred = 0;
    for test in tests {
        let bytes = std::fs::read(folder.join(test["file"].as_str().unwrap())).unwrap();
        let outcomes = play(&bytes);
        judge(test, &bytes, &outcomes);
        preferred += usize::from(is_preferred(test, &outcomes));
        // However the stream is cut, the same comes of it.
        let mut by_byte = Peer::new();
        for byte in &bytes {
            by_byte.send([*byte]);
        }
        let mut at_once = Peer::new();
        at_once.send(&bytes);
        assert_eq!(
            by_byte.requests.len(),
            at_once.requests.len(),
            "{}",
            test["name"]
        );
        assert_eq!(by_byte.refused, at_once.refused, "{}", test["name"]);
    }
    println!("{preferred} of {} ended as preferred", tests.len());
}

struct Outcome {
    answers: Vec<Response>,
    closed: bool,
}

/// Sends one message as the whole stream, and answers as a relay whose addresses none of these are.
fn play(bytes: &[u8]) -> Outcome {
    let mut peer = Peer::new();
    peer.send(bytes);
    for request in std::mem::take(&mut peer.requests) {
        let other = Answer::new(if request.is_options() { 200 } else { 404 });
        let fault = request.fault().map(|fault| fault.answer());
        peer.connection
            .respond(request.key(), fault.as_ref().unwrap_or(&other), peer.now);
    }
    peer.send("");
    Outcome {
        answers: peer.take_answers(),
        closed: peer.closed.is_some(),
    }
}

fn judge(test: &Value, bytes: &[u8], outcome: &Outcome) {
    let name = test["name"].as_str().unwrap();
    let expect = &test["expect"];
    let number = |key: &str| expect[key].as_u64().unwrap() as usize;
    assert!(
        outcome.answers.len() <= number("max_responses"),
        "{name}: {} answers",
        outcome.answers.len()
    );
    if outcome.answers.is_empty() {
        let word = if outcome.closed { "close" } else { "silence" };
        assert!(allows(&expect["outcomes"], word), "{name}: {word}");
        return;
    }
    assert!(
        outcome.answers.len() >= number("responses"),
        "{name}: {} answers",
        outcome.answers.len()
    );
    for (at, answer) in outcome.answers.iter().enumerate() {
        let status = answer.status.to_string();
        let allowed = if at < number("responses") {
            &expect["outcomes"]
        } else {
            &expect["extra_outcomes"]
        };
        assert!(allows(allowed, &status), "{name}: {}", answer.text);
    }
    if expect["same_connection"] == "required" {
        assert!(!outcome.closed, "{name}: closed");
    }
    if expect["echo"] == true {
        for (request, answer) in requests(bytes).iter().zip(&outcome.answers) {
            echoes(name, request, answer);
        }
    }
}

fn allows(outcomes: &Value, outcome: &str) -> bool {
    let class = format!("{}xx", &outcome[..1]);
    outcomes
        .as_array()
        .unwrap()
        .iter()
        .any(|allowed| allowed == outcome || *allowed == class || allowed == "any")
}

fn is_preferred(test: &Value, outcome: &Outcome) -> bool {
    let found = outcome
        .answers
        .first()
        .map_or("silence".to_owned(), |answer| answer.status.to_string());
    allows(&test["expect"]["preferred"], &found)
}

/// The requests in `bytes`.
fn requests(bytes: &[u8]) -> Vec<Message> {
    let mut decoder = Decoder::new(Limits::default());
    decoder.feed(bytes);
    std::iter::from_fn(|| decoder.poll())
        .filter_map(|frame| match frame {
            Frame::Message(message) => Some(message),
            Frame::Ping | Frame::Refused(_) => None,
        })
        .collect()
}

/// Whether `answer` gives back what identifies `request`, white space aside.
fn echoes(name: &str, request: &Message, answer: &Response) {
    let bare = |value: &str| {
        value
            .chars()
            .filter(|character| !character.is_whitespace())
            .collect::<String>()
    };
    let sent = |header: &str| {
        request
            .headers(header)
            .map(|value| bare(&String::from_utf8_lossy(value)))
            .collect::<Vec<_>>()
    };
    let came = |header: &str| answer.all(header).into_iter().map(bare).collect::<Vec<_>>();
    for header in ["From", "Call-ID", "CSeq"] {
        assert_eq!(came(header), sent(header), "{name}");
    }
    assert!(came("To")[0].starts_with(&sent("To")[0]), "{name}");
    let (came, sent) = (came("Via"), sent("Via"));
    assert_eq!(came[1..], sent[1..], "{name}");
    let top = came[0]
        .replace(";received=192.0.2.10", "")
        .replace(";rport=49812", ";rport");
    assert_eq!(top, sent[0], "{name}");
}

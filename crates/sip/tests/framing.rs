//! Where one message ends and the next begins, whatever the stream does in between.
#![allow(clippy::unwrap_used)]

mod peer;

use std::time::Duration;

use peer::{Peer, message, message_with};
use pushrelay_sip::{Answer, CloseReason, Limits};

fn with_length(line: &str) -> String {
    message_with("Content-Length", line)
}

/// Sends what cannot be framed, and returns status and reason after checking that it was answered and closed.
fn refused(bytes: impl AsRef<[u8]>) -> (u16, String) {
    let mut peer = Peer::new();
    peer.send(bytes);
    assert!(peer.requests.is_empty());
    assert_eq!(peer.closed, Some(CloseReason::Framing));
    assert_eq!(peer.refused.len(), 1);
    let (status, reason) = peer.refused[0].clone();
    let answer = peer.take_answer();
    assert_eq!(answer.status, status);
    assert_eq!(
        answer.one("Via"),
        "SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK1"
    );
    assert!(
        answer.one("ms-diagnostics-public").contains(&reason),
        "{}",
        answer.text
    );
    (status, reason)
}

#[test]
fn a_missing_content_length_is_refused() {
    assert_eq!(refused(with_length("")).0, 400);
}

#[test]
fn a_second_content_length_is_refused() {
    for second in [
        "Content-Length: 5",
        "content-length: 6",
        "l: 5",
        "CONTENT-LENGTH : 5",
    ] {
        let (status, reason) = refused(with_length(&format!("Content-Length: 5\r\n{second}")));
        assert_eq!(status, 400);
        assert!(reason.contains("more than one Content-Length"));
    }
}

#[test]
fn a_content_length_that_is_not_digits_is_refused() {
    for value in [
        "-1", "+5", "5, 5", "5;5", "0x5", "5 5", "", "five", "\"5\"", "5.0", "\u{b}5", "5\r\n 5",
    ] {
        assert_eq!(
            refused(with_length(&format!("Content-Length: {value}"))).0,
            400,
            "{value}"
        );
    }
}

#[test]
fn a_content_length_that_overflows_does_not_wrap() {
    for value in [
        "4294967296",
        "4294967301",
        "18446744073709551621",
        "99999999999999999999999999",
    ] {
        assert_eq!(
            refused(with_length(&format!("Content-Length: {value}"))).0,
            400,
            "{value}"
        );
    }
}

#[test]
fn a_content_length_may_be_compact_padded_folded_and_have_leading_zeros() {
    for line in [
        "l: 5",
        "L:5",
        "Content-Length   :   5  ",
        "Content-Length:\r\n 5",
        "CONTENT-LENGTH: 0000000000005",
    ] {
        let mut peer = Peer::new();
        peer.send(with_length(line));
        assert_eq!(peer.requests.len(), 1, "{line}");
        assert_eq!(&peer.requests[0].body()[..], b"hello");
    }
}

#[test]
fn a_body_of_the_limit_is_taken_and_one_byte_more_is_413() {
    let limit = Limits::default().body_bytes;
    let head = with_length(&format!("Content-Length: {limit}"));
    let head = head.strip_suffix("hello").unwrap();
    let mut peer = Peer::new();
    peer.send(head).send(vec![b'x'; limit]);
    assert_eq!(peer.requests[0].body().len(), limit);

    let (status, reason) = refused(with_length(&format!("Content-Length: {}", limit + 1)));
    assert_eq!(
        (status, &reason[..]),
        (413, "a body of 65537 bytes, at most 65536 are taken")
    );
}

#[test]
fn a_head_of_the_limit_is_taken_and_one_byte_more_is_513() {
    let limit = Limits::default().head_bytes;
    let bare = message_with("Subject", "Subject: ").len() - "hello".len();
    let with_head =
        |bytes: usize| message_with("Subject", &format!("Subject: {}", "x".repeat(bytes - bare)));
    let mut peer = Peer::new();
    peer.send(with_head(limit));
    assert_eq!(peer.requests.len(), 1);
    assert_eq!(refused(with_head(limit + 1)).0, 513);
    // Without an end in sight it is refused as soon as it is too large.
    let endless = message_with("Subject", &format!("Subject: {}", "x".repeat(limit)));
    assert_eq!(refused(&endless[..limit + 1]).0, 513);
}

#[test]
fn head_and_body_are_bounded_apart_however_much_comes_at_once() {
    let many: String = (0..2000).map(message).collect();
    assert!(many.len() > Limits::default().head_bytes + Limits::default().body_bytes);
    let mut peer = Peer::new();
    peer.send(many);
    assert_eq!(peer.requests.len(), 2000);
}

#[test]
fn more_lines_than_the_limit_are_513() {
    let lines = message(1)
        .split("\r\n\r\n")
        .next()
        .unwrap()
        .split("\r\n")
        .count();
    let filled = |more: usize| message_with("Subject", &vec!["Subject: x"; more].join("\r\n"));
    let mut peer = Peer::new();
    peer.send(filled(256 - lines));
    assert_eq!(peer.requests.len(), 1);
    assert_eq!(refused(filled(257 - lines)).0, 513);
    // Continuation lines count too.
    let folded = message_with("Subject", &format!("Subject: x{}", "\r\n x".repeat(256)));
    assert_eq!(refused(folded).0, 513);
}

#[test]
fn a_cr_or_lf_that_stands_alone_is_refused() {
    for line in [
        "Subject: a\nX: b",
        "Subject: a\rX: b",
        "Subject: a\r\r\nX: b",
        "Subject: a\n\r\nX: b",
    ] {
        let (status, reason) = refused(message_with("Subject", line));
        assert_eq!(status, 400, "{}", line.escape_debug());
        assert!(reason.contains("CRLF"));
    }
}

#[test]
fn a_stream_that_is_no_sip_is_closed_without_an_answer() {
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\0\x01\0\n",
        b"\n\n",
        b"\rx",
    ] {
        let mut peer = Peer::new();
        peer.send(bytes);
        assert_eq!(
            peer.closed,
            Some(CloseReason::Framing),
            "{}",
            bytes.escape_ascii()
        );
        assert_eq!(peer.take_text(), "");
    }
}

#[test]
fn nothing_is_read_after_a_framing_error() {
    let mut peer = Peer::new();
    peer.send(with_length("")).send(message(2)).send("\r\n\r\n");
    assert_eq!(peer.take_answers().len(), 1);
    assert!(peer.requests.is_empty());
    assert_eq!(peer.connection.counts().refused, 1);
}

#[test]
fn what_came_before_a_framing_error_is_answered_before_the_close() {
    let mut peer = Peer::new();
    peer.send(message(2) + &with_length(""));
    assert_eq!(peer.take_answer().status, 400);
    assert_eq!(peer.closed, None, "one request still waits");
    peer.answer_all(&Answer::ok());
    assert_eq!(peer.take_answer().status, 200);
    assert_eq!(peer.closed, Some(CloseReason::Framing));
}

#[test]
fn pipelined_messages_come_out_in_order_and_are_answered_in_any() {
    let mut peer = Peer::new();
    peer.send(message(1) + &message(2) + &message(3));
    let numbers = |peer: &Peer| {
        peer.requests
            .iter()
            .map(|request| request.call_id().to_vec())
            .collect::<Vec<_>>()
    };
    let sent = numbers(&peer);
    assert!(sent.is_sorted() && sent.len() == 3);
    peer.requests.reverse();
    peer.answer_all(&Answer::ok());
    let answered: Vec<_> = peer
        .take_answers()
        .iter()
        .map(|answer| answer.one("Call-ID").as_bytes().to_vec())
        .collect();
    assert_eq!(answered, sent.iter().rev().cloned().collect::<Vec<_>>());
}

#[test]
fn several_answers_leave_in_one_transmit() {
    let mut peer = Peer::new();
    peer.send(message(1) + &message(2));
    for request in std::mem::take(&mut peer.requests) {
        peer.connection
            .respond(request.key(), &Answer::ok(), peer.now);
    }
    let Some(pushrelay_sip::Output::Transmit(bytes)) = peer.connection.poll_output() else {
        panic!("answers")
    };
    assert_eq!(peer::responses(&bytes).len(), 2);
    assert!(peer.connection.poll_output().is_none());
}

#[test]
fn a_double_crlf_is_answered_with_one_and_a_single_one_is_not() {
    for (sent, answered) in [
        ("\r\n", ""),
        ("\r\n\r\n", "\r\n"),
        ("\r\n\r\n\r\n", "\r\n"),
        ("\r\n\r\n\r\n\r\n", "\r\n\r\n"),
    ] {
        let mut peer = Peer::new();
        peer.send(sent);
        assert_eq!(peer.take_text(), answered, "{sent:?}");
        let mut peer = Peer::new();
        for byte in sent.bytes() {
            peer.send([byte]);
        }
        assert_eq!(peer.take_text(), answered, "{sent:?} byte by byte");
        assert_eq!(peer.connection.poll_timeout(), None, "nothing has begun");
    }
}

#[test]
fn line_ends_before_a_start_line_are_skipped() {
    let mut peer = Peer::new();
    peer.send("\r\n".to_owned() + &message(1) + "\r\n" + &message(2) + "\r\n\r\n" + &message(3));
    assert_eq!(peer.requests.len(), 3);
    assert_eq!(peer.take_text(), "\r\n");
    assert_eq!(peer.connection.counts().pings, 1);
}

#[test]
fn every_split_in_two_reads_the_same() {
    let stream = "\r\n\r\n".to_owned()
        + &message(1)
        + "\r\n"
        + &message_with("Subject", "Subject: a\r\n b")
        + "\r\n\r\n";
    for at in 0..=stream.len() {
        let mut peer = Peer::new();
        peer.send(&stream[..at]).send(&stream[at..]);
        assert_eq!(
            peer.requests.len(),
            1,
            "the second is a retransmission; split at {at}"
        );
        assert_eq!(peer.take_text(), "\r\n\r\n");
        assert_eq!(&peer.requests[0].body()[..], b"hello");
        assert_eq!(peer.closed, None);
    }
}

#[test]
fn byte_by_byte_reads_the_same() {
    let mut peer = Peer::new();
    for byte in (message(1) + &message(2)).bytes() {
        peer.send([byte]);
    }
    assert_eq!(peer.requests.len(), 2);
    peer.answer_all(&Answer::ok());
    assert!(
        peer.take_answers()
            .iter()
            .all(|answer| answer.status == 200)
    );
}

#[test]
fn a_message_that_never_ends_is_given_up_after_its_time() {
    let mut peer = Peer::new();
    let text = message(1);
    peer.send(&text[..text.len() - 1]);
    assert_eq!(
        peer.connection.poll_timeout(),
        Some(peer.now + Duration::from_secs(32))
    );
    peer.wait(Duration::from_secs(31)).send("");
    assert_eq!(peer.closed, None);
    peer.wait(Duration::from_secs(1));
    assert_eq!(peer.closed, Some(CloseReason::Stalled));
    assert_eq!(peer.take_answer().status, 400);
}

#[test]
fn the_time_of_a_message_begins_with_its_own_first_bytes() {
    let mut peer = Peer::new();
    let (first, second) = (message(1), message(2));
    peer.send(&first[..10]).wait(Duration::from_secs(20));
    peer.send(first[10..].to_owned() + &second[..10])
        .wait(Duration::from_secs(20));
    assert_eq!(peer.closed, None);
    peer.send(&second[10..]);
    assert_eq!(peer.requests.len(), 2);
    assert_eq!(peer.connection.poll_timeout(), None);
}

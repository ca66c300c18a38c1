//! The same request again: one push and one answer, however often and on however many ways it comes.
#![allow(clippy::unwrap_used)]

mod peer;

use std::time::Duration;

use peer::{Peer, message, message_with};
use pushrelay_sip::{Answer, Limits};

const LIFE: Duration = Duration::from_secs(32);

/// [`message`] 1 as it comes when a proxy has forked it: another top Via.
fn on_another_way(way: u32) -> String {
    message_with(
        "Via",
        &format!("Via: SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK1-{way}"),
    )
}

#[test]
fn a_retransmission_of_what_waits_is_absorbed() {
    let mut peer = Peer::new();
    peer.send(message(1)).send(message(1)).send(message(1));
    assert_eq!(peer.requests.len(), 1);
    assert_eq!(peer.connection.unanswered(), 1);
    peer.answer_all(&Answer::ok());
    assert_eq!(peer.take_answers().len(), 1);
    assert_eq!(peer.connection.counts().retransmissions, 2);
}

#[test]
fn a_retransmission_of_what_is_answered_gets_the_same_bytes() {
    let mut peer = Peer::new();
    peer.send(message(1))
        .answer_all(&Answer::new(410).reason("gone"));
    let first = peer.take_text();
    peer.wait(LIFE - Duration::from_secs(1)).send(message(1));
    assert!(peer.requests.is_empty());
    assert_eq!(peer.take_text(), first);
    assert_eq!(peer.connection.counts().retransmissions, 1);
    assert_eq!(peer.connection.unanswered(), 0);
}

#[test]
fn a_merged_request_gets_the_answer_of_the_first_under_its_own_via() {
    for answered_before in [true, false] {
        let mut peer = Peer::new();
        peer.send(message(1));
        if answered_before {
            peer.answer_all(&Answer::new(488).reason("why"));
        }
        peer.send(on_another_way(1)).send(on_another_way(2));
        assert_eq!(
            peer.requests.len(),
            usize::from(!answered_before),
            "one push"
        );
        peer.answer_all(&Answer::new(488).reason("why"));
        let answers = peer.take_answers();
        let vias: Vec<_> = answers
            .iter()
            .map(|answer| answer.one("Via").to_owned())
            .collect();
        assert_eq!(
            vias,
            [
                "SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK1",
                "SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK1-1",
                "SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK1-2"
            ]
        );
        let rests: Vec<_> = answers
            .iter()
            .zip(&vias)
            .map(|(answer, via)| answer.text.replace(via, ""))
            .collect();
        assert!(
            rests.iter().all(|rest| rest == &rests[0]),
            "the same To tag, the same reason"
        );
        assert_eq!(peer.connection.counts().merged, 2);
        assert_eq!(peer.connection.unanswered(), 0);
    }
}

#[test]
fn a_retransmission_of_a_merged_request_is_none_more() {
    let mut peer = Peer::new();
    peer.send(message(1))
        .send(on_another_way(1))
        .send(on_another_way(1))
        .answer_all(&Answer::ok());
    assert_eq!(peer.take_answers().len(), 2);
    peer.send(on_another_way(1));
    assert_eq!(
        peer.take_answer().one("Via"),
        "SIP/2.0/TLS 192.0.2.10:49812;branch=z9hG4bK1-1"
    );
    let counts = peer.connection.counts();
    assert_eq!((counts.merged, counts.retransmissions), (2, 1));
}

#[test]
fn merged_requests_past_the_bound_are_482_at_once() {
    let mut peer = Peer::new();
    peer.send(message(1));
    for way in 0..17 {
        peer.send(on_another_way(way));
    }
    assert_eq!(peer.take_answer().status, 482);
    assert_eq!(peer.connection.counts().merged_refused, 1);
    peer.answer_all(&Answer::ok());
    assert_eq!(peer.take_answers().len(), 17);
}

#[test]
fn what_differs_in_from_tag_call_id_or_cseq_is_another_request() {
    let mut peer = Peer::new();
    peer.send(message(1));
    peer.send(message_with(
        "From",
        "From: <sip:kima@contoso.example>;tag=another",
    ));
    peer.send(message_with("From", "From: <sip:kima@contoso.example>"));
    peer.send(message_with("Call-ID", "Call-ID: another"));
    peer.send(message_with("CSeq", "CSeq: 2 MESSAGE"));
    peer.send(
        message(1)
            .replacen("MESSAGE", "OPTIONS", 1)
            .replacen("1 MESSAGE", "1 OPTIONS", 1),
    );
    assert_eq!(peer.requests.len(), 6);
    let mut keys: Vec<_> = peer.requests.iter().map(|request| request.key()).collect();
    keys.dedup();
    assert_eq!(keys.len(), 6);
}

#[test]
fn the_parts_of_a_key_do_not_run_into_each_other() {
    let mut peer = Peer::new();
    for (tag, call_id) in [("ab", "c"), ("a", "bc"), ("abc", "d"), ("c", "ab")] {
        let text = message_with("From", &format!("From: <sip:a@b>;tag={tag}"));
        peer.send(text.replace("cecb8c21ba01462a90f2f72300000001", call_id));
    }
    assert_eq!(peer.requests.len(), 4);
}

#[test]
fn a_reused_branch_alone_makes_no_retransmission() {
    // A sender that puts the same branch, or only the cookie, into every request: no push is lost for it.
    for branch in ["z9hG4bKalways", "z9hG4bK"] {
        let mut peer = Peer::new();
        for n in 1..=3 {
            peer.send(message(n).replace(&format!("z9hG4bK{n}"), branch));
        }
        assert_eq!(peer.requests.len(), 3);
    }
}

#[test]
fn a_branchless_via_is_matched_by_the_rules_of_rfc_2543() {
    let first = message_with("Via", "Via: SIP/2.0/TLS 192.168.2.79:52599");
    let other_hop = message_with("Via", "Via: SIP/2.0/TLS 192.168.2.79:52600");
    let other_uri = first.replacen("sip:push@", "sip:push2@", 1);
    let mut peer = Peer::new();
    peer.send(&first)
        .send(&first)
        .send(&other_hop)
        .send(&other_uri);
    assert_eq!(peer.requests.len(), 1);
    let counts = peer.connection.counts();
    assert_eq!((counts.retransmissions, counts.merged), (1, 2));
    peer.answer_all(&Answer::ok());
    assert_eq!(peer.take_answers().len(), 3);
    peer.send(&first);
    assert_eq!(peer.connection.counts().retransmissions, 2);
    assert_eq!(
        peer.take_answer().one("Via"),
        "SIP/2.0/TLS 192.168.2.79:52599;received=192.0.2.10"
    );
}

#[test]
fn with_a_branch_its_other_parameters_do_not_matter() {
    let mut peer = Peer::new();
    peer.send(message(1)).send(message_with(
        "Via",
        "Via: SIP/2.0/TLS 192.0.2.10:49812;x=y;branch=z9hG4bK1",
    ));
    assert_eq!(peer.connection.counts().retransmissions, 1);
    peer.send(message_with(
        "Via",
        "Via: SIP/2.0/TLS 192.0.2.10:1;branch=z9hG4bK1",
    ));
    assert_eq!(peer.connection.counts().merged, 1, "sent-by does");
}

#[test]
fn the_bare_cookie_is_no_branch() {
    let mut peer = Peer::new();
    peer.send(message_with("Via", "Via: SIP/2.0/TLS h;branch=z9hG4bK;x=1"));
    peer.send(message_with("Via", "Via: SIP/2.0/TLS h;branch=z9hG4bK;x=2"));
    assert_eq!(
        peer.connection.counts().merged,
        1,
        "the whole Via decides, as in RFC 2543"
    );
}

#[test]
fn a_faulty_request_is_remembered_too() {
    let mut peer = Peer::new();
    let text = message_with("Require", "Require: x");
    peer.send(&text).answer_all(&Answer::ok()).send(&text);
    assert!(peer.requests.is_empty());
    let answers = peer.take_answers();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].text, answers[1].text);
}

#[test]
fn requests_without_identity_are_like_no_other() {
    let mut peer = Peer::new();
    let text = message_with("Call-ID", "");
    peer.send(&text)
        .send(&text)
        .send(message_with("From", ""))
        .send("MESSAGE\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(peer.requests.len(), 4);
    peer.answer_all(&Answer::ok());
    assert_eq!(
        peer.take_answers()
            .iter()
            .filter(|answer| answer.status == 400)
            .count(),
        4
    );
    assert_eq!(peer.connection.unanswered(), 0);
    assert_eq!(
        peer.connection.poll_timeout(),
        None,
        "nothing of them is kept"
    );
}

#[test]
fn an_answer_is_forgotten_after_32_seconds() {
    let mut peer = Peer::new();
    peer.send(message(1)).wait(LIFE).answer_all(&Answer::ok());
    let due = peer.connection.poll_timeout().unwrap();
    assert!(
        due > peer.now + LIFE - Duration::from_millis(1)
            && due <= peer.now + LIFE + Duration::from_secs(1)
    );
    peer.wait(due - peer.now);
    assert_eq!(peer.connection.poll_timeout(), None);
    peer.send(message(1));
    assert_eq!(peer.requests.len(), 1, "a new one");
}

#[test]
fn at_32_seconds_it_is_over_without_a_timer_too() {
    let mut peer = Peer::new();
    peer.send(message(1)).answer_all(&Answer::ok());
    peer.now += LIFE;
    peer.send(message(1));
    assert_eq!(peer.requests.len(), 1);
}

#[test]
fn what_waits_is_never_forgotten() {
    let mut peer = Peer::with(Limits {
        transactions: 1,
        ..Limits::default()
    });
    peer.send(message(1)).wait(100 * LIFE).send(message(1));
    assert_eq!((peer.requests.len(), peer.connection.unanswered()), (1, 1));
}

#[test]
fn the_oldest_answers_are_forgotten_when_there_are_too_many() {
    let mut peer = Peer::with(Limits {
        transactions: 3,
        ..Limits::default()
    });
    for n in 1..=5 {
        peer.send(message(n)).answer_all(&Answer::ok());
    }
    assert_eq!(peer.connection.counts().transactions_forgotten, 2);
    peer.send(message(2) + &message(3));
    assert_eq!(peer.requests.len(), 1, "2 is new again, 3 is not");
}

#[test]
fn the_oldest_answers_are_forgotten_when_they_take_too_much() {
    let limits = Limits {
        transaction_bytes: 100_000,
        ..Limits::default()
    };
    let mut peer = Peer::with(limits);
    let filler = "x".repeat(20_000);
    for n in 1..=20 {
        peer.send(message(n).replace("Kim Akers", &filler))
            .answer_all(&Answer::ok());
    }
    assert_eq!(peer.connection.counts().transactions_forgotten, 16);
    // One answer larger than all of the room: it is given and not kept.
    let mut peer = Peer::with(Limits {
        transaction_bytes: 100,
        ..Limits::default()
    });
    peer.send(message(1)).answer_all(&Answer::ok());
    assert_eq!(peer.take_answer().status, 200);
    assert_eq!(peer.connection.poll_timeout(), None);
}

#[test]
fn to_tags_are_of_the_seed_and_the_request() {
    let tag = |text: &str| {
        let mut peer = Peer::new();
        peer.send(text).answer_all(&Answer::ok());
        let answer = peer.take_answer();
        answer.one("To").split_once(";tag=").unwrap().1.to_owned()
    };
    assert_eq!(tag(&message(1)), tag(&message(1)));
    assert_ne!(tag(&message(1)), tag(&message(2)));
    assert_eq!(
        tag(&message(1)).len(),
        16,
        "64 bits, at least 32 are due: RFC 3261 19.3"
    );
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "exactly once")]
fn a_second_answer_is_a_fault_of_ours() {
    let mut peer = Peer::new();
    peer.send(message(1));
    let key = peer.requests[0].key();
    peer.connection.respond(key, &Answer::ok(), peer.now);
    peer.connection.respond(key, &Answer::ok(), peer.now);
}

#[test]
fn each_request_is_counted_and_answered_once() {
    let mut peer = Peer::new();
    for n in 0..100 {
        peer.send(message(n % 40)).send(message(n % 40));
        if n % 3 == 0 {
            peer.answer_all(&Answer::ok());
        }
    }
    peer.answer_all(&Answer::ok());
    let counts = peer.connection.counts();
    assert_eq!(
        (counts.requests, counts.answers, counts.retransmissions),
        (40, 40, 160)
    );
    assert_eq!(peer.connection.unanswered(), 0);
}

#[test]
fn nothing_of_one_connection_is_seen_by_another() {
    let mut first = Peer::new();
    let mut second = Peer::new();
    first.send(message(1)).answer_all(&Answer::ok());
    second.send(message(1));
    assert_eq!(second.requests.len(), 1);
}

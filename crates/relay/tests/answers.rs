//! What the sender is told, row by row, over real sockets: the daemon between a fake Edge and the fake providers.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::edge::SipRequest;
use pushrelay_peers::pki::{Eku, Leaf};
use pushrelay_peers::{ApnsAnswer, FakeEdge, MpnsAnswer};

#[tokio::test]
async fn a_push_to_both_platforms_is_answered_200_and_seen_once_by_each() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let request = edge.request(json(), body(&[APPLE, &relay.windows_phone("phone")]));
    let answer = edge.exchange(&request).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("Content-Length"), Some("0"));
    assert_eq!(
        answer.header("Contact"),
        None,
        "RFC 3428 7: no Contact in a 2xx to MESSAGE"
    );
    let vias: Vec<_> = answer.headers("Via").collect();
    assert_eq!(vias.len(), 3, "{vias:?}");
    assert!(
        vias[0].starts_with(&request.via) && vias[0].contains("received=127.0.0.1"),
        "{vias:?}"
    );
    assert_eq!(vias[1..], request.more_vias[..]);
    assert!(answer.to_tag().is_some());

    let apple = relay.world.apple.received();
    assert_eq!(apple.len(), 1);
    assert_eq!(relay.world.windows_phone.received().len(), 1);
    assert_eq!(relay.world.apple.violations(), Vec::<String>::new());
    assert_eq!(relay.world.windows_phone.violations(), Vec::<String>::new());
    relay.end().await;
}

/// What a busy machine adds is not the relay's: one round in time is enough, and there are more of them while there is none. The
/// figures are printed: `cargo test -p pushrelay --test answers slower -- --nocapture`.
#[tokio::test]
async fn the_answer_comes_within_5_ms_of_the_slower_provider() {
    const SLOW: Duration = Duration::from_millis(60);
    const SURPLUS: Duration = Duration::from_millis(5);
    const ROUNDS: usize = 21;
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let targets = [APPLE, &relay.windows_phone("phone")];
    // The first push pays for the connections to the providers.
    assert_eq!(
        edge.message(json(), body(&targets)).await.unwrap().status,
        200
    );
    relay
        .world
        .apple
        .script_default([ApnsAnswer::ok().after(SLOW / 3)]);
    relay
        .world
        .windows_phone
        .script_default([MpnsAnswer::received().after(SLOW)]);
    let begin = Instant::now();
    let mut surplus = Vec::new();
    while surplus.len() < ROUNDS || (surplus[0] > SURPLUS && begin.elapsed() < PATIENCE) {
        let sent = Instant::now();
        assert_eq!(
            edge.message(json(), body(&targets)).await.unwrap().status,
            200
        );
        surplus.push(
            sent.elapsed()
                .checked_sub(SLOW)
                .expect("not before the slower one has answered"),
        );
        surplus.sort_unstable();
    }
    let rounds = surplus.len();
    eprintln!(
        "the answer came {:?} after the slower provider's (median of {rounds}, best {:?}, longest {:?})",
        surplus[rounds / 2],
        surplus[0],
        surplus[rounds - 1]
    );
    assert!(surplus[0] <= SURPLUS, "{surplus:?}");
    assert_eq!(relay.world.apple.received().len(), 1 + rounds);
    assert_eq!(relay.world.windows_phone.received().len(), 1 + rounds);
    relay.end().await;
}

#[tokio::test]
async fn success_is_202_where_the_operator_wants_it() {
    let relay = Relay::configured(|config| {
        config["sip"]
            .as_table_mut()
            .unwrap()
            .insert("accepted_status".into(), 202.into());
    })
    .await;
    let edge = relay.edge().await;
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        202
    );
    relay.end().await;
}

#[tokio::test]
async fn a_device_that_is_gone_is_410_with_the_service_and_the_time() {
    let relay = Relay::start().await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::gone(1_700_000_000_000)]);
    let edge = relay.edge().await;
    let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
    assert_eq!(answer.status, 410);
    let reason = answer.reason().unwrap();
    assert!(
        reason.contains("Apple") && reason.contains("1700000000"),
        "{reason}"
    );
    relay.end().await;
}

#[tokio::test]
async fn when_every_device_of_several_is_gone_it_is_410() {
    let relay = Relay::start().await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::gone(1_700_000_000_000)]);
    relay
        .world
        .windows_phone
        .script_default([MpnsAnswer::expired()]);
    let edge = relay.edge().await;
    let phone = relay.windows_phone("phone");
    for (targets, service) in [
        (vec![phone.as_str()], "Windows Phone: the device is gone"),
        (vec![APPLE, phone.as_str()], "gone"),
    ] {
        let answer = edge.message(json(), body(&targets)).await.unwrap();
        assert_eq!(answer.status, 410, "{answer:?}");
        assert!(answer.reason().unwrap().contains(service), "{answer:?}");
    }
    relay.end().await;
}

#[tokio::test]
async fn some_accepted_and_some_gone_or_refused_is_200_with_a_warning_that_counts() {
    for fate in [MpnsAnswer::expired(), MpnsAnswer::status(400)] {
        let relay = Relay::start().await;
        relay.world.windows_phone.script_default([fate]);
        let edge = relay.edge().await;
        let answer = edge
            .message(json(), body(&[APPLE, &relay.windows_phone("phone")]))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        let warning = answer.header("Warning").unwrap();
        assert!(
            warning.starts_with("399 push.example.org \"1 of 2"),
            "{warning}"
        );
        relay.end().await;
    }
}

#[tokio::test]
async fn a_refusal_of_every_target_is_488_with_the_providers_reason() {
    let relay = Relay::start().await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::error(400, "BadDeviceToken")]);
    let edge = relay.edge().await;
    let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
    assert_eq!(answer.status, 488);
    assert!(answer.reason().unwrap().contains("BadDeviceToken"));
    let diagnostics = answer.header("ms-diagnostics-public").unwrap();
    assert!(
        diagnostics.starts_with("2;reason=\"") && !diagnostics.contains("source"),
        "{diagnostics}"
    );
    relay.end().await;
}

#[tokio::test]
async fn a_switched_off_platform_is_403_with_its_own_reason() {
    for (platform, targets) in [("apple", 0..1), ("windows_phone", 1..2)] {
        let relay = Relay::configured(|config| {
            // As in Lync, what is not switched on is off.
            config[platform].as_table_mut().unwrap().remove("enabled");
        })
        .await;
        let edge = relay.edge().await;
        let phone = relay.windows_phone("phone");
        let both = [APPLE, &phone];
        let answer = edge.message(json(), body(&both[targets])).await.unwrap();
        assert_eq!(answer.status, 403);
        assert!(
            answer.reason().unwrap().contains("switched off"),
            "{answer:?}"
        );
        relay.end().await;
    }
}

#[tokio::test]
async fn what_is_not_ours_is_404_and_an_unknown_app_is_488() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let foreign = SipRequest::message(
        "sip:other@push.example.org",
        &edge.from,
        json(),
        body(&[APPLE]),
    );
    assert_eq!(edge.exchange(&foreign).await.unwrap().status, 404);
    let foreign = SipRequest::bare("OPTIONS", "sip:push@elsewhere.example", &edge.from);
    assert_eq!(edge.exchange(&foreign).await.unwrap().status, 404);
    let unknown = r#"{"service":"apns","token":"00112233445566778899aabbccddeeff","app":"com.example.nobody"}"#;
    let answer = edge.message(json(), body(&[unknown])).await.unwrap();
    assert_eq!(answer.status, 488);
    assert!(answer.reason().unwrap().contains("no app"), "{answer:?}");
    relay.end().await;
}

#[tokio::test]
async fn a_from_that_is_not_the_partners_is_403() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    for from in [
        "sip:kim@fabrikam.example",
        "sip:kim@evil.contoso.example",
        "tel:+4930123456",
    ] {
        let foreign = SipRequest::message(&edge.request_uri, from, json(), body(&[APPLE]));
        let answer = edge.exchange(&foreign).await.unwrap();
        assert_eq!(answer.status, 403, "{from}");
        assert!(answer.reason().unwrap().contains("From"), "{answer:?}");
    }
    assert_eq!(relay.world.apple.received().len(), 0);
    relay.end().await;
}

#[tokio::test]
async fn a_stranger_learns_why_three_times_and_is_hung_up_on() {
    let relay = Relay::start().await;
    let stranger = relay
        .world
        .authority
        .issue(&Leaf::named("sip.fabrikam.example").eku(Eku::Server));
    let world = &relay.world;
    let edge = FakeEdge::connect(
        relay.daemon.sip_addr(),
        pushrelay_peers::world::RELAY_NAME,
        &stranger,
        &world.certificates.root_pem,
        pushrelay_peers::world::EDGE_DOMAIN,
    )
    .await
    .unwrap();
    for _ in 0..3 {
        let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
        assert_eq!(answer.status, 403);
        assert!(answer.reason().unwrap().contains("partner"), "{answer:?}");
    }
    edge.closed(Duration::from_secs(5)).await.unwrap();
    assert_eq!(relay.world.apple.received().len(), 0);
    relay.end().await;
}

#[tokio::test]
async fn a_body_that_is_not_understood_is_415_with_what_is() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    for content_type in ["text/plain", "application/vnd.pushrelay+json; v=2"] {
        let answer = edge.message(content_type, body(&[APPLE])).await.unwrap();
        assert_eq!(answer.status, 415);
        assert_eq!(
            answer.header("Accept"),
            Some("application/vnd.pushrelay+json, application/vnd.pushrelay+xml")
        );
    }
    // Understood, and wrong (bad_input.rs has every other way to be).
    let answer = edge.message(json(), body(&[APPLE; 17])).await.unwrap();
    assert_eq!((answer.status, answer.header("Accept")), (400, None));
    relay.end().await;
}

#[tokio::test]
async fn too_much_is_413_or_513_and_what_cannot_be_skipped_closes() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let answer = edge.message(json(), vec![b' '; 20_000]).await.unwrap();
    assert_eq!(answer.status, 413);
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        200,
        "a body that was read costs the connection nothing"
    );
    let body_too_long = edge.request(json(), vec![b' '; 100_000]);
    let head_too_long = edge
        .request(json(), body(&[APPLE]))
        .field("X-Long", &"x".repeat(70_000));
    for (request, status) in [(body_too_long, 413), (head_too_long, 513)] {
        let edge = relay.edge().await;
        assert_eq!(edge.exchange(&request).await.unwrap().status, status);
        edge.closed(Duration::from_secs(5)).await.unwrap();
    }
    relay.end().await;
}

#[tokio::test]
async fn without_a_spool_a_provider_that_is_not_in_time_is_503_with_retry_after_and_never_2xx() {
    let relay = Relay::configured(|config| {
        config.insert("reply_within".into(), "200ms".into());
        config.remove("spool");
    })
    .await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::ok().after(Duration::from_secs(30))]);
    let edge = relay.edge().await;
    let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .header("Retry-After")
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 0
    );
    relay.end().await;
}

#[tokio::test]
async fn options_is_200_and_other_methods_are_405_with_allow() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    for uri in [
        "sip:push@push.example.org",
        "sip:push.example.org",
        "sip:anybody@PUSH.example.org",
    ] {
        let answer = edge
            .exchange(&SipRequest::bare("OPTIONS", uri, &edge.from))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{uri}");
        assert_eq!(
            answer.header("Accept"),
            Some("application/vnd.pushrelay+json, application/vnd.pushrelay+xml")
        );
        for field in ["Allow", "Accept", "Supported"] {
            assert!(answer.header(field).is_some(), "{field} of {answer:?}");
        }
    }
    let mut negotiate =
        SipRequest::bare("NEGOTIATE", "sip:192.0.2.1:5061", &edge.from).branchless();
    negotiate.max_forwards = 0;
    negotiate
        .fields
        .push(("Compression".into(), "LZ77-8K".into()));
    for request in [
        negotiate,
        SipRequest::bare("SUBSCRIBE", &edge.request_uri, &edge.from),
    ] {
        let answer = edge.exchange(&request).await.unwrap();
        assert_eq!(answer.status, 405, "{}", request.method);
        assert_eq!(answer.header("Allow"), Some("MESSAGE, OPTIONS"));
    }
    relay.end().await;
}

#[tokio::test]
async fn a_message_that_comes_twice_is_pushed_once_and_answered_alike() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    for request in [
        edge.request(json(), body(&[APPLE])),
        edge.request(json(), body(&[APPLE])).branchless(),
    ] {
        let before = relay.world.apple.received().len();
        let first = edge.exchange(&request).await.unwrap();
        let second = edge.exchange(&request).await.unwrap();
        assert_eq!((first.status, second.status), (200, 200));
        assert_eq!(first.to_tag(), second.to_tag());
        assert_eq!(relay.world.apple.received().len(), before + 1);
    }
    relay.end().await;
}

#[tokio::test]
async fn a_double_crlf_gets_one_crlf_and_a_single_one_gets_nothing() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    edge.send_raw(b"\r\n").await.unwrap();
    edge.send_raw(b"\r\n\r\n").await.unwrap();
    edge.pongs(1, Duration::from_secs(5)).await.unwrap();
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        200
    );
    relay.end().await;
}

#[tokio::test]
async fn a_test_event_is_accepted_and_never_forwarded() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let test = body(&[APPLE]).replace("im.message", "test");
    assert_eq!(edge.message(json(), test).await.unwrap().status, 200);
    assert_eq!(relay.world.apple.received().len(), 0);
    relay.end().await;
}

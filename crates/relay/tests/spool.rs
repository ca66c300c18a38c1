//! What no provider takes in time waits on disk and is delivered later: through outages, restarts and crashes.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::world::device_token;
use pushrelay_peers::{ApnsAnswer, MpnsAnswer, Samples};

fn iphone(number: u64) -> String {
    format!(
        r#"{{"service":"apns","token":"{}","app":"com.example.chat"}}"#,
        device_token(number)
    )
}

#[tokio::test]
async fn during_an_outage_of_apple_the_sender_hears_200_and_the_push_arrives_afterwards() {
    let relay = Relay::start().await;
    relay.world.apple.refuse_connects().await;
    let edge = relay.edge().await;
    for number in 0..20 {
        assert_eq!(
            edge.message(json(), body(&[&iphone(number)]))
                .await
                .unwrap()
                .status,
            200
        );
    }
    let samples = relay.settled(20.0).await;
    assert_eq!(
        samples.sum(
            "pushrelay_spool_entries",
            &[("service", "apns"), ("state", "waiting")]
        ),
        20.0
    );
    relay.world.apple.accept_connects().await.unwrap();
    let samples = relay.settled(0.0).await;
    assert_eq!(
        samples.sum("pushrelay_targets_settled_total", &[("ending", "accepted")]),
        20.0
    );
    let tokens: HashSet<_> = relay
        .world
        .apple
        .received()
        .into_iter()
        .map(|push| push.token)
        .collect();
    assert_eq!(tokens.len(), 20);
    assert_eq!(relay.world.apple.duplicates(), 0);
    relay.end().await;
}

#[tokio::test]
async fn a_dead_apple_costs_the_windows_phone_nothing() {
    let relay = Relay::start().await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::error(503, "ServiceUnavailable")]);
    let edge = relay.edge().await;
    for number in 0..30 {
        let answer = edge
            .message(
                json(),
                body(&[&iphone(number), &relay.windows_phone(&format!("p{number}"))]),
            )
            .await;
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!(relay.world.windows_phone.received().len(), 30);
    let samples = relay.settled(30.0).await;
    assert_eq!(
        samples.sum("pushrelay_breaker_open", &[("service", "apns")]),
        1.0
    );
    assert_eq!(
        samples.sum("pushrelay_breaker_open", &[("service", "mpns")]),
        0.0
    );
    let asked = relay.world.apple.counts().requests;
    assert!(
        asked < 30,
        "the breaker holds pushes back: Apple was asked {asked} times"
    );
    relay.end().await;
}

/// Only the probes of the breaker are tried: nobody puts off the others again and again.
#[tokio::test]
async fn what_waits_for_a_provider_that_is_down_is_left_where_it_is() {
    let relay = Relay::start().await;
    relay.world.apple.refuse_connects().await;
    let edge = relay.edge().await;
    for number in 0..60 {
        let answer = edge
            .message(json(), body(&[&iphone(number)]))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
    }
    let commits = |samples: &Samples| samples.sum("pushrelay_spool_commits", &[]);
    let before = commits(&relay.settled(60.0).await);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let samples = relay.settled(60.0).await;
    let settled = commits(&samples) - before;
    assert!(settled < 30.0, "{settled} commits, and nothing happened");
    assert_eq!(
        samples.sum("pushrelay_breaker_open", &[("service", "apns")]),
        1.0
    );
    relay.world.apple.accept_connects().await.unwrap();
    relay.settled(0.0).await;
    assert_eq!(relay.world.apple.received().len(), 60);
    relay.end().await;
}

#[tokio::test]
async fn what_was_answered_200_survives_kill_9_and_is_pushed_once() {
    let mut relay = Relay::start().await;
    relay.world.apple.refuse_connects().await;
    let edge = relay.edge().await;
    let requests: Vec<_> = (0..50)
        .map(|number| edge.request(json(), body(&[&iphone(number)])))
        .collect();
    edge.send_all(&requests).await.unwrap();
    for request in &requests {
        assert_eq!(edge.answer_to(request, PATIENCE).await.unwrap().status, 200);
    }
    relay.crash().await;
    // The sender has seen the connection break and sends some of them again.
    let edge = relay.edge().await;
    for request in &requests[..10] {
        assert_eq!(edge.exchange(request).await.unwrap().status, 200);
    }
    relay.world.apple.accept_connects().await.unwrap();
    let samples = relay.settled(0.0).await;
    assert_eq!(samples.sum("pushrelay_targets_taken_over_total", &[]), 50.0);
    assert_eq!(
        samples.sum("pushrelay_targets_settled_total", &[("ending", "repeated")]),
        10.0
    );
    let tokens: HashSet<_> = relay
        .world
        .apple
        .received()
        .into_iter()
        .map(|push| push.token)
        .collect();
    assert_eq!(tokens.len(), 50);
    assert_eq!(relay.world.apple.duplicates(), 0);
    relay.end().await;
}

#[tokio::test]
async fn a_slow_provider_is_asked_once_although_the_sender_heard_200_before_its_answer() {
    let relay = Relay::configured(|config| {
        config.insert("reply_within".into(), "100ms".into());
    })
    .await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::ok().after(Duration::from_secs(3))]);
    let edge = relay.edge().await;
    let begin = Instant::now();
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        200
    );
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "answered before Apple did"
    );
    let samples = relay.settled(0.0).await;
    assert_eq!(
        samples.sum("pushrelay_targets_settled_total", &[("ending", "accepted")]),
        1.0
    );
    assert_eq!(relay.world.apple.received().len(), 1);
    relay.end().await;
}

#[tokio::test]
async fn with_reply_within_zero_everything_goes_to_disk_first() {
    let relay = Relay::configured(|config| {
        config.insert("reply_within".into(), "0s".into());
    })
    .await;
    let edge = relay.edge().await;
    assert_eq!(
        edge.message(json(), body(&[APPLE, &relay.windows_phone("p")]))
            .await
            .unwrap()
            .status,
        200
    );
    let samples = relay.settled(0.0).await;
    assert!(samples.sum("pushrelay_spool_commits", &[]) >= 2.0);
    assert_eq!(relay.world.apple.received().len(), 1);
    assert_eq!(relay.world.windows_phone.received().len(), 1);
    relay.end().await;
}

#[tokio::test]
async fn a_full_spool_is_503_with_its_own_reason() {
    let relay = Relay::with("[spool]\nentries = 3").await;
    relay.world.apple.refuse_connects().await;
    let edge = relay.edge().await;
    for number in 0..3 {
        assert_eq!(
            edge.message(json(), body(&[&iphone(number)]))
                .await
                .unwrap()
                .status,
            200
        );
    }
    let answer = edge.message(json(), body(&[&iphone(3)])).await.unwrap();
    assert_eq!(answer.status, 503);
    let wait: u32 = answer.header("Retry-After").unwrap().parse().unwrap();
    assert!((30..=45).contains(&wait), "30 s and up to half of it more");
    assert!(answer.reason().unwrap().contains("full"), "{answer:?}");
    let samples = relay.settled(3.0).await;
    assert_eq!(
        samples.sum(
            "pushrelay_spool_refusals_total",
            &[("kind", "lane_entries")]
        ),
        1.0
    );
    relay.world.apple.accept_connects().await.unwrap();
    relay.settled(0.0).await;
    assert_eq!(
        edge.message(json(), body(&[&iphone(3)]))
            .await
            .unwrap()
            .status,
        200
    );
    relay.end().await;
}

/// One of its two targets goes to disk, the other finds no room: both must be in the books, once.
#[tokio::test]
async fn a_full_lane_of_one_platform_takes_nothing_from_the_other() {
    let relay = Relay::with("[spool]\nentries = 1").await;
    relay.world.apple.refuse_connects().await;
    relay
        .world
        .windows_phone
        .script_default([MpnsAnswer::status(503)]);
    let edge = relay.edge().await;
    let phones = [1, 2].map(|number| relay.windows_phone(&format!("p{number}")));
    let first = edge.message(json(), body(&[&phones[0]])).await.unwrap();
    assert_eq!(first.status, 200);
    let both = edge.request(json(), body(&[&iphone(1), &phones[1]]));
    assert_eq!(edge.exchange(&both).await.unwrap().status, 503);
    let samples = relay.settled(2.0).await;
    let settled = |labels| samples.sum("pushrelay_targets_settled_total", labels);
    assert_eq!(
        settled(&[("service", "mpns"), ("ending", "unsettled")]),
        1.0
    );
    assert_eq!(settled(&[("service", "apns")]), 0.0);
    relay.world.apple.accept_connects().await.unwrap();
    relay.settled(1.0).await;
    assert_eq!(relay.world.apple.received().len(), 1);
    relay.end().await;
}

/// Apple answers late, and only one push of the backlog goes at once: nobody else looks at them when their time is over.
#[tokio::test]
async fn a_full_lane_drops_what_has_expired_for_what_has_not() {
    let changed = "reply_within = \"0s\"\n[spool]\nentries = 3\nin_flight = 1";
    let relay = Relay::with(changed).await;
    let late = ApnsAnswer::ok().after(Duration::from_secs(8));
    relay.world.apple.script_default([late]);
    let edge = relay.edge().await;
    let living = async |number, seconds| {
        let ttl = format!("\"v\":1,\"ttl\":{seconds}");
        let body = body(&[&iphone(number)]).replace("\"v\":1", &ttl);
        edge.message(json(), body).await.unwrap().status
    };
    let begin = Instant::now();
    for (number, seconds, status) in [(0, 3600, 200), (1, 3, 200), (2, 3, 200), (3, 3600, 503)] {
        assert_eq!(living(number, seconds).await, status, "{number}");
    }
    tokio::time::sleep_until((begin + Duration::from_secs(4)).into()).await;
    relay.world.apple.script_nothing();
    for (number, status) in [(4, 200), (5, 200), (6, 503)] {
        assert_eq!(living(number, 3600).await, status, "{number}");
    }
    let samples = relay.settled(0.0).await;
    let settled = |ending| samples.sum("pushrelay_targets_settled_total", &[("ending", ending)]);
    assert_eq!(settled("shed"), 2.0);
    assert_eq!(settled("accepted"), 3.0);
    assert_eq!(relay.world.apple.received().len(), 3);
    relay.end().await;
}

#[tokio::test]
async fn a_gone_device_is_refused_at_the_door_until_it_registers_again_even_after_a_restart() {
    let mut relay = Relay::start().await;
    // 2023-11-14T22:13:20Z
    relay
        .world
        .apple
        .script_default([ApnsAnswer::gone(1_700_000_000_000)]);
    let edge = relay.edge().await;
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        410
    );
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        410
    );
    assert_eq!(
        relay.world.apple.counts().requests,
        1,
        "Apple is asked once"
    );
    relay
        .daemon
        .wait_metrics(PATIENCE, |samples| {
            samples.sum("pushrelay_spool_commits", &[]) >= 1.0
        })
        .await
        .unwrap();
    relay.crash().await;
    relay.world.apple.script_nothing();
    let edge = relay.edge().await;
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        410
    );
    let before = APPLE.replace('}', r#","registered":"2023-11-14T22:13:19Z"}"#);
    assert_eq!(
        edge.message(json(), body(&[&before])).await.unwrap().status,
        410
    );
    let after = APPLE.replace('}', r#","registered":"2023-11-14T22:13:21Z"}"#);
    assert_eq!(
        edge.message(json(), body(&[&after])).await.unwrap().status,
        200
    );
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        200
    );
    relay.end().await;
}

#[tokio::test]
async fn a_wave_of_gone_devices_suppresses_nobody_and_raises_the_alarm() {
    let relay = Relay::start().await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::gone(1_700_000_000_000)]);
    let edge = relay.edge().await;
    for number in 0..60 {
        assert_eq!(
            edge.message(json(), body(&[&iphone(number)]))
                .await
                .unwrap()
                .status,
            410
        );
    }
    let samples = relay.daemon.metrics().await.unwrap();
    assert_eq!(
        samples.sum("pushrelay_invalidation_wave", &[("service", "apns")]),
        1.0
    );
    assert_eq!(samples.sum("pushrelay_gone_devices", &[]), 0.0);
    relay.world.apple.script_nothing();
    assert_eq!(
        edge.message(json(), body(&[&iphone(0)]))
            .await
            .unwrap()
            .status,
        200
    );
    relay.end().await;
}

#[tokio::test]
async fn the_same_message_over_two_connections_is_one_push() {
    let relay = Relay::start().await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::ok().after(Duration::from_millis(300))]);
    let (one, two) = (relay.edge().await, relay.edge().await);
    let request = one.request(json(), body(&[APPLE]));
    one.send(&request).await.unwrap();
    relay.world.apple.wait_for(1, PATIENCE).await.unwrap();
    two.send(&request).await.unwrap();
    assert_eq!(one.answer_to(&request, PATIENCE).await.unwrap().status, 200);
    assert_eq!(two.answer_to(&request, PATIENCE).await.unwrap().status, 200);
    let three = relay.edge().await;
    assert_eq!(three.exchange(&request).await.unwrap().status, 200);
    assert_eq!(relay.world.apple.received().len(), 1);
    relay.end().await;
}

#[tokio::test]
async fn a_device_that_waits_too_long_is_not_kept_waiting_past_its_time() {
    let relay = Relay::start().await;
    relay
        .world
        .windows_phone
        .script_default([MpnsAnswer::inactive()]);
    let edge = relay.edge().await;
    // 412 may be tried again in an hour at the earliest; this is worthless in a minute.
    let short = body(&[&relay.windows_phone("p")]).replace("\"v\":1", "\"v\":1,\"ttl\":60");
    assert_eq!(edge.message(json(), short).await.unwrap().status, 488);
    let long = body(&[&relay.windows_phone("p")]).replace("\"v\":1", "\"v\":1,\"ttl\":86400");
    assert_eq!(edge.message(json(), long).await.unwrap().status, 200);
    relay.settled(1.0).await;
    relay.end().await;
}

/// An older notification of the same collapse id would take the place of the newer one on the screen.
#[tokio::test]
async fn what_waits_does_not_follow_a_newer_one_of_its_collapse_id() {
    let relay = Relay::start().await;
    let busy = ApnsAnswer {
        retry_after: Some(600),
        ..ApnsAnswer::error(429, "TooManyRequests")
    };
    for number in [1, 2] {
        let answers = [busy.clone(), ApnsAnswer::ok()];
        relay.world.apple.script(&device_token(number), answers);
    }
    let edge = relay.edge().await;
    let in_thread = |number, thread: &str| {
        let collapse = format!("\"v\":1,\"collapse\":\"{thread}\"");
        body(&[&iphone(number)]).replace("\"v\":1", &collapse)
    };
    for number in [1, 2] {
        let older = edge.message(json(), in_thread(number, "t")).await.unwrap();
        assert_eq!(older.status, 200);
    }
    relay.settled(2.0).await;
    for thread in ["another", "t"] {
        let newer = edge.message(json(), in_thread(1, thread)).await.unwrap();
        assert_eq!(newer.status, 200);
    }
    let samples = relay.settled(1.0).await;
    let ended = |ending| samples.sum("pushrelay_targets_settled_total", &[("ending", ending)]);
    assert_eq!((ended("accepted"), ended("superseded")), (2.0, 1.0));
    relay.end().await;
}

#[tokio::test]
async fn a_credential_that_apple_refuses_keeps_every_push_waiting() {
    let relay = Relay::start().await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::error(403, "InvalidProviderToken")]);
    let edge = relay.edge().await;
    for number in 0..5 {
        assert_eq!(
            edge.message(json(), body(&[&iphone(number)]))
                .await
                .unwrap()
                .status,
            200
        );
    }
    let samples = relay.settled(5.0).await;
    assert_eq!(samples.sum("pushrelay_gone_devices", &[]), 0.0);
    relay.end().await;
}

#[tokio::test]
async fn a_time_to_live_of_zero_is_tried_once_and_never_kept() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let once = |number| body(&[&iphone(number)]).replace("\"v\":1", "\"v\":1,\"ttl\":0");
    assert_eq!(edge.message(json(), once(1)).await.unwrap().status, 200);
    assert_eq!(relay.world.apple.received().len(), 1);
    relay
        .world
        .apple
        .script_default([ApnsAnswer::error(503, "ServiceUnavailable")]);
    assert_eq!(edge.message(json(), once(2)).await.unwrap().status, 488);
    relay.settled(0.0).await;
    relay.end().await;
}

//! Many pushes over few connections: the stream limit, GOAWAY, stalls, growing and shrinking.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pushrelay_peers::apns::{ApnsFault, GoAway, Then};
use pushrelay_peers::{ApnsAnswer, FakeApns};
use pushrelay_providers::apns::ApnsOptions;
use pushrelay_push::{Cause, Outcome, Transport, Verdict};

use crate::support::*;

fn accepted(outcomes: &[Outcome]) -> usize {
    outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Accepted)
        .count()
}

#[tokio::test]
async fn until_the_token_has_proved_good_there_is_one_stream_and_then_as_many_as_apple_allows() {
    // The peer allows 1000 from the beginning: the one stream is our own restraint.
    let fake = FakeApns::start(pushrelay_peers::ApnsOptions {
        first_max_concurrent_streams: 1000,
        ..Default::default()
    })
    .await
    .unwrap();
    fake.decide(|seen| match seen.before {
        0 => Some(ApnsAnswer::ok().after(Duration::from_millis(300))),
        _ => Some(ApnsAnswer::ok().after(Duration::from_millis(50))),
    });
    let client = client(&fake, ApnsOptions::default());
    let sending = tokio::spawn({
        let client = client.clone();
        async move { send_all(&client, 0..200).await }
    });
    fake.wait_for(1, PATIENCE).await.unwrap();
    until(&client, |stats| stats.waiting == 199).await;
    assert_eq!(fake.counts().requests, 1);
    assert_eq!(client.stats().stream_limit, 1);
    assert_eq!(accepted(&within(sending).await.unwrap()), 200);
    assert_eq!(client.stats().stream_limit, 1000);
    assert_eq!(
        fake.counts().connections,
        1,
        "no connection before it is known what one carries"
    );
    assert_eq!(fake.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_refused_token_does_not_open_more_streams() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer::error(403, "InvalidProviderToken")]);
    let client = client(&fake, ApnsOptions::default());
    for number in 0..5 {
        within(client.send(apple_request(number))).await;
    }
    assert_eq!(client.stats().stream_limit, 1);
    assert_eq!(client.stats().connections, 1);
}

#[tokio::test]
async fn the_limit_is_followed_down_and_up_again() {
    let fake = apple().await;
    let options = ApnsOptions {
        max_connections: 1,
        ..ApnsOptions::default()
    };
    let client = client(&fake, options);
    within(client.send(apple_request(0))).await;
    until(&client, |stats| stats.stream_limit == 1000).await;

    fake.set_max_concurrent_streams(1);
    until(&client, |stats| stats.stream_limit == 1).await;
    fake.script_default([ApnsAnswer::ok().after(Duration::from_millis(20))]);
    let begin = Instant::now();
    assert_eq!(accepted(&send_all(&client, 1..11).await), 10);
    assert!(
        begin.elapsed() >= Duration::from_millis(200),
        "one after the other"
    );

    fake.set_max_concurrent_streams(1000);
    until(&client, |stats| stats.stream_limit == 1000).await;
    assert_eq!(accepted(&send_all(&client, 11..411).await), 400);
    assert_eq!(fake.counts().connections, 1);
    assert_eq!(fake.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn those_who_wait_get_their_streams_in_the_order_of_asking() {
    let fake = FakeApns::start(pushrelay_peers::ApnsOptions {
        max_concurrent_streams: 1,
        ..Default::default()
    })
    .await
    .unwrap();
    fake.script_default([ApnsAnswer::ok().after(Duration::from_millis(5))]);
    let options = ApnsOptions {
        max_connections: 1,
        ..ApnsOptions::default()
    };
    let client = client(&fake, options);
    assert_eq!(accepted(&send_all(&client, 0..20).await), 20);
    let order: Vec<_> = fake
        .received()
        .into_iter()
        .map(|received| received.token)
        .collect();
    let asked: Vec<_> = (0..20).map(|number| format!("{number:016x}")).collect();
    assert_eq!(order, asked);
}

#[tokio::test]
async fn a_queue_that_is_full_defers_at_once() {
    let fake = apple().await;
    // A token that is refused keeps the connection at one stream.
    fake.script_default([
        ApnsAnswer::error(403, "InvalidProviderToken"),
        ApnsAnswer::fault(ApnsFault::Stall),
    ]);
    let options = ApnsOptions {
        max_waiting: 3,
        ..ApnsOptions::default()
    };
    let client = client(&fake, options);
    within(client.send(apple_request(0))).await;
    let sending = tokio::spawn({
        let client = client.clone();
        async move { send_all(&client, 1..5).await }
    });
    until(&client, |stats| {
        stats.waiting == 3 && stats.streams_in_flight == 1
    })
    .await;
    let outcome = within(client.send(apple_request(9))).await;
    assert_eq!(outcome.cause, Cause::Local(pushrelay_push::Local::Deadline));
    assert!(!outcome.ambiguous);
    sending.abort();
}

#[tokio::test]
async fn more_than_one_connection_carries_grows_the_pool_and_quiet_shrinks_it() {
    let fake = FakeApns::start(pushrelay_peers::ApnsOptions {
        max_concurrent_streams: 10,
        ..Default::default()
    })
    .await
    .unwrap();
    let options = ApnsOptions {
        max_connections: 3,
        idle_timeout: Duration::from_millis(300),
        stall_interval: Duration::from_millis(50),
        ..ApnsOptions::default()
    };
    let client = client(&fake, options);
    within(client.send(apple_request(0))).await;
    fake.script_default([ApnsAnswer::ok().after(Duration::from_millis(30))]);
    assert_eq!(accepted(&send_all(&client, 1..301).await), 300);
    let counts = fake.counts();
    assert!(
        counts.connections > 1 && counts.connections <= 3,
        "{counts:?}"
    );
    fake.wait_until(PATIENCE, |counts| counts.open_connections == 1)
        .await
        .unwrap();
    assert_eq!(client.stats().connections, 1, "the last one stays");
    assert_eq!(client.stats().connect_failures, 0);
    assert_eq!(fake.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_goaway_loses_nothing_and_repeats_nothing() {
    let fake = apple().await;
    let client = client(&fake, ApnsOptions::default());
    within(client.send(apple_request(0))).await;
    fake.decide(|seen| {
        // Each connection says GOAWAY in the midst of its streams, once before and once after the stream that brings it about.
        match (seen.connection, seen.before_on_connection) {
            (0 | 2, 50) => Some(ApnsAnswer::go_away(GoAway::graceful())),
            (1, 50) => Some(ApnsAnswer::go_away(GoAway::graceful().before_this())),
            _ => Some(ApnsAnswer::ok().after(Duration::from_millis(5))),
        }
    });
    let outcomes = send_all(&client, 1..501).await;
    assert_eq!(
        accepted(&outcomes),
        500,
        "{:?} {:?}",
        client.stats(),
        fake.counts()
    );
    assert_eq!(fake.duplicates(), 0);
    assert_eq!(client.stats().ambiguous, 0);
    let counts = fake.counts();
    assert_eq!(counts.accepted, 501);
    assert!(counts.unprocessed > 0, "{counts:?}");
    assert_eq!(client.stats().resent, counts.unprocessed);
    assert_eq!(fake.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_goaway_that_answers_no_longer_leaves_exactly_the_unanswered_ambiguous() {
    let fake = apple().await;
    let client = client(&fake, ApnsOptions::default());
    within(client.send(apple_request(0))).await;
    fake.decide(|seen| {
        (seen.connection == 0).then(|| match seen.before_on_connection {
            30 => ApnsAnswer::go_away(GoAway::abrupt()),
            _ => ApnsAnswer::ok().after(Duration::from_millis(500)),
        })
    });
    let outcomes = send_all(&client, 1..61).await;
    let counts = fake.counts();
    let ambiguous = outcomes.iter().filter(|outcome| outcome.ambiguous).count();
    assert_eq!(accepted(&outcomes) + ambiguous, 60);
    assert_eq!(ambiguous as u64, counts.accepted_unanswered);
    assert_eq!(fake.duplicates(), 0);
}

#[tokio::test]
async fn a_goaway_without_a_push_on_the_way_is_noticed_before_the_next() {
    let fake = apple().await;
    let client = client(&fake, ApnsOptions::default());
    within(client.send(apple_request(0))).await;
    fake.go_away(&GoAway {
        then: Then::Stay,
        ..GoAway::graceful()
    });
    until(&client, |stats| {
        stats.goaways == 1 && stats.connections == 0
    })
    .await;
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
    assert_eq!(client.stats().resent, 0);
    assert_eq!(fake.counts().connections, 2);
}

#[tokio::test]
async fn an_idle_connection_that_ends_is_replaced_without_a_trace() {
    let fake = apple().await;
    let client = client(&fake, ApnsOptions::default());
    for number in 0..5 {
        assert_eq!(
            within(client.send(apple_request(number))).await.verdict,
            Verdict::Accepted
        );
        fake.drop_connections();
        until(&client, |stats| stats.connections == 0).await;
    }
    assert_eq!(client.stats().ambiguous, 0);
    assert_eq!(client.stats().connect_failures, 0);
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_found_by_ping_and_replaced() {
    let fake = apple().await;
    let client = client(&fake, quick());
    within(client.send(apple_request(0))).await;
    fake.stall_connections(true);
    let begin = Instant::now();
    let outcome = within(client.send(apple_request(1))).await;
    assert!(outcome.ambiguous, "{outcome:?}");
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "long before the exchange times out"
    );
    let stats = client.stats();
    assert_eq!((stats.pings_lost, stats.stalls), (1, 1));
    let outcome = within(client.send(apple_request(2))).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
}

#[tokio::test]
async fn a_slow_peer_that_answers_its_pings_is_left_alone() {
    let fake = apple().await;
    let client = client(&fake, quick());
    within(client.send(apple_request(0))).await;
    fake.script_default([ApnsAnswer::ok().after(Duration::from_secs(1))]);
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
    assert!(fake.counts().pings > 0);
    assert_eq!(client.stats().connects, 1);
}

#[tokio::test]
async fn an_idle_connection_is_asked_whether_it_lives() {
    let fake = apple().await;
    let options = ApnsOptions {
        ping_interval: Duration::from_millis(100),
        ..quick()
    };
    let client = client(&fake, options);
    within(client.send(apple_request(0))).await;
    fake.stall_connections(true);
    until(&client, |stats| {
        stats.pings_lost == 1 && stats.connections == 0
    })
    .await;
    assert_eq!(client.stats().ambiguous, 0);
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_answered_for_a_whole_exchange_is_replaced() {
    let fake = apple().await;
    let options = ApnsOptions {
        exchange_timeout: Duration::from_millis(300),
        ..ApnsOptions::default()
    };
    let client = client(&fake, options);
    within(client.send(apple_request(0))).await;
    fake.decide(|seen| (seen.connection == 0).then(|| ApnsAnswer::fault(ApnsFault::Stall)));
    let outcome = within(client.send(apple_request(1))).await;
    assert_eq!(outcome.cause, Cause::Transport(Transport::Timeout));
    assert_eq!(client.stats().stalls, 1);
    let outcome = within(client.send(apple_request(2))).await;
    assert_eq!(outcome.verdict, Verdict::Accepted);
}

#[tokio::test]
async fn a_service_that_shuts_down_at_each_push_is_not_reconnected_to_for_each() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer::error(503, "Shutdown")]);
    let client = client(&fake, ApnsOptions::default());
    for number in 0..20 {
        let outcome = within(client.send(apple_request(number))).await;
        assert!(matches!(outcome.verdict, Verdict::Deferred { .. }));
    }
    assert_eq!(fake.counts().connections, 3);
    assert_eq!(client.stats().unreachable, 1);
}

#[tokio::test]
async fn connects_keep_a_pace_even_where_each_connection_was_of_use() {
    let fake = apple().await;
    fake.script_default([ApnsAnswer::go_away(GoAway::graceful())]);
    let options = ApnsOptions {
        connect_burst: 2,
        connect_interval: Duration::from_millis(100),
        ..ApnsOptions::default()
    };
    let client = client(&fake, options);
    let begin = Instant::now();
    for number in 0..6 {
        assert_eq!(
            within(client.send(apple_request(number))).await.verdict,
            Verdict::Accepted
        );
        until(&client, |stats| stats.connections == 0).await;
    }
    assert_eq!(fake.counts().connections, 6);
    assert!(
        begin.elapsed() >= Duration::from_millis(300),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_connections_every_push_is_accepted_or_counted() {
    let fake = apple().await;
    let dice = Arc::new(AtomicU64::new(0x9e37_79b9));
    fake.decide(move |_| {
        // A linear congruential generator: the same sequence of throws in every run.
        let next = |seed: u64| seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let seed = dice.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |seed| Some(next(seed)));
        Some(match (seed.unwrap_or_default() >> 33) % 400 {
            0 => ApnsAnswer::go_away(GoAway::graceful()),
            1 => ApnsAnswer::go_away(GoAway::graceful().before_this()),
            2 => ApnsAnswer::go_away(GoAway::abrupt()),
            3..10 => ApnsAnswer::fault(ApnsFault::Reset(7)),
            10 => ApnsAnswer::fault(ApnsFault::Drop),
            _ => ApnsAnswer::ok(),
        })
    });
    let options = ApnsOptions {
        connect_interval: Duration::from_millis(5),
        ..quick()
    };
    let client = client(&fake, options);
    let mut outcomes = Vec::new();
    for batch in 0..20_u64 {
        outcomes.extend(send_all(&client, batch * 250..(batch + 1) * 250).await);
    }
    let counts = fake.counts();
    let said = format!("{counts:?} {:?}", client.stats());
    let ids = fake.ids();
    let mut taken = 0;
    for (number, outcome) in outcomes.iter().enumerate() {
        let id = uuid::Uuid::from_u64_pair(7, number as u64).to_string();
        let accepted = ids.get(&id).map_or(0, |counts| counts.accepted);
        match outcome.verdict {
            Verdict::Accepted => {
                taken += 1;
                assert_eq!(accepted, 1, "{id} {said}");
            }
            _ if outcome.ambiguous => assert!(accepted <= 1, "{id} {said}"),
            // What we say was not processed was not.
            _ => assert_eq!(accepted, 0, "{id} {outcome:?} {said}"),
        }
    }
    assert!(taken > 1000, "{said}");
    assert_eq!(fake.duplicates(), 0, "{said}");
    assert_eq!(fake.violations(), Vec::<String>::new());
}

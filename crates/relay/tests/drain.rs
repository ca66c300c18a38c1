//! How the daemon ends: what was read is answered, nothing new is taken, the exit code says whether work was left.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{APPLE, Relay, body, json};
use pushrelay_peers::ApnsAnswer;
use pushrelay_peers::books::conservation;
use pushrelay_peers::daemon::Signal;

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn after_sigterm_what_was_read_is_answered_and_the_exit_code_is_0() {
    let mut relay = Relay::start().await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::ok().after(Duration::from_millis(700))]);
    let edge = relay.edge().await;
    let requests: Vec<_> = (0..20)
        .map(|_| edge.request(json(), body(&[APPLE])))
        .collect();
    edge.send_all(&requests).await.unwrap();
    relay.world.apple.wait_for(1, PATIENCE).await.unwrap();
    relay.daemon.signal(Signal::TERM).unwrap();
    for request in &requests {
        assert_eq!(edge.answer_to(request, PATIENCE).await.unwrap().status, 200);
    }
    edge.closed(PATIENCE).await.unwrap();
    let status = relay.daemon.wait(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(0), "{:#?}", relay.daemon.logs());
}

#[tokio::test]
async fn while_it_drains_it_says_so_and_takes_no_connection() {
    let mut relay = Relay::configured(|config| {
        config.insert("reply_within".into(), "8s".into());
    })
    .await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::ok().after(Duration::from_secs(3))]);
    let edge = relay.edge().await;
    let request = edge.request(json(), body(&[APPLE]));
    edge.send(&request).await.unwrap();
    relay.world.apple.wait_for(1, PATIENCE).await.unwrap();
    assert_eq!(relay.daemon.get("/readyz").await.unwrap().0, 200);
    relay.daemon.signal(Signal::TERM).unwrap();
    relay
        .daemon
        .wait_log(PATIENCE, |line| line.contains("draining"))
        .await
        .unwrap();
    assert_eq!(relay.daemon.get("/readyz").await.unwrap().0, 503);
    assert_eq!(relay.daemon.get("/livez").await.unwrap().0, 200);
    assert!(
        relay.world.edge(&relay.daemon).await.is_err(),
        "a new connection while draining"
    );
    assert_eq!(
        edge.answer_to(&request, PATIENCE).await.unwrap().status,
        200
    );
    assert_eq!(relay.daemon.wait(PATIENCE).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn what_comes_while_it_drains_is_503_and_what_came_before_is_seen_through() {
    let mut relay = Relay::configured(|config| {
        config.insert("reply_within".into(), "8s".into());
    })
    .await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::ok().after(Duration::from_secs(3))]);
    let edge = relay.edge().await;
    let before = edge.request(json(), body(&[APPLE]));
    edge.send(&before).await.unwrap();
    relay.world.apple.wait_for(1, PATIENCE).await.unwrap();
    relay.daemon.signal(Signal::TERM).unwrap();
    let begin = Instant::now();
    while edge.options().await.unwrap().status != 503 {
        assert!(begin.elapsed() < PATIENCE, "the drain does not begin");
    }
    let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.reason().unwrap().contains("stopping"), "{answer:?}");
    let wait = answer.header("Retry-After").unwrap();
    assert!(wait.parse::<u32>().unwrap() > 0, "{wait}");
    let samples = relay.daemon.metrics().await.unwrap();
    conservation(&samples).unwrap();
    assert_eq!(
        samples.sum("pushrelay_refusals_total", &[("reason", "draining")]),
        2.0,
        "the OPTIONS and the MESSAGE"
    );
    assert_eq!(edge.answer_to(&before, PATIENCE).await.unwrap().status, 200);
    edge.closed(PATIENCE).await.unwrap();
    assert_eq!(relay.daemon.wait(PATIENCE).await.unwrap().code(), Some(0));
    assert_eq!(relay.world.apple.received().len(), 1);
}

#[tokio::test]
async fn a_second_sigterm_ends_it_at_once_and_the_exit_code_is_1() {
    let mut relay = Relay::configured(|config| {
        config.insert("reply_within".into(), "20s".into());
    })
    .await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::ok().after(Duration::from_secs(20))]);
    let edge = relay.edge().await;
    edge.send(&edge.request(json(), body(&[APPLE])))
        .await
        .unwrap();
    relay.world.apple.wait_for(1, PATIENCE).await.unwrap();
    let begin = Instant::now();
    relay.daemon.signal(Signal::TERM).unwrap();
    relay
        .daemon
        .wait_log(PATIENCE, |line| line.contains("draining"))
        .await
        .unwrap();
    relay.daemon.signal(Signal::TERM).unwrap();
    assert_eq!(relay.daemon.wait(PATIENCE).await.unwrap().code(), Some(1));
    assert!(begin.elapsed() < PATIENCE);
}

#[tokio::test]
async fn what_was_read_is_pushed_although_the_edge_has_hung_up() {
    let relay = Relay::start().await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::ok().after(Duration::from_millis(300))]);
    let edge = relay.edge().await;
    edge.send(&edge.request(json(), body(&[APPLE])))
        .await
        .unwrap();
    relay.world.apple.wait_for(1, PATIENCE).await.unwrap();
    drop(edge);
    let answered = |samples: &pushrelay_peers::Samples| {
        samples.sum("pushrelay_messages_answered_total", &[("status", "200")]) == 1.0
    };
    relay.daemon.wait_metrics(PATIENCE, answered).await.unwrap();
    relay.end().await;
}

#[tokio::test]
async fn a_push_that_outlasts_its_answer_is_seen_through_before_the_end() {
    let mut relay = Relay::configured(|config| {
        config.insert("reply_within".into(), "100ms".into());
    })
    .await;
    relay
        .world
        .apple
        .script_default([ApnsAnswer::ok().after(Duration::from_millis(1500))]);
    let edge = relay.edge().await;
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        200
    );
    assert_eq!(relay.daemon.terminate().await.unwrap().code(), Some(0));
    relay.daemon = relay.world.daemon(common::binary()).await.unwrap();
    let samples = relay.settled(0.0).await;
    assert_eq!(samples.sum("pushrelay_targets_taken_over_total", &[]), 0.0);
    assert_eq!(relay.world.apple.received().len(), 1);
    relay.end().await;
}

//! How the daemon ends: what was read is answered, nothing new is taken, the exit code says whether work was left.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::books::conservation;
use pushrelay_peers::daemon::Signal;
use pushrelay_peers::edge::SipRequest;
use pushrelay_peers::world::{EDGE_DOMAIN, RELAY_NAME};
use pushrelay_peers::{ApnsAnswer, FakeEdge};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use toml::Table;

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

/// A relay with these further keys, its partner's Edge, and one MESSAGE of it that Apple takes so long for.
async fn with_one_under_way(takes: Duration, keys: &str) -> (Relay, FakeEdge, SipRequest) {
    let keys: Table = keys.parse().unwrap();
    let relay = Relay::configured(|config| {
        config.insert("reply_within".into(), "20s".into());
        config.extend(keys);
    })
    .await;
    let apple = &relay.world.apple;
    apple.script_default([ApnsAnswer::ok().after(takes)]);
    let edge = relay.edge().await;
    let request = edge.request(json(), body(&[APPLE]));
    edge.send(&request).await.unwrap();
    apple.wait_for(1, PATIENCE).await.unwrap();
    (relay, edge, request)
}

#[tokio::test]
async fn while_it_drains_it_says_so_and_takes_no_connection() {
    let (mut relay, edge, request) = with_one_under_way(Duration::from_secs(3), "").await;
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
    let (mut relay, edge, before) = with_one_under_way(Duration::from_secs(3), "").await;
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
    let (mut relay, _edge, _) = with_one_under_way(Duration::from_secs(20), "").await;
    let begin = Instant::now();
    relay.daemon.signal(Signal::TERM).unwrap();
    relay
        .daemon
        .wait_log(PATIENCE, |line| line.contains("draining"))
        .await
        .unwrap();
    relay.daemon.signal(Signal::TERM).unwrap();
    assert_eq!(relay.daemon.wait(PATIENCE).await.unwrap().code(), Some(1));
    assert!(begin.elapsed() < Duration::from_secs(10));
}

/// A relay was restarted while an Edge hung: it had read everything, and stood with its answers until systemd lost patience.
#[tokio::test]
async fn a_peer_that_takes_no_answers_holds_the_end_up_for_the_grace_time_and_no_longer() {
    let mut relay = Relay::configured(|config| {
        config.insert("drain_grace".into(), "3s".into());
    })
    .await;
    let mut deaf = deaf_edge(&relay).await;
    fill(&mut deaf).await;
    let edge = relay.edge().await;
    let last = edge.request(json(), body(&[APPLE]));
    edge.send(&last).await.unwrap();
    relay.world.apple.wait_for(1, PATIENCE).await.unwrap();
    let begin = Instant::now();
    relay.daemon.signal(Signal::TERM).unwrap();
    assert_eq!(edge.answer_to(&last, PATIENCE).await.unwrap().status, 200);
    edge.closed(PATIENCE).await.unwrap();
    let status = relay.daemon.wait(PATIENCE).await.unwrap();
    let lines = relay.daemon.logs();
    assert_eq!(status.code(), Some(0), "{lines:#?}");
    assert!(begin.elapsed() >= Duration::from_secs(3), "it had its time");
    let named = lines.iter().any(|line| {
        line.contains("has not taken its answers") && line.contains("\"partner\":\"contoso\"")
    });
    assert!(named, "{lines:#?}");
}

#[tokio::test]
async fn a_deaf_peer_does_not_excuse_what_is_still_under_way() {
    let (mut relay, _edge, _) =
        with_one_under_way(Duration::from_secs(20), "drain_grace = \"1s\"").await;
    let mut deaf = deaf_edge(&relay).await;
    fill(&mut deaf).await;
    relay.daemon.signal(Signal::TERM).unwrap();
    assert_eq!(relay.daemon.wait(PATIENCE).await.unwrap().code(), Some(1));
    let lines = relay.daemon.logs();
    let told = |line: &String| line.contains("\"messages_in_flight\":1");
    assert!(lines.iter().any(told), "{lines:#?}");
}

#[tokio::test]
async fn a_peer_that_never_stops_asking_is_cut_off_at_the_end_of_the_grace_time() {
    let mut relay = Relay::configured(|config| {
        config.insert("drain_grace".into(), "2s".into());
    })
    .await;
    let edge = relay.edge().await;
    assert_eq!(edge.options().await.unwrap().status, 200);
    relay.daemon.signal(Signal::TERM).unwrap();
    // The next question is there before the relay can see that none is.
    let asking = async {
        loop {
            let questions =
                (0..20).map(|_| SipRequest::bare("OPTIONS", &edge.request_uri, &edge.from));
            if edge.send_all(&questions.collect::<Vec<_>>()).await.is_err() {
                break;
            }
        }
    };
    let ((), status) = tokio::join!(asking, relay.daemon.wait(PATIENCE));
    assert_eq!(
        status.unwrap().code(),
        Some(0),
        "{:#?}",
        relay.daemon.logs()
    );
}

#[tokio::test]
async fn who_has_not_said_who_it_is_when_it_drains_is_nobody_to_wait_for() {
    let mut relay = Relay::start().await;
    let mut silent = TcpStream::connect(relay.daemon.sip_addr()).await.unwrap();
    // What was accepted later was accepted after it.
    assert_eq!(relay.edge().await.options().await.unwrap().status, 200);
    let begin = Instant::now();
    assert_eq!(relay.daemon.terminate().await.unwrap().code(), Some(0));
    assert!(
        begin.elapsed() < Duration::from_secs(8),
        "handshake_timeout is 10 s"
    );
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0);
}

/// A connection of the partner's Edge that has little room for answers.
async fn deaf_edge(relay: &Relay) -> TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(relay.daemon.sip_addr()).await.unwrap();
    let name = ServerName::try_from(RELAY_NAME).unwrap();
    let connector = TlsConnector::from(relay.world.edge_tls().unwrap());
    connector.connect(name, stream).await.unwrap()
}

/// Asks without taking answers until the relay reads no more.
async fn fill(deaf: &mut TlsStream<TcpStream>) {
    let from = format!("sip:kima@{EDGE_DOMAIN}");
    let options = || SipRequest::bare("OPTIONS", "sip:push.example.org", &from).encode();
    let some: Vec<u8> = (0..200).flat_map(|_| options()).collect();
    let full = Duration::from_secs(2);
    while let Ok(written) = tokio::time::timeout(full, deaf.write_all(&some)).await {
        written.unwrap();
    }
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

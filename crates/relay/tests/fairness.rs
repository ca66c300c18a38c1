//! One who takes too much is stopped, and nobody else notices: rates, caps on connections and handshakes, file descriptors.

#![allow(clippy::unwrap_used)]
#![allow(
    clippy::print_stdout,
    reason = "a test tells the figure that it has measured"
)]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{APPLE, PATIENCE, Relay, binary, body, json};
use pushrelay_peers::world::World;
use pushrelay_peers::{FakeEdge, SipAnswer};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use toml::{Table, Value};

/// A second partner, with further keys.
fn fabrikam(keys: &str) -> Value {
    let text = format!(
        "name = \"fabrikam\"\nedges = [\"sip.fabrikam.example\"]\ndomains = [\"fabrikam.example\"]\n{keys}"
    );
    Value::Table(text.parse().unwrap())
}

async fn edge_of_fabrikam(relay: &Relay) -> FakeEdge {
    let (edge, domain) = ("sip.fabrikam.example", "fabrikam.example");
    relay
        .world
        .edge_of(&relay.daemon, edge, domain)
        .await
        .unwrap()
}

fn limits(config: &mut Table, text: &str) {
    config.insert("limits".into(), Value::Table(text.parse().unwrap()));
}

async fn push(edge: &FakeEdge) -> SipAnswer {
    edge.message(json(), body(&[APPLE])).await.unwrap()
}

/// A TCP connection from this address of loopback that says nothing.
async fn silent(from: [u8; 4], relay: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(relay).await.unwrap()
}

/// Waits for the end of a connection that was turned away.
async fn turned_away(mut stream: TcpStream) {
    let mut buffer = [0; 16];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer));
    // It was closed before anything was read of it, or reset.
    assert!(matches!(read.await.unwrap(), Ok(0) | Err(_)));
}

async fn counted(relay: &Relay, result: &str, count: f64) {
    let enough = |samples: &pushrelay_peers::Samples| {
        samples.sum("pushrelay_connections_total", &[("result", result)]) >= count
    };
    relay.daemon.wait_metrics(PATIENCE, enough).await.unwrap();
}

#[tokio::test]
async fn a_partner_over_its_rate_is_told_when_to_come_again_and_nobody_else_is() {
    let relay = Relay::configured(|config| {
        let partners = config["partners"].as_array_mut().unwrap();
        partners.push(fabrikam("rate = 2.5\nburst = 10"));
    })
    .await;
    let (contoso, greedy) = (relay.edge().await, edge_of_fabrikam(&relay).await);
    let start = Instant::now();
    let requests: Vec<_> = (0..100)
        .map(|_| greedy.request(json(), body(&[APPLE])))
        .collect();
    greedy.send_all(&requests).await.unwrap();
    for _ in 0..20 {
        assert_eq!(push(&contoso).await.status, 200);
    }
    let mut accepted = 0;
    for request in &requests {
        let answer = greedy.answer_to(request, PATIENCE).await.unwrap();
        if answer.status == 200 {
            accepted += 1;
            continue;
        }
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("Retry-After"), Some("1"), "{answer:?}");
        let reason = answer.reason().unwrap();
        assert!(
            reason.contains("fabrikam may send 2.5 a second, 10 at once"),
            "{reason}"
        );
    }
    let most = 10.0 + start.elapsed().as_secs_f64() * 2.5;
    assert!(
        accepted >= 10 && f64::from(accepted) <= most.ceil(),
        "{accepted} of {most}"
    );

    let samples = relay.daemon.metrics().await.unwrap();
    let over = |partner| {
        let labels = [("partner", partner)];
        samples.get("pushrelay_messages_over_rate_total", &labels)
    };
    assert_eq!(over("fabrikam"), Some(f64::from(100 - accepted)));
    assert_eq!(over("contoso"), Some(0.0));
    let refused = samples.sum("pushrelay_refusals_total", &[("reason", "over_rate")]);
    assert_eq!(refused, f64::from(100 - accepted));
    // An OPTIONS is no MESSAGE, and later there is room again.
    assert_eq!(greedy.options().await.unwrap().status, 200);
    let deadline = Instant::now() + PATIENCE;
    while push(&greedy).await.status != 200 {
        assert!(Instant::now() < deadline, "never served again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    relay.end().await;
}

/// Each refusal of a flood took the machine a turn of its own: what comes of it together is now refused together.
#[tokio::test]
async fn a_partner_over_its_rate_is_read_from_in_turns_and_all_it_sends_is_answered() {
    let relay = Relay::configured(|config| {
        let partners = config["partners"].as_array_mut().unwrap();
        partners.push(fabrikam("rate = 0.01\nburst = 1"));
    })
    .await;
    let (contoso, greedy) = (relay.edge().await, edge_of_fabrikam(&relay).await);
    assert_eq!(push(&greedy).await.status, 200);
    let start = Instant::now();
    let refusals = 51;
    for _ in 0..refusals {
        assert_eq!(push(&greedy).await.status, 503);
    }
    let rests = Duration::from_millis(10) * (refusals - 1);
    assert!(start.elapsed() >= rests, "{:?}", start.elapsed());
    // More than is read between two rests, all of which is answered.
    let requests: Vec<_> = (0..400)
        .map(|_| greedy.request(json(), body(&[APPLE])))
        .collect();
    greedy.send_all(&requests).await.unwrap();
    for request in &requests {
        assert_eq!(
            greedy.answer_to(request, PATIENCE).await.unwrap().status,
            503
        );
    }
    assert_eq!(push(&contoso).await.status, 200);
    relay.end().await;
}

/// Sends this many MESSAGEs at a fixed pace, whatever the relay does; answers a second, all of which must be 200.
async fn offered(edge: &Arc<FakeEdge>, count: u32, every: Duration) -> f64 {
    let start = Instant::now();
    let mut exchanges = JoinSet::new();
    for number in 0..count {
        let edge = edge.clone();
        exchanges.spawn(async move {
            tokio::time::sleep_until((start + every * number).into()).await;
            push(&edge).await.status
        });
    }
    while let Some(status) = exchanges.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_partner_at_twenty_times_its_rate_leaves_the_other_its_throughput() {
    let relay = Relay::configured(|config| {
        let partners = config["partners"].as_array_mut().unwrap();
        partners.push(fabrikam("rate = 5"));
        // This process would spend more on reading a line for each refusal than the relay on refusing.
        config["log"]["level"] = "info,pushrelay::session=warn".into();
    })
    .await;
    let contoso = Arc::new(relay.edge().await);
    let greedy = edge_of_fabrikam(&relay).await;
    let (count, every) = (100, Duration::from_millis(40));
    let alone = offered(&contoso, count, every).await;

    let (flood_every, most) = (Duration::from_millis(10), 3000);
    let requests: Vec<_> = (0..most)
        .map(|_| greedy.request(json(), body(&[APPLE])))
        .collect();
    let encoded: Vec<_> = requests.iter().map(|request| request.encode()).collect();
    let done = Arc::new(AtomicBool::new(false));
    let (over, begun) = (done.clone(), Instant::now());
    let flood = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(flood_every);
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) && sent < most {
            ticks.tick().await;
            greedy.send_raw(&encoded[sent]).await.unwrap();
            sent += 1;
        }
        (greedy, sent, begun.elapsed())
    });
    let beside = offered(&contoso, count, every).await;
    done.store(true, Ordering::Relaxed);
    let (greedy, sent, elapsed) = flood.await.unwrap();
    let mut accepted = 0;
    for request in &requests[..sent] {
        match greedy.answer_to(request, PATIENCE).await.unwrap().status {
            200 => accepted += 1,
            status => assert_eq!(status, 503),
        }
    }
    // What was read after the last was sent had its time too.
    let allowed = 5.0 * (begun.elapsed().as_secs_f64() + 1.0);
    assert!(accepted >= 5 && f64::from(accepted) <= allowed.ceil());
    println!(
        "contoso offers 25/s: alone {alone:.1}/s; beside fabrikam, which sends {:.0}/s at a rate of 5/s and gets {accepted} of {sent} \
         through, {beside:.1}/s: {:.1} %",
        sent as f64 / elapsed.as_secs_f64(),
        beside / alone * 100.0
    );
    relay.end().await;
}

#[tokio::test]
async fn a_partner_that_has_filled_its_share_of_the_spool_takes_nothing_from_another() {
    let relay = Relay::configured(|config| {
        let partners = config["partners"].as_array_mut().unwrap();
        partners.push(fabrikam(""));
        let spool = config["spool"].as_table_mut().unwrap();
        spool.insert("partner_entries".into(), 2.into());
    })
    .await;
    relay.world.apple.refuse_connects().await;
    let contoso = relay.edge().await;
    for status in [200, 200, 503] {
        let answer = push(&contoso).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("Retry-After").is_some(), status == 503);
    }
    assert_eq!(push(&edge_of_fabrikam(&relay).await).await.status, 200);
    let samples = relay.settled(3.0).await;
    let refused = [("kind", "owner_entries")];
    assert_eq!(samples.sum("pushrelay_spool_refusals_total", &refused), 1.0);
    relay.world.apple.accept_connects().await.unwrap();
    relay.settled(0.0).await;
    relay.end().await;
}

#[tokio::test]
async fn an_address_that_connects_too_often_is_turned_away_and_no_other_is() {
    let relay = Relay::configured(|config| limits(config, "connections_per_address = 3")).await;
    let address = relay.daemon.sip_addr();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(silent([127, 0, 0, 2], address).await);
    }
    turned_away(silent([127, 0, 0, 2], address).await).await;
    counted(&relay, "over_address", 1.0).await;
    assert_eq!(push(&relay.edge().await).await.status, 200);
    // What is given back can be taken again.
    drop(held);
    counted(&relay, "handshake_failed", 3.0).await;
    let again = silent([127, 0, 0, 2], address).await;
    drop(again);
    counted(&relay, "handshake_failed", 4.0).await;
    relay.end().await;
}

#[tokio::test]
async fn whoever_holds_handshakes_open_leaves_some_for_others() {
    let relay = Relay::configured(|config| {
        limits(
            config,
            "handshakes = 4\nhandshakes_per_address = 3\nhandshake_timeout = \"60s\"",
        );
    })
    .await;
    let address = relay.daemon.sip_addr();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(silent([127, 0, 0, 2], address).await);
    }
    turned_away(silent([127, 0, 0, 2], address).await).await;
    counted(&relay, "over_handshakes", 1.0).await;
    let edge = relay.edge().await;
    assert_eq!(push(&edge).await.status, 200);
    // One handshake is left for all others; the connection above is past its own.
    held.push(silent([127, 0, 0, 3], address).await);
    turned_away(silent([127, 0, 0, 4], address).await).await;
    counted(&relay, "over_handshakes", 2.0).await;
    assert_eq!(push(&edge).await.status, 200);
    drop(held);
    counted(&relay, "handshake_failed", 4.0).await;
    assert_eq!(push(&relay.edge().await).await.status, 200);
    relay.end().await;
}

#[tokio::test]
async fn a_partner_and_strangers_have_so_many_connections_and_no_more() {
    let relay = Relay::configured(|config| {
        limits(
            config,
            "connections_per_partner = 2\nstranger_connections = 1",
        );
        let partners = config["partners"].as_array_mut().unwrap();
        partners.push(fabrikam(""));
    })
    .await;
    let (first, second) = (relay.edge().await, relay.edge().await);
    assert_eq!(push(&first).await.status, 200);
    // With TLS 1.3 the handshake ends for the client before the relay knows who it is.
    let third = relay.edge().await;
    third.closed(PATIENCE).await.unwrap_err();
    counted(&relay, "over_partner", 1.0).await;
    assert_eq!(push(&edge_of_fabrikam(&relay).await).await.status, 200);

    let stranger = || {
        relay
            .world
            .edge_of(&relay.daemon, "sip.nobody.example", "nobody.example")
    };
    let one = stranger().await.unwrap();
    assert_eq!(push(&one).await.status, 403);
    let two = stranger().await.unwrap();
    two.closed(PATIENCE).await.unwrap_err();
    counted(&relay, "over_strangers", 1.0).await;
    assert_eq!(push(&second).await.status, 200);
    relay.end().await;
}

#[tokio::test]
async fn without_file_descriptors_accepting_pauses_and_who_is_there_is_served() {
    let mut world = World::start().await.unwrap();
    limits(
        &mut world.config,
        "connections_per_address = 1000\nhandshakes = 1000\nhandshakes_per_address = 1000\nhandshake_timeout = \"60s\"",
    );
    let wrapper = world.dir.path().join("few-files");
    let script = format!(
        "#!/bin/sh\nulimit -n 64\nexec {} \"$@\"\n",
        binary().display()
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = world.daemon(&wrapper).await.unwrap();
    let relay = Relay { world, daemon };
    let line = |text: &'static str| {
        relay
            .daemon
            .wait_log(PATIENCE, move |line| line.contains(text))
    };
    line("limits.connections").await.unwrap();
    let edge = relay.edge().await;
    assert_eq!(push(&edge).await.status, 200);

    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(silent([127, 0, 0, 2], relay.daemon.sip_addr()).await);
    }
    line("accept failed").await.unwrap();
    for _ in 0..20 {
        assert_eq!(push(&edge).await.status, 200, "who is there is served");
    }
    drop(held);
    line("accepting again").await.unwrap();
    assert_eq!(push(&relay.edge().await).await.status, 200);
    let samples = relay.daemon.metrics().await.unwrap();
    let failures = samples.sum("pushrelay_accept_failures_total", &[]);
    let begun = relay.daemon.logs();
    let begun = begun
        .iter()
        .filter(|line| line.contains("accept failed"))
        .count();
    println!("{failures} accepts failed, in {begun} pauses of doubled length");
    assert!(failures >= 1.0 && begun <= failures as usize);
    relay.end().await;
}

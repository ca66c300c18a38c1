//! Peers that do harm, on purpose or by a fault: they drip, are silent, close halfway, take no answers, or send heads that are
//! made to cost much. Each is ended by a limit that has a name, the memory stays bounded, and another partner is served as if
//! nothing were.
//!
//! The figures are printed: `cargo test -p pushrelay --test hostile -- --nocapture`.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::haproxy::offload;
use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::edge::{ProxyHeader, SipRequest};
use pushrelay_peers::world::{EDGE_DOMAIN, EDGE_NAME};
use pushrelay_peers::{ApnsAnswer, FakeEdge, Samples};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use toml::Table;

/// What an attack of two hundred connections may add to the memory of the process: a quarter MiB each.
const MEMORY: u64 = 48 * 1024 * 1024;

/// Between two bytes of a peer that drips.
const DRIP: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn slowloris_is_ended_by_the_clock_and_another_partner_is_served_meanwhile() {
    let relay = two_partners("handshake_timeout = \"2s\"\nmessage_timeout = \"3s\"").await;
    let calm = memory(&relay);
    let victim = Victim::start(&relay).await;
    let begin = Instant::now();
    let mut ends = Vec::new();
    // From two other addresses: 30 that say nothing, 30 that drip the handshake.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(8);
    for number in 0..60 {
        let socket = TcpSocket::new_v4().unwrap();
        let host = if number % 2 == 0 {
            "127.0.0.2:0"
        } else {
            "127.0.0.3:0"
        };
        socket.bind(host.parse().unwrap()).unwrap();
        let stream = socket.connect(relay.daemon.sip_addr()).await.unwrap();
        let bytes = if number % 2 == 0 {
            Vec::new()
        } else {
            hello.clone()
        };
        ends.push(drip(stream, bytes));
    }
    // A hundred of a partner's own connections that drip a MESSAGE: from its first byte, or when there is enough of it to be answered.
    let mut dripping = Vec::new();
    for number in 0..100 {
        let edge = relay.edge().await;
        let bytes = edge.request(json(), body(&[APPLE])).encode();
        let at_once = if number % 2 == 0 { 0 } else { bytes.len() / 2 };
        edge.send_raw(&bytes[..at_once]).await.unwrap();
        dripping.push(tokio::spawn(async move {
            for byte in bytes[at_once..].chunks(1) {
                if edge.send_raw(byte).await.is_err() || edge.closed(DRIP).await.is_ok() {
                    break;
                }
            }
            let answer = edge.read_answer(PATIENCE).await.ok();
            answer.map(|answer| answer.status)
        }));
    }
    let most = memory(&relay);
    for (number, dripping) in dripping.into_iter().enumerate() {
        let status = (number % 2 == 1).then_some(400);
        assert_eq!(dripping.await.unwrap(), status, "{number}");
    }
    for end in ends {
        end.await.unwrap();
    }
    let lasted = begin.elapsed();
    let samples = relay
        .daemon
        .wait_metrics(PATIENCE, |samples| {
            // What is left is the victim's.
            samples.sum("pushrelay_connections", &[]) == 1.0
        })
        .await
        .unwrap();
    assert_eq!(ended(&samples, "message_timeout"), 100.0);
    assert_eq!(result(&samples, "handshake_timeout"), 60.0);
    assert_eq!(result(&samples, "over_limit"), 0.0);
    let served = victim.stop().await;
    eprintln!(
        "slowloris: 30 silent, 30 dripping TLS, 100 dripping SIP, all ended after {lasted:.1?}; another partner meanwhile: {served}; \
         memory {} KiB before, {} KiB at most",
        calm / 1024,
        most / 1024
    );
    assert!(most.saturating_sub(calm) < MEMORY, "{calm} {most}");
    relay.end().await;
}

#[tokio::test]
async fn a_peer_that_closes_halfway_gets_every_answer_with_close_notify_and_without() {
    let relay = two_partners("").await;
    let slow = ApnsAnswer::ok().after(Duration::from_millis(300));
    relay.world.apple.script_default([slow]);
    for polite in [true, false] {
        let edge = relay.edge().await;
        let requests: Vec<_> = (0..5)
            .map(|_| edge.request(json(), body(&[APPLE])))
            .collect();
        edge.send_all(&requests).await.unwrap();
        if polite {
            edge.half_close().await.unwrap();
        } else {
            edge.cut_off().unwrap();
        }
        for request in &requests {
            let answer = edge.answer_to(request, PATIENCE).await.unwrap();
            assert_eq!(answer.status, 200, "close_notify: {polite}");
        }
        edge.closed(PATIENCE).await.unwrap();
    }
    let samples = relay
        .daemon
        .wait_metrics(PATIENCE, |samples| ended(samples, "peer") == 2.0)
        .await
        .unwrap();
    assert_eq!(ended(&samples, "failed"), 0.0);
    assert_eq!(relay.world.apple.received().len(), 10);
    relay.end().await;
}

#[tokio::test]
async fn a_message_that_is_cut_off_by_the_end_of_the_connection_is_not_pushed() {
    let relay = two_partners("").await;
    let edge = relay.edge().await;
    let bytes = edge.request(json(), body(&[APPLE])).encode();
    edge.send_raw(&bytes[..bytes.len() - 1]).await.unwrap();
    edge.cut_off().unwrap();
    edge.closed(PATIENCE).await.unwrap();
    assert_eq!(edge.answers_waiting(), 0);
    assert_eq!(relay.world.apple.received().len(), 0);
    relay.end().await;
}

#[tokio::test]
async fn a_peer_that_is_silent_is_closed_on_after_the_idle_timeout() {
    let relay = two_partners("idle_timeout = \"1s\"").await;
    let edge = relay.edge().await;
    assert_eq!(edge.options().await.unwrap().status, 200);
    edge.closed(PATIENCE).await.unwrap();
    let stranger = relay
        .world
        .edge_of(&relay.daemon, "sip.stranger.example", "stranger.example")
        .await
        .unwrap();
    stranger.closed(PATIENCE).await.unwrap();
    let samples = relay.daemon.metrics().await.unwrap();
    assert_eq!(ended(&samples, "idle"), 2.0);
    relay.end().await;
}

/// Its answers would fill the memory: so nothing more is read from it, and in the end it is closed on.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_asks_and_takes_no_answer_is_not_read_from_and_then_closed_on() {
    let relay = two_partners("write_timeout = \"5s\"").await;
    let calm = memory(&relay);
    let victim = Victim::start(&relay).await;
    let from = format!("sip:kima@{EDGE_DOMAIN}");
    let options = || SipRequest::bare("OPTIONS", "sip:push.example.org", &from).encode();
    let some: Vec<u8> = (0..200).flat_map(|_| options()).collect();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = relay.daemon.listener("offload").unwrap();
    let mut deaf = socket.connect(address).await.unwrap();
    deaf.write_all(&ProxyHeader::of(EDGE_NAME).encode())
        .await
        .unwrap();
    let (mut sent, mut most, mut stalled) = (0, calm, false);
    // Until the relay closes; a whole second without progress means that it does not read.
    loop {
        match tokio::time::timeout(Duration::from_secs(1), deaf.write(&some)).await {
            Ok(Ok(written)) => sent += written,
            Ok(Err(_)) => break,
            Err(_) => stalled = true,
        }
        most = most.max(memory(&relay));
    }
    assert!(
        stalled,
        "{sent} bytes were read, and there was no end to it"
    );
    let samples = relay.daemon.metrics().await.unwrap();
    assert_eq!(ended(&samples, "write_timeout"), 1.0);
    let served = victim.stop().await;
    eprintln!(
        "write stall: {} KiB of OPTIONS taken before the relay stopped reading; another partner meanwhile: {served}; memory {} KiB \
         before, {} KiB at most",
        sent / 1024,
        calm / 1024,
        most / 1024
    );
    assert!(most.saturating_sub(calm) < 8 * 1024 * 1024, "{calm} {most}");
    relay.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_made_to_cost_much_are_answered_and_harm_nobody() {
    let relay = two_partners("").await;
    // The first of everything: connections to providers, the allocator's arenas.
    let first = relay.edge().await.message(json(), body(&[APPLE])).await;
    assert_eq!(first.unwrap().status, 200);
    let calm = memory(&relay);
    let victim = Victim::start(&relay).await;
    let most = &mut 0;
    for (name, lines, statuses) in bombs() {
        let begin = Instant::now();
        for _ in 0..20 {
            let edge = relay.edge().await;
            let mut request = edge.request(json(), body(&[APPLE]));
            request.fields = lines.clone();
            edge.send(&request).await.unwrap();
            let answer = edge.read_answer(PATIENCE).await.unwrap();
            assert!(statuses.contains(&answer.status), "{name}: {answer:?}");
            *most = memory(&relay).max(*most);
        }
        eprintln!("bomb: {name}: {:.1?} each", begin.elapsed() / 20);
    }
    let served = victim.stop().await;
    eprintln!(
        "bombs: another partner meanwhile: {served}; memory {} KiB before, {} KiB at most",
        calm / 1024,
        *most / 1024
    );
    assert!(most.saturating_sub(calm) < MEMORY, "{calm} {most}");
    relay.end().await;
}

/// Header lines, and the statuses that fit: 200 where the head is only long, 400 where it is wrong, 513 past a limit.
type Bomb = (&'static str, Vec<(String, String)>, &'static [u16]);

fn bombs() -> Vec<Bomb> {
    let line = |name: &str, value: String| vec![(name.to_owned(), value)];
    let via = "SIP/2.0/TLS host.example.com;branch=z9hG4bK1";
    let parameters = ";a".repeat(20_000);
    let vias = |count| vec![("Via".to_owned(), via.to_owned()); count];
    vec![
        (
            "a value of 60 KiB",
            line("Subject", "x".repeat(60 * 1024)),
            &[200],
        ),
        (
            "a value of 64 KiB",
            line("Subject", "x".repeat(64 * 1024)),
            &[513],
        ),
        ("5000 lines", vec![("X".into(), "y".into()); 5000], &[513]),
        ("240 Vias in lines", vias(240), &[200]),
        ("1000 Vias in lines", vias(1000), &[513]),
        (
            "1000 Vias in one line",
            line("Via", vec![via; 1000].join(",")),
            &[200],
        ),
        (
            "20 000 parameters of a Via",
            line("Via", format!("{via}{parameters}")),
            &[200],
        ),
        (
            "20 000 parameters of a URI",
            line(
                "P-Asserted-Identity",
                format!("<sip:kima@{EDGE_DOMAIN}{parameters}>"),
            ),
            &[200, 403],
        ),
        (
            "nested comments",
            line(
                "User-Agent",
                format!("a {}b{}", "(".repeat(30_000), ")".repeat(30_000)),
            ),
            &[200],
        ),
        (
            "comments that never close",
            line("Server", "(".repeat(60_000)),
            &[200],
        ),
        (
            "quotes that never close",
            line("Via", format!("{via};x={}", "\"\\".repeat(30_000))),
            &[200, 400],
        ),
        (
            "folds",
            line("Subject", vec!["a"; 240].join("\r\n ")),
            &[200],
        ),
    ]
}

/// A partner that does nothing wrong, and how it fares.
struct Victim {
    stop: Arc<AtomicBool>,
    pushes: JoinHandle<Vec<Duration>>,
}

impl Victim {
    async fn start(relay: &Relay) -> Victim {
        let edge = relay
            .world
            .edge_of(&relay.daemon, "sip.fabrikam.example", "fabrikam.example")
            .await
            .unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let pushes = tokio::spawn(push_until(edge, stop.clone()));
        Victim { stop, pushes }
    }

    /// How it went, for people. Every push was answered 200.
    async fn stop(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        let mut times = self.pushes.await.unwrap();
        times.sort_unstable();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        format!(
            "{} pushes, {median:.1?} in the middle, {longest:.1?} at most",
            times.len()
        )
    }
}

async fn push_until(edge: FakeEdge, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) || times.is_empty() {
        let begin = Instant::now();
        let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        times.push(begin.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    times
}

/// contoso, who attacks, and fabrikam; `limits` are keys of `[limits]`.
async fn two_partners(limits: &str) -> Relay {
    Relay::configured(|config| {
        offload(config, "");
        let limits: Table = limits.parse().unwrap();
        config.insert("limits".into(), limits.into());
        let fabrikam: Table = "name = \"fabrikam\"\nedges = [\"sip.fabrikam.example\"]\ndomains = [\"fabrikam.example\"]"
            .parse()
            .unwrap();
        let partners = config["partners"].as_array_mut().unwrap();
        partners.push(fabrikam.into());
    })
    .await
}

/// Sends a byte now and then until the relay closes.
fn drip(mut stream: TcpStream, bytes: Vec<u8>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut read, mut write) = stream.split();
        let dripping = async {
            for byte in bytes.chunks(1) {
                if write.write_all(byte).await.is_err() {
                    break;
                }
                tokio::time::sleep(DRIP).await;
            }
            std::future::pending::<()>().await
        };
        let mut said = Vec::new();
        tokio::select! {
            () = dripping => {}
            // A reset is an end too.
            _ = tokio::time::timeout(PATIENCE, read.read_to_end(&mut said)) => {}
        }
    })
}

/// Resident memory of the relay, in bytes.
fn memory(relay: &Relay) -> u64 {
    let pid = relay.daemon.pid().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() * 1024
}

fn ended(samples: &Samples, reason: &str) -> f64 {
    samples.sum("pushrelay_connections_ended_total", &[("reason", reason)])
}

fn result(samples: &Samples, result: &str) -> f64 {
    samples.sum("pushrelay_connections_total", &[("result", result)])
}

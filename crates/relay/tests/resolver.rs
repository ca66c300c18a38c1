//! The system's own resolver configuration, `dns = "system"`: the daemon has an /etc/resolv.conf of its own.
//!
//! What that file names is asked at port 53, so the fakes listen there, at addresses of loopback that nobody else has.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use common::{APPLE, PATIENCE, Relay, body, json, with_own};
use pushrelay_peers::world::{EDGE_DOMAIN, EDGE_NAME, World};
use pushrelay_peers::{DnsAnswer, FakeDns, FakeEdge};
use toml::Table;

const RECORD: &str = "_sipfederationtls._tcp.contoso.example";

const OTHER_EDGE: &str = "edge2.contoso.example";

#[tokio::test]
async fn the_systems_resolver_says_who_may_speak_for_a_domain_and_is_followed_when_it_changes() {
    let mut world = World::start().await.unwrap();
    let file = world.dir.path().join("resolv.conf");
    fs::write(&file, "").unwrap();
    let Some(options) = with_own("/etc/resolv.conf", &file) else {
        return;
    };
    let (Some(first), Some(second)) = (dns().await, dns().await) else {
        eprintln!("skipped: port 53 cannot be had here, not even at an address of its own");
        return;
    };
    first.publishes(EDGE_DOMAIN, hosts(EDGE_NAME));
    second.publishes(EDGE_DOMAIN, hosts(OTHER_EDGE));
    // As a system has it: comments, words about other things, and one server that is not there.
    let nobody = an_address();
    let text = format!(
        "# made by hand\nsearch corp.example\nnameserver {nobody}\nnameserver {}\noptions edns0 trust-ad timeout:1\n",
        first.address().ip()
    );
    fs::write(&file, text).unwrap();
    let partner: Table =
        format!("name = \"contoso\"\nknown_by = \"srv\"\ndomains = [{EDGE_DOMAIN:?}]")
            .parse()
            .unwrap();
    world.config["partners"] = vec![partner].into();
    world.config.insert("watch_files".into(), "50ms".into());
    let relay = Relay::launched(world, options).await;
    let (edge, other) = (relay.edge().await, another_edge(&relay).await);
    answered(&relay, 1.0).await;
    assert!(first.asked(RECORD) > 0);
    assert_eq!((status(&edge).await, status(&other).await), (200, 403));

    // In its place, as what is mounted stays the same file.
    fs::write(&file, format!("nameserver {}\n", second.address().ip())).unwrap();
    second.wait_asked(RECORD, 1, PATIENCE).await.unwrap();
    answered(&relay, 2.0).await;
    assert_eq!((status(&edge).await, status(&other).await), (403, 200));
    relay.end().await;
}

#[tokio::test]
async fn a_system_without_a_nameserver_is_told_so() {
    let mut world = World::start().await.unwrap();
    let file = world.dir.path().join("resolv.conf");
    fs::write(&file, "search corp.example\n").unwrap();
    let Some(options) = with_own("/etc/resolv.conf", &file) else {
        return;
    };
    let partner = world.config["partners"][0].as_table_mut().unwrap();
    partner.remove("edges");
    partner.insert("known_by".into(), "srv".into());
    let mut daemon = world.launch(common::binary(), options).unwrap();
    assert_eq!(daemon.wait(PATIENCE).await.unwrap().code(), Some(1));
    let lines = daemon.logs().join("\n");
    let expected = "sip.dns: got \"system\", but /etc/resolv.conf names no nameserver";
    assert!(lines.contains(expected), "{lines}");
}

/// A DNS server at port 53 of an address that nobody else has.
async fn dns() -> Option<FakeDns> {
    for _ in 0..16 {
        let address = SocketAddr::new(an_address(), 53);
        if let Ok(dns) = FakeDns::start_at(address).await {
            return Some(dns);
        }
    }
    None
}

/// One of sixteen million addresses of loopback.
fn an_address() -> IpAddr {
    use std::hash::{BuildHasher, RandomState};
    let [a, b, c, ..] = RandomState::new().hash_one(0).to_le_bytes();
    Ipv4Addr::new(127, a | 1, b, c | 1).into()
}

fn hosts(name: &str) -> DnsAnswer {
    DnsAnswer::Srv(vec![name.to_owned()], 300)
}

async fn another_edge(relay: &Relay) -> FakeEdge {
    let edge = relay.world.edge_of(&relay.daemon, OTHER_EDGE, EDGE_DOMAIN);
    edge.await.unwrap()
}

async fn answered(relay: &Relay, times: f64) {
    let enough = |samples: &pushrelay_peers::Samples| {
        samples.sum("pushrelay_srv_lookups_total", &[("answer", "hosts")]) >= times
    };
    relay.daemon.wait_metrics(PATIENCE, enough).await.unwrap();
}

async fn status(edge: &FakeEdge) -> u16 {
    edge.message(json(), body(&[APPLE])).await.unwrap().status
}

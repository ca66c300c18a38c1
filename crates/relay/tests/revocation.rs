//! Certificates that their issuer has taken back are turned away in the handshake.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, SystemTime};

use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::FakeEdge;
use pushrelay_peers::books::conservation;
use pushrelay_peers::pki::{Eku, Issued, Leaf};
use pushrelay_peers::world::{EDGE_DOMAIN, EDGE_NAME, RELAY_NAME, World};
use toml::Value;

const HOUR: Duration = Duration::from_secs(3600);

/// A relay with these keys in `[sip]` beside its usual ones.
async fn relay_with(world: World, keys: &[(&str, Value)]) -> Relay {
    let mut world = world;
    let sip = world.config["sip"].as_table_mut().unwrap();
    for (key, value) in keys {
        sip.insert((*key).to_owned(), value.clone());
    }
    Relay::in_world(world).await
}

fn edge_leaf() -> Leaf {
    Leaf::named(EDGE_NAME).eku(Eku::Server)
}

async fn connect(relay: &Relay, identity: &Issued) -> std::io::Result<FakeEdge> {
    let root = &relay.world.certificates.root_pem;
    FakeEdge::connect(
        relay.daemon.sip_addr(),
        RELAY_NAME,
        identity,
        root,
        EDGE_DOMAIN,
    )
    .await
}

/// This Edge gets a push through.
async fn is_served(relay: &Relay, identity: &Issued) {
    let edge = connect(relay, identity).await.unwrap();
    let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// This Edge gets no answer; the attempt is counted under `result`, and the log says `word`.
async fn is_turned_away(relay: &Relay, identity: &Issued, result: &str, word: &str) {
    let count = |samples: &pushrelay_peers::Samples| {
        samples.sum("pushrelay_connections_total", &[("result", result)])
    };
    let before = count(&relay.daemon.metrics().await.unwrap());
    // With TLS 1.3 the client is done before the server has judged it, and learns of it when it reads.
    if let Ok(edge) = connect(relay, identity).await {
        let answer = edge.message(json(), body(&[APPLE])).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    let samples = relay
        .daemon
        .wait_metrics(PATIENCE, |samples| count(samples) == before + 1.0)
        .await
        .unwrap();
    conservation(&samples).unwrap();
    relay
        .daemon
        .wait_log(PATIENCE, |line| {
            line.contains("handshake failed") && line.contains(word)
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_revoked_edge_is_turned_away_and_its_neighbour_is_served() {
    let world = World::start().await.unwrap();
    let revoked = world.authority.issue(&edge_leaf());
    let list = world
        .authority
        .revoke(&[&revoked], SystemTime::now() + 24 * 7 * HOUR);
    std::fs::write(world.dir.path().join("list.crl"), &list.pem).unwrap();
    let relay = relay_with(world, &[("crls", vec!["list.crl"].into())]).await;

    is_turned_away(&relay, &revoked, "revoked", "Revoked").await;
    is_served(&relay, &relay.world.certificates.edge.clone()).await;
    assert_eq!(relay.world.apple.received().len(), 1);
    relay.end().await;
}

#[tokio::test]
async fn an_edge_below_a_revoked_authority_is_turned_away() {
    let world = World::start().await.unwrap();
    let below = world.authority.intermediate("Contoso Issuing CA");
    let edge = below.issue(&edge_leaf());
    let good = world
        .authority
        .intermediate("Fabrikam Issuing CA")
        .issue(&edge_leaf());
    let as_issued = Issued {
        chain_pem: below.certificate_pem().to_owned(),
        key_pem: String::new(),
    };
    let list = world
        .authority
        .revoke(&[&as_issued], SystemTime::now() + 24 * 7 * HOUR);
    std::fs::write(world.dir.path().join("root.crl"), &list.der).unwrap();
    let relay = relay_with(world, &[("crls", vec!["root.crl"].into())]).await;

    is_turned_away(&relay, &edge, "revoked", "Revoked").await;
    // Of the second authority's own list nothing is known, and nothing is asked.
    is_served(&relay, &good).await;
    relay.end().await;
}

#[tokio::test]
async fn of_two_lists_of_one_issuer_the_newer_one_decides() {
    let world = World::start().await.unwrap();
    let revoked = world.authority.issue(&edge_leaf());
    let folder = world.dir.path().join("crls");
    std::fs::create_dir(&folder).unwrap();
    let (overdue, due) = (SystemTime::now() - HOUR, SystemTime::now() + 24 * 7 * HOUR);
    // Made before, and without the Edge; it stands first in the folder.
    let older = world.authority.revoke(&[], overdue);
    let newer = world.authority.revoke(&[&revoked], due);
    std::fs::write(folder.join("a.crl"), &older.pem).unwrap();
    std::fs::write(folder.join("b.crl"), &newer.der).unwrap();
    let relay = relay_with(world, &[("crls", vec!["crls"].into())]).await;

    is_turned_away(&relay, &revoked, "revoked", "Revoked").await;
    is_served(&relay, &relay.world.certificates.edge.clone()).await;
    relay.end().await;
}

#[tokio::test]
async fn an_overdue_list_refuses_everybody_of_its_issuer_unless_it_may_be_used() {
    let world = World::start().await.unwrap();
    let revoked = world.authority.issue(&edge_leaf());
    let list = world
        .authority
        .revoke(&[&revoked], SystemTime::now() - HOUR);
    std::fs::write(world.dir.path().join("list.crl"), &list.pem).unwrap();
    let crls = ("crls", Value::from(vec!["list.crl"]));
    let mut relay = relay_with(world, std::slice::from_ref(&crls)).await;
    let good = relay.world.certificates.edge.clone();

    is_turned_away(&relay, &good, "overdue_crl", "revocation list expired").await;

    let sip = relay.world.config["sip"].as_table_mut().unwrap();
    sip.insert("overdue_crl".to_owned(), "accept".into());
    relay.crash().await;
    is_served(&relay, &good).await;
    is_turned_away(&relay, &revoked, "revoked", "Revoked").await;
    relay.end().await;
}

#[tokio::test]
async fn several_roots_may_vouch_for_edges() {
    let world = World::start().await.unwrap();
    let other = pushrelay_peers::pki::Authority::new("Another CA");
    let edge = other.issue(&edge_leaf());
    std::fs::write(world.dir.path().join("other.pem"), other.root_pem()).unwrap();
    let roots = Value::from(vec!["ca.pem", "other.pem"]);
    let relay = relay_with(world, &[("client_roots", roots)]).await;

    is_served(&relay, &edge).await;
    is_served(&relay, &relay.world.certificates.edge.clone()).await;
    relay.end().await;
}

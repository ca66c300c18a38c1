//! Apple at another address: whoever connects asks for it again.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{APPLE, PATIENCE, Relay, body, json, with_own};
use pushrelay_peers::apns::{ApnsCounts, GoAway};
use pushrelay_peers::{ApnsOptions, FakeApns, World, WorldOptions};

/// The daemon has a hosts file of its own, so that its answers can change; what makes one takes root.
#[tokio::test]
async fn a_new_connection_goes_to_where_the_name_leads_now() {
    let at = |listen: &str, options: ApnsOptions| ApnsOptions {
        listen: listen.parse().unwrap(),
        ..options
    };
    let options = WorldOptions {
        apple: at("127.0.0.2:0", ApnsOptions::default()),
        ..WorldOptions::default()
    };
    let mut world = World::start_with(options).await.unwrap();
    let port = world.apple.address().port();
    let certificates = &world.certificates;
    let there = ApnsOptions {
        identity: Some((certificates.apple.clone(), certificates.root_pem.clone())),
        keys: vec![certificates.provider_key.clone()],
        ..ApnsOptions::default()
    };
    let there = at(&format!("127.0.0.3:{port}"), there);
    let there = FakeApns::start(there).await.unwrap();
    let hosts = world.dir.path().join("hosts");
    let Some(options) = with_own("/etc/hosts", &hosts) else {
        return;
    };
    fs::write(&hosts, "127.0.0.2 localhost\n").unwrap();
    let app = world.config["apple"]["apps"][0].as_table_mut().unwrap();
    app.insert("url".into(), format!("https://localhost:{port}").into());
    let relay = Relay::launched(world, options).await;
    let edge = relay.edge().await;
    let push = async || edge.message(json(), body(&[APPLE])).await.unwrap().status;
    assert_eq!(push().await, 200);
    assert_eq!(relay.world.apple.received().len(), 1);

    // In its place: the file that is mounted stays the same.
    fs::write(&hosts, "127.0.0.3 localhost\n").unwrap();
    assert_eq!(push().await, 200);
    assert_eq!(
        relay.world.apple.received().len(),
        2,
        "a connection that stands stays"
    );
    relay.world.apple.go_away(&GoAway::graceful());
    let gone = |counts: &ApnsCounts| counts.open_connections == 0;
    relay.world.apple.wait_until(PATIENCE, gone).await.unwrap();
    assert_eq!(push().await, 200);
    assert_eq!(relay.world.apple.received().len(), 2);
    assert_eq!(there.received().len(), 1);
    assert_eq!(there.violations(), Vec::<String>::new());
    relay.end().await;
}

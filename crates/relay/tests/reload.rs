//! Reload: new connections see the new state, old ones stay, a bad file changes nothing and is named.

#![allow(clippy::unwrap_used)]
#![allow(
    clippy::print_stdout,
    reason = "a test tells the figure that it has measured"
)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use common::{APPLE, PATIENCE, Relay, binary, body, json};
use pushrelay_peers::books::conservation;
use pushrelay_peers::daemon::{DaemonOptions, Signal};
use pushrelay_peers::pki::{ApnsKey, Authority, Leaf};
use pushrelay_peers::world::{EDGE_DOMAIN, RELAY_NAME, World, WorldOptions};
use pushrelay_peers::{ApnsAnswer, Daemon, FakeEdge};
use toml::{Table, Value};

/// A second partner.
const FABRIKAM: (&str, &str) = ("sip.fabrikam.example", "fabrikam.example");

fn partner(name: &str, edge: &str, domain: &str) -> Value {
    let text = format!("name = {name:?}\nedges = [{edge:?}]\ndomains = [{domain:?}]");
    Value::Table(text.parse().unwrap())
}

fn partners(config: &mut Table) -> &mut Vec<Value> {
    config["partners"].as_array_mut().unwrap()
}

fn app(config: &mut Table) -> &mut Table {
    config["apple"]["apps"][0].as_table_mut().unwrap()
}

/// Only SIGHUP reloads.
fn by_signal_alone(config: &mut Table) {
    config.insert("watch_files".into(), "0s".into());
}

/// A file is looked at twenty times a second.
fn by_watching(config: &mut Table) {
    config.insert("watch_files".into(), "50ms".into());
}

async fn reloads(daemon: &Daemon, result: &str) -> f64 {
    let samples = daemon.metrics().await.unwrap();
    samples.sum("pushrelay_reloads_total", &[("result", result)])
}

/// Waits for this many reloads.
async fn reloaded(daemon: &Daemon, result: &str, count: f64) {
    let enough = |samples: &pushrelay_peers::Samples| {
        samples.sum("pushrelay_reloads_total", &[("result", result)]) >= count
    };
    daemon.wait_metrics(PATIENCE, enough).await.unwrap();
}

/// Writes `text` as the configuration, sends SIGHUP and waits until it was `applied` or `refused`.
async fn reload_text(relay: &Relay, text: &str, result: &str) {
    let before = reloads(&relay.daemon, result).await;
    fs::write(relay.daemon.config_path(), text).unwrap();
    relay.daemon.signal(Signal::HUP).unwrap();
    reloaded(&relay.daemon, result, before + 1.0).await;
}

/// The same with the world's own configuration.
async fn reload(relay: &Relay, result: &str) {
    reload_text(relay, &relay.world.config.to_string(), result).await;
}

async fn status(edge: &FakeEdge) -> u16 {
    edge.message(json(), body(&[APPLE])).await.unwrap().status
}

#[tokio::test]
async fn a_hundred_reloads_under_load_of_which_ten_are_broken_fail_no_request() {
    let mut relay = Relay::configured(|config| {
        by_signal_alone(config);
        partners(config).push(partner("fabrikam", FABRIKAM.0, FABRIKAM.1));
    })
    .await;
    let done = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let mut senders = Vec::new();
    for number in 0..4 {
        let edge = match number % 2 {
            0 => relay.edge().await,
            _ => {
                let world = &relay.world;
                world
                    .edge_of(&relay.daemon, FABRIKAM.0, FABRIKAM.1)
                    .await
                    .unwrap()
            }
        };
        let (done, sent) = (done.clone(), sent.clone());
        senders.push(tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
                assert!(matches!(answer.status, 200 | 202), "{answer:?}");
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let (address, identity) = (
        relay.daemon.sip_addr(),
        relay.world.certificates.edge.clone(),
    );
    let roots = relay.world.certificates.root_pem.clone();
    let (still, counted) = (done.clone(), sent.clone());
    let newcomers = tokio::spawn(async move {
        while !still.load(Ordering::Relaxed) {
            let edge = FakeEdge::connect(address, RELAY_NAME, &identity, &roots, EDGE_DOMAIN);
            let answer = edge.await.unwrap().message(json(), body(&[APPLE])).await;
            assert!(matches!(answer.unwrap().status, 200 | 202));
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });

    for round in 0..100 {
        let failed = if round % 10 == 9 {
            let text = relay.world.config.to_string();
            let (good, bad) = [
                ("[sip]", "[sip"),
                ("relay.key", "nowhere.key"),
                ("[sip]", "[sip]\nlissten = 1"),
                ("AuthKey.p8", "relay.pem"),
                (EDGE_DOMAIN, "*.contoso.example"),
            ][round / 10 % 5];
            assert!(text.contains(good), "{good}: {text}");
            reload_text(&relay, &text.replace(good, bad), "refused").await;
            1.0
        } else {
            match round % 4 {
                0 => {
                    let leaf = relay.world.authority.issue(&Leaf::server(RELAY_NAME));
                    leaf.write(relay.world.dir.path(), "relay").unwrap();
                }
                1 => {
                    let success = 200 + i64::try_from(round).unwrap() / 4 % 2 * 2;
                    let sip = relay.world.config["sip"].as_table_mut().unwrap();
                    sip.insert("accepted_status".into(), success.into());
                }
                2 => {
                    let connections = 1 + i64::try_from(round).unwrap() / 4 % 3;
                    app(&mut relay.world.config).insert("connections".into(), connections.into());
                }
                _ => {
                    let name = format!("litware-{round}");
                    let edge = format!("sip.{name}.example");
                    partners(&mut relay.world.config).push(partner(
                        &name,
                        &edge,
                        "litware.example",
                    ));
                }
            }
            reload(&relay, "applied").await;
            0.0
        };
        let samples = relay.daemon.metrics().await.unwrap();
        assert_eq!(samples.get("pushrelay_reload_failed", &[]), Some(failed));
    }
    done.store(true, Ordering::Relaxed);
    for sender in senders.into_iter().chain([newcomers]) {
        sender.await.unwrap();
    }
    let sent = sent.load(Ordering::Relaxed);
    let samples = relay.settled(0.0).await;
    assert_eq!(reloads(&relay.daemon, "applied").await, 90.0);
    assert_eq!(reloads(&relay.daemon, "refused").await, 10.0);
    assert_eq!(
        samples.sum("pushrelay_messages_received_total", &[]),
        sent as f64
    );
    assert_eq!(samples.sum("pushrelay_refusals_total", &[]), 0.0);
    assert_eq!(
        relay.world.apple.counts().accepted,
        sent,
        "each was pushed once"
    );
    assert_eq!(relay.world.apple.duplicates(), 0);
    println!("{sent} MESSAGEs during 100 reloads, none failed");
    relay.end().await;
}

#[tokio::test]
async fn a_bad_file_keeps_the_old_state_whole_and_is_named_with_key_and_value() {
    let mut relay = Relay::configured(by_signal_alone).await;
    let edge = relay.edge().await;
    let before = relay.daemon.metrics().await.unwrap();
    assert_eq!(before.get("pushrelay_reload_failed", &[]), Some(0.0));
    let started = before
        .get("pushrelay_reload_success_timestamp_seconds", &[])
        .unwrap();
    assert!(started > 1.7e9, "{started}");

    // Everything in it is good but one value; nothing of it may be taken up.
    let sip = relay.world.config["sip"].as_table_mut().unwrap();
    sip.insert("accepted_status".into(), 202.into());
    partners(&mut relay.world.config)[0] = partner("contoso", "sip.nobody.example", EDGE_DOMAIN);
    let good = relay.world.config.clone();
    app(&mut relay.world.config).insert("roots".into(), "nowhere.pem".into());
    reload(&relay, "refused").await;
    let line = relay
        .daemon
        .wait_log(PATIENCE, |line| line.contains("not reloaded"))
        .await
        .unwrap();
    for part in [
        "ERROR",
        "pushrelay.toml",
        "apple.apps[0].roots",
        "nowhere.pem",
        "a PEM file",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(
        status(&edge).await,
        200,
        "the partner and the status of before"
    );
    let after = relay.daemon.metrics().await.unwrap();
    assert_eq!(after.get("pushrelay_reload_failed", &[]), Some(1.0));
    assert_eq!(
        after.sum("pushrelay_reloads_total", &[("result", "refused")]),
        1.0
    );

    relay.world.config = good;
    reload(&relay, "applied").await;
    let mended = relay.daemon.metrics().await.unwrap();
    assert_eq!(mended.get("pushrelay_reload_failed", &[]), Some(0.0));
    assert!(
        mended
            .get("pushrelay_reload_success_timestamp_seconds", &[])
            .unwrap()
            >= started
    );
    assert_eq!(status(&edge).await, 403);
    relay.end().await;
}

#[tokio::test]
async fn a_removed_partner_is_refused_on_its_old_connection_and_nobody_else_is() {
    let mut relay = Relay::configured(|config| {
        by_signal_alone(config);
        partners(config).push(partner("fabrikam", FABRIKAM.0, FABRIKAM.1));
    })
    .await;
    let contoso = relay.edge().await;
    let world = &relay.world;
    let fabrikam = world
        .edge_of(&relay.daemon, FABRIKAM.0, FABRIKAM.1)
        .await
        .unwrap();
    assert_eq!(
        (status(&contoso).await, status(&fabrikam).await),
        (200, 200)
    );

    let removed = partners(&mut relay.world.config).pop().unwrap();
    reload(&relay, "applied").await;
    let answer = fabrikam.message(json(), body(&[APPLE])).await.unwrap();
    assert_eq!(answer.status, 403);
    assert!(
        answer.reason().unwrap().contains("names no partner"),
        "{answer:?}"
    );
    assert_eq!(status(&contoso).await, 200);
    let samples = relay.daemon.metrics().await.unwrap();
    let of = |name| samples.sum("pushrelay_messages_received_total", &[("partner", name)]);
    assert_eq!((of("fabrikam"), of("-"), of("contoso")), (1.0, 1.0, 2.0));
    conservation(&samples).unwrap();

    // It comes back, with another domain; a connection that was open meanwhile knows at once.
    let world = &relay.world;
    let stranger = world
        .edge_of(&relay.daemon, FABRIKAM.0, "other.example")
        .await
        .unwrap();
    assert_eq!(status(&stranger).await, 403);
    partners(&mut relay.world.config).push(removed);
    partners(&mut relay.world.config)[1]["domains"] = vec!["other.example"].into();
    reload(&relay, "applied").await;
    assert_eq!(status(&stranger).await, 200);
    relay.end().await;
}

#[tokio::test]
async fn a_certificate_behind_a_swapped_link_is_shown_to_who_comes_and_nobody_is_hung_up_on() {
    let world = World::start().await.unwrap();
    // As certbot lays it out: live/relay.pem -> ../archive/relay1.pem.
    let at = |name: &str| world.dir.path().join(name);
    fs::create_dir(at("live")).unwrap();
    fs::create_dir(at("archive")).unwrap();
    let swap = |link: &str, target: &str| {
        symlink(target, at("swap")).unwrap();
        fs::rename(at("swap"), at("live").join(link)).unwrap();
    };
    world
        .certificates
        .relay
        .write(&at("archive"), "relay1")
        .unwrap();
    swap("relay.pem", "../archive/relay1.pem");
    swap("relay.key", "../archive/relay1.key");
    let other = Authority::new("Another CA");
    let renewed = other.issue(&Leaf::server(RELAY_NAME));
    renewed.write(&at("archive"), "relay2").unwrap();
    let mut world = world;
    by_watching(&mut world.config);
    let pair: Table = "chain = \"live/relay.pem\"\nkey = \"live/relay.key\""
        .parse()
        .unwrap();
    world.config["sip"]["certificates"] = vec![Value::Table(pair)].into();
    let relay = Relay::in_world(world).await;
    let connect = |roots: String| {
        let (address, edge) = (relay.daemon.sip_addr(), &relay.world.certificates.edge);
        async move { FakeEdge::connect(address, RELAY_NAME, edge, &roots, EDGE_DOMAIN).await }
    };
    let (old_roots, new_roots) = (
        relay.world.certificates.root_pem.clone(),
        other.root_pem().to_owned(),
    );
    let old = connect(old_roots.clone()).await.unwrap();
    assert!(connect(new_roots.clone()).await.is_err(), "not yet");

    let at = |name: &str| relay.world.dir.path().join(name);
    let swap = |link: &str, target: &str| {
        symlink(target, at("swap")).unwrap();
        fs::rename(at("swap"), at("live").join(link)).unwrap();
    };
    swap("relay.pem", "../archive/relay2.pem");
    swap("relay.key", "../archive/relay2.key");
    reloaded(&relay.daemon, "applied", 1.0).await;
    let new = connect(new_roots).await.unwrap();
    assert!(
        connect(old_roots).await.is_err(),
        "the old certificate is shown no more"
    );
    assert_eq!((status(&old).await, status(&new).await), (200, 200));
    let samples = relay.daemon.metrics().await.unwrap();
    let expiries = samples.sum(
        "pushrelay_certificate_expiry_timestamp_seconds",
        &[("use", "sip")],
    );
    assert!(
        expiries > 1.7e9 && expiries < 1e10,
        "one series, not two: {expiries}"
    );
    relay.end().await;
}

#[tokio::test]
async fn a_file_that_does_not_change_is_not_read_again_and_a_bad_one_is_complained_of_once() {
    let relay = Relay::configured(by_watching).await;
    let key = relay.world.dir.path().join("relay.key");
    let replace = |text: &[u8]| {
        let new = relay.world.dir.path().join("new.key");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &key).unwrap();
    };
    let good = fs::read(&key).unwrap();
    // Each step takes the watch two looks or more, in which it sees the same bad file again.
    for (count, bad) in [(1.0, "hello"), (2.0, "world"), (3.0, "")] {
        replace(bad.as_bytes());
        reloaded(&relay.daemon, "refused", count).await;
    }
    // Mended, although the configuration itself was never touched.
    replace(&good);
    reloaded(&relay.daemon, "applied", 1.0).await;
    assert_eq!(reloads(&relay.daemon, "refused").await, 3.0);
    assert_eq!(status(&relay.edge().await).await, 200);
    relay.end().await;
}

#[tokio::test]
async fn the_authorities_of_edges_are_replaced_for_who_comes_and_not_for_who_is_there() {
    let mut relay = Relay::configured(by_signal_alone).await;
    let old = relay.edge().await;
    let other = Authority::new("Another CA");
    fs::write(relay.world.dir.path().join("other.pem"), other.root_pem()).unwrap();
    let sip = relay.world.config["sip"].as_table_mut().unwrap();
    sip.insert("client_roots".into(), "other.pem".into());
    reload(&relay, "applied").await;

    let identity = other.issue(&Leaf::named(pushrelay_peers::world::EDGE_NAME));
    let (address, roots) = (relay.daemon.sip_addr(), &relay.world.certificates.root_pem);
    let new = FakeEdge::connect(address, RELAY_NAME, &identity, roots, EDGE_DOMAIN);
    assert_eq!(status(&new.await.unwrap()).await, 200);
    // With TLS 1.3 the client learns of its refusal only when it reads.
    let refused = match relay.world.edge(&relay.daemon).await {
        Ok(edge) => edge.closed(PATIENCE).await,
        Err(error) => Err(error),
    };
    assert!(refused.is_err(), "its authority is trusted no more");
    assert_eq!(status(&old).await, 200);
    relay.end().await;
}

#[tokio::test]
async fn a_revocation_list_that_is_replaced_turns_away_who_comes_and_not_who_is_there() {
    let mut world = World::start().await.unwrap();
    by_watching(&mut world.config);
    let sip = world.config["sip"].as_table_mut().unwrap();
    sip.insert("crls".into(), vec!["list.crl"].into());
    let due = SystemTime::now() + Duration::from_secs(7 * 24 * 3600);
    let place = world.dir.path().to_owned();
    let publish = |pem: &str| {
        fs::write(place.join("new.crl"), pem).unwrap();
        fs::rename(place.join("new.crl"), place.join("list.crl")).unwrap();
    };
    publish(&world.authority.revoke(&[], due).pem);
    let relay = Relay::in_world(world).await;
    let old = relay.edge().await;
    assert_eq!(status(&old).await, 200);

    let revoked = &relay.world.certificates.edge;
    publish(&relay.world.authority.revoke(&[revoked], due).pem);
    reloaded(&relay.daemon, "applied", 1.0).await;
    let refused = match relay.world.edge(&relay.daemon).await {
        Ok(edge) => edge.closed(PATIENCE).await,
        Err(error) => Err(error),
    };
    assert!(refused.is_err(), "its certificate is revoked");
    let revoked = |samples: &pushrelay_peers::Samples| {
        samples.sum("pushrelay_connections_total", &[("result", "revoked")]) == 1.0
    };
    relay.daemon.wait_metrics(PATIENCE, revoked).await.unwrap();
    assert_eq!(status(&old).await, 200);
    relay.end().await;
}

#[tokio::test]
async fn clients_of_providers_go_on_unless_they_have_changed_and_then_end_after_what_is_in_flight()
{
    let mut relay = Relay::configured(|config| {
        by_signal_alone(config);
        config.insert("reply_within".into(), "20s".into());
    })
    .await;
    let edge = relay.edge().await;
    assert_eq!(status(&edge).await, 200);
    partners(&mut relay.world.config).push(partner("fabrikam", FABRIKAM.0, FABRIKAM.1));
    reload(&relay, "applied").await;
    assert_eq!(status(&edge).await, 200);
    assert_eq!(
        relay.world.apple.counts().connections,
        1,
        "the app was not touched"
    );
    relay
        .daemon
        .wait_log(PATIENCE, |line| line.contains("\"apps_kept\":1"))
        .await
        .unwrap();

    // A push is on its way when its app changes.
    relay.world.apple.script_default([
        ApnsAnswer::ok().after(Duration::from_secs(2)),
        ApnsAnswer::ok(),
    ]);
    let slow = edge.request(json(), body(&[APPLE]));
    edge.send(&slow).await.unwrap();
    relay.world.apple.wait_for(3, PATIENCE).await.unwrap();
    app(&mut relay.world.config).insert("connections".into(), 2.into());
    reload(&relay, "applied").await;
    assert_eq!(status(&edge).await, 200);
    assert_eq!(edge.answer_to(&slow, PATIENCE).await.unwrap().status, 200);
    let received = relay.world.apple.received();
    let connections: Vec<u64> = received.iter().map(|push| push.connection).collect();
    assert_eq!(
        connections,
        [0, 0, 0, 1],
        "the new client has a connection of its own"
    );
    relay
        .world
        .apple
        .wait_until(PATIENCE, |counts| counts.open_connections == 1)
        .await
        .unwrap();
    let samples = relay.daemon.metrics().await.unwrap();
    let minted = samples.sum(
        "pushrelay_apns_connection_events",
        &[("event", "token_minted")],
    );
    assert_eq!(minted, 1.0, "the key is the same, and so is its token");
    relay.end().await;
}

#[tokio::test]
async fn another_provider_key_signs_what_comes_next_and_the_edge_stays_connected() {
    let renewed = ApnsKey::new("KLMNOPQRST", "TEAM123456");
    let mut options = WorldOptions::default();
    options.apple.keys.push(renewed.clone());
    let mut world = World::start_with(options).await.unwrap();
    by_signal_alone(&mut world.config);
    let mut relay = Relay::in_world(world).await;
    let edge = relay.edge().await;
    assert_eq!(status(&edge).await, 200);

    // The file has its name of before, as a credential of systemd's would.
    fs::write(relay.world.dir.path().join("AuthKey.p8"), &renewed.p8_pem).unwrap();
    let token = app(&mut relay.world.config)["token"]
        .as_table_mut()
        .unwrap();
    token.insert("key_id".into(), renewed.key_id.into());
    reload(&relay, "applied").await;
    assert_eq!(status(&edge).await, 200);
    let received = relay.world.apple.received();
    let keys: Vec<_> = received.iter().map(|push| push.key_id().unwrap()).collect();
    assert_eq!(keys, ["ABCDEFGHIJ", "KLMNOPQRST"]);
    relay.end().await;
}

#[tokio::test]
async fn another_rate_holds_and_frees_a_partner_on_the_connection_that_it_has() {
    let mut relay = Relay::configured(by_signal_alone).await;
    let edge = relay.edge().await;
    assert_eq!(status(&edge).await, 200);
    // One a day.
    partners(&mut relay.world.config)[0]
        .as_table_mut()
        .unwrap()
        .insert("rate".into(), 0.0000116.into());
    reload(&relay, "applied").await;
    assert_eq!(status(&edge).await, 200);
    let held = edge.message(json(), body(&[APPLE])).await.unwrap();
    assert_eq!(held.status, 503);
    let wait: u32 = held.header("Retry-After").unwrap().parse().unwrap();
    assert!(wait > 80_000, "{wait}");

    partners(&mut relay.world.config)[0]["rate"] = 10.0.into();
    reload(&relay, "applied").await;
    // It is as empty as it was, and fills at the new rate.
    let deadline = Instant::now() + PATIENCE;
    while status(&edge).await != 200 {
        assert!(Instant::now() < deadline, "held by a rate that is no more");
    }
    partners(&mut relay.world.config)[0]
        .as_table_mut()
        .unwrap()
        .remove("rate");
    reload(&relay, "applied").await;
    for _ in 0..20 {
        assert_eq!(status(&edge).await, 200);
    }
    relay.end().await;
}

#[tokio::test]
async fn another_template_shows_its_words_from_the_next_push_on() {
    let mut relay = Relay::configured(by_signal_alone).await;
    let edge = relay.edge().await;
    assert_eq!(status(&edge).await, 200);
    for title in ["{from.name} writes", "News"] {
        let template: Table = format!("title = {title:?}").parse().unwrap();
        let apple = relay.world.config["apple"].as_table_mut().unwrap();
        apple.insert("templates".into(), vec![template].into());
        reload(&relay, "applied").await;
        assert_eq!(status(&edge).await, 200);
    }
    let received = relay.world.apple.received();
    let titles: Vec<_> = received
        .iter()
        .map(|push| &push.payload["aps"]["alert"]["title"])
        .collect();
    assert_eq!(titles, ["Kim Akers", "Kim Akers writes", "News"]);
    let connections = received.iter().map(|push| push.connection);
    assert_eq!(
        connections.max(),
        Some(0),
        "the app's own connection goes on"
    );
    relay.end().await;
}

#[tokio::test]
async fn the_log_level_changes_and_what_takes_a_restart_is_named() {
    let mut relay = Relay::configured(by_signal_alone).await;
    let edge = relay.edge().await;
    assert_eq!(status(&edge).await, 200);
    relay
        .daemon
        .wait_log(PATIENCE, |line| line.contains("answered"))
        .await
        .unwrap();
    relay.world.config["log"]["level"] = "error".into();
    let limits: Table = "connections = 17\nidle_timeout = \"3h\"".parse().unwrap();
    relay
        .world
        .config
        .insert("limits".into(), Value::Table(limits));
    reload(&relay, "applied").await;
    let lines = relay.daemon.logs().len();
    assert_eq!(status(&edge).await, 200);
    relay.world.config["log"]["level"] = "debug".into();
    reload(&relay, "applied").await;
    let quiet = relay.daemon.logs().split_off(lines);
    assert!(
        !quiet.iter().any(|line| line.contains("answered")),
        "{quiet:#?}"
    );
    assert_eq!(status(&edge).await, 200);
    for (key, runs, says) in [
        ("limits.connections", "1000", "17"),
        ("limits.idle_timeout", "2h", "3h"),
    ] {
        let line = relay
            .daemon
            .wait_log(PATIENCE, |line| {
                line.contains("restart") && line.contains(key)
            })
            .await
            .unwrap();
        assert!(line.contains(runs) && line.contains(says), "{line}");
    }
    relay.end().await;
}

#[test]
fn systemd_is_told_that_a_reload_begins_and_how_it_ended() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::start()).unwrap();
    let path = world.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let options = DaemonOptions {
        environment: vec![("NOTIFY_SOCKET".into(), path.to_str().unwrap().into())],
        ..DaemonOptions::default()
    };
    let config = world.config.to_string();
    let start = Daemon::start_with(binary(), &config, world.dir.path(), options);
    let mut daemon = runtime.block_on(start).unwrap();
    assert_eq!(next().trim(), "READY=1");

    daemon.signal(Signal::HUP).unwrap();
    let begin = next();
    let at = begin.trim().strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    assert!(at.unwrap().parse::<u64>().unwrap() > 0, "{begin}");
    assert_eq!(next().trim(), "READY=1\nSTATUS=Reloaded.");

    fs::write(daemon.config_path(), config.replace("[sip]", "[sip")).unwrap();
    daemon.signal(Signal::HUP).unwrap();
    assert!(next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    let end = next();
    assert_eq!(end.trim().lines().count(), 2, "{end}");
    assert!(end.starts_with("READY=1\nSTATUS=Not reloaded: "), "{end}");
    assert!(
        end.contains("pushrelay.toml") && end.contains("TOML parse error"),
        "{end}"
    );
    runtime.block_on(daemon.terminate()).unwrap();
    assert_eq!(next().trim(), "STOPPING=1");
}

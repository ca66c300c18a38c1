//! Peers that somebody else wrote judge the daemon: OpenSSL.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::Relay;
use pushrelay_peers::world::RELAY_NAME;

fn run(program: &str, package: &str, arguments: &[&str], dir: &Path) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} (Debian package {package}) is needed: {error}; `cargo xtask test` installs it"))
}

fn s_client(relay: &Relay, arguments: &[&str]) -> String {
    let address = relay.daemon.sip_addr().to_string();
    let mut all = vec![
        "s_client",
        "-connect",
        &address,
        "-servername",
        RELAY_NAME,
        "-CAfile",
        "ca.pem",
        "-brief",
    ];
    all.extend(arguments);
    let output = run("openssl", "openssl", &all, relay.world.dir.path());
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

const EDGE: [&str; 4] = ["-cert", "edge.pem", "-key", "edge.key"];

#[tokio::test]
async fn openssl_agrees_on_tls_1_2_and_1_3_and_on_nothing_older() {
    let relay = Relay::start().await;
    for version in ["-tls1_2", "-tls1_3"] {
        let text = s_client(&relay, &[&EDGE[..], &[version]].concat());
        assert!(
            text.contains("Verification: OK") && text.contains("CONNECTION ESTABLISHED"),
            "{version}: {text}"
        );
    }
    let text = s_client(
        &relay,
        &[&EDGE[..], &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]].concat(),
    );
    assert!(!text.contains("CONNECTION ESTABLISHED"), "{text}");
    relay.end().await;
}

#[tokio::test]
async fn a_client_without_a_certificate_is_turned_away_in_the_handshake() {
    let relay = Relay::start().await;
    let text = s_client(&relay, &["-tls1_2"]);
    assert!(text.contains("alert"), "{text}");
    let bad = [("result", "bad_certificate")];
    relay
        .daemon
        .wait_metrics(Duration::from_secs(5), |samples| {
            samples.sum("pushrelay_connections_total", &bad) == 1.0
        })
        .await
        .unwrap();
    relay.end().await;
}

#[tokio::test]
async fn each_client_gets_the_certificate_that_it_can_read() {
    let options = pushrelay_peers::world::WorldOptions {
        relay_rsa: true,
        ..Default::default()
    };
    let relay = Relay::in_world(
        pushrelay_peers::world::World::start_with(options)
            .await
            .unwrap(),
    )
    .await;
    for (cipher, signature) in [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDSA"),
        ("ECDHE-RSA-AES256-GCM-SHA384", "RSA"),
    ] {
        let text = s_client(
            &relay,
            &[&EDGE[..], &["-tls1_2", "-cipher", cipher]].concat(),
        );
        assert!(
            text.contains(cipher) && text.contains("Verification: OK"),
            "{text}"
        );
        assert!(
            text.contains(&format!("Signature type: {signature}")),
            "{text}"
        );
    }
    relay.end().await;
}

//! Peers that somebody else wrote judge the daemon: OpenSSL.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::SipRequest;
use pushrelay_peers::pki::{Eku, Key, Leaf};
use pushrelay_peers::world::{EDGE_NAME, RELAY_NAME};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

/// What SChannel of Windows Server 2012 R2 offers with TLS 1.2, in its order, in OpenSSL's names (Microsoft, "TLS Cipher Suites in
/// Windows 8.1"); 2012 and 2008 R2 lack the DHE and RSA suites with GCM.
const SCHANNEL_6_3: &str = "ECDHE-RSA-AES256-SHA384:ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA:ECDHE-RSA-AES128-SHA:\
DHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-SHA:DHE-RSA-AES128-SHA:\
AES256-GCM-SHA384:AES128-GCM-SHA256:AES256-SHA256:AES128-SHA256:AES256-SHA:AES128-SHA:\
ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA256:\
ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA";

/// The rest of its manner.
const SCHANNEL: [&str; 7] = [
    "-tls1_2",
    "-cipher",
    SCHANNEL_6_3,
    "-sigalgs",
    "RSA+SHA256:RSA+SHA384:RSA+SHA1:ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA1",
    "-groups",
    "P-256:P-384",
];

/// Sends a push through `s_client` and gives the head of the answer.
async fn push_through(relay: &Relay, arguments: &[&str]) -> String {
    let address = relay.daemon.sip_addr().to_string();
    let mut child = tokio::process::Command::new("openssl")
        .args([
            "s_client", "-quiet", "-connect", &address, "-CAfile", "ca.pem",
        ])
        .args(arguments)
        .current_dir(relay.world.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (from, to) = ("sip:kima@contoso.example", "sip:push@push.example.org");
    let request = SipRequest::message(to, from, json(), body(&[APPLE]));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&request.encode()).await.unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"\r\n\r\n") {
            assert_ne!(
                stdout.read_buf(&mut answer).await.unwrap(),
                0,
                "s_client has ended"
            );
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn windows_server_2012_r2_gets_through_by_the_ecdsa_certificate() {
    let options = pushrelay_peers::world::WorldOptions {
        relay_rsa: true,
        ..Default::default()
    };
    let mut world = pushrelay_peers::world::World::start_with(options)
        .await
        .unwrap();
    // An Edge's own key is RSA.
    let leaf = Leaf::named(EDGE_NAME).eku(Eku::Server).key(Key::Rsa);
    world
        .authority
        .issue(&leaf)
        .write(world.dir.path(), "edge")
        .unwrap();
    let both = world.config.clone();
    let pairs = world.config["sip"]["certificates"].as_array_mut().unwrap();
    pairs.remove(0);
    let mut relay = Relay::in_world(world).await;
    let manner = [&EDGE[..], &SCHANNEL].concat();
    let text = s_client(&relay, &manner);
    assert!(
        !text.contains("CONNECTION ESTABLISHED"),
        "with RSA alone there is no common suite: {text}"
    );

    relay.world.config = both;
    relay.crash().await;
    let text = s_client(&relay, &manner);
    for part in [
        "CONNECTION ESTABLISHED",
        "Ciphersuite: ECDHE-ECDSA-AES256-GCM-SHA384",
        "Signature type: ECDSA",
        "Verification: OK",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let answer = push_through(&relay, &manner).await;
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    assert_eq!(relay.world.apple.received().len(), 1);
    relay.end().await;
}

#[tokio::test]
async fn the_whole_chain_is_sent_and_no_authority_is_hinted_at() {
    let world = pushrelay_peers::world::World::start().await.unwrap();
    let issuing = world.authority.intermediate("Push Issuing CA");
    let leaf = Leaf::server(RELAY_NAME);
    issuing
        .issue(&leaf)
        .write(world.dir.path(), "relay")
        .unwrap();
    let relay = Relay::in_world(world).await;
    for version in ["-tls1_2", "-tls1_3"] {
        let address = relay.daemon.sip_addr().to_string();
        let arguments = [
            &[
                "s_client", "-connect", &address, "-CAfile", "ca.pem", version,
            ],
            &["-showcerts", "-verify_return_error", "-msg"][..],
            &EDGE[..],
        ]
        .concat();
        let output = run("openssl", "openssl", &arguments, relay.world.dir.path());
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2, "{text}");
        for part in [
            "Verify return code: 0 (ok)",
            "i:CN = Push Issuing CA",
            "s:CN = Push Issuing CA",
            "CertificateRequest",
            "No client certificate CA names sent",
        ] {
            assert!(text.contains(part), "{version}: {part}: {text}");
        }
    }
    relay.end().await;
}

//! `pushrelay probe` against a good relay, and against one fault at a time: it must name the fault.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use common::{Relay, binary};
use pushrelay_peers::pki::{Authority, Eku, Issued, Key, Leaf};
use pushrelay_peers::world::{RELAY_NAME, TOPIC};
use pushrelay_peers::{ApnsAnswer, MpnsAnswer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;

const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// One run of the command.
struct Run {
    code: Option<i32>,
    report: Value,
}

impl Run {
    fn fault(&self) -> &str {
        self.report["fault"]["fault"].as_str().unwrap_or("none")
    }
}

async fn run(dir: &Path, target: SocketAddr, what: &str, extra: &[&str]) -> Run {
    let target = target.to_string();
    let mut arguments = vec!["probe", what, "--json"];
    for (name, value) in [
        ("--target", &*target),
        ("--domain", "push.example.org"),
        ("--cert", "edge.pem"),
        ("--key", "edge.key"),
        ("--roots", "ca.pem"),
        ("--name", RELAY_NAME),
    ] {
        if !extra.contains(&name) {
            arguments.extend([name, value]);
        }
    }
    arguments.extend(extra);
    let output = Command::new(binary())
        .current_dir(dir)
        .args(&arguments)
        .output()
        .await
        .unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    Run {
        code: output.status.code(),
        report,
    }
}

async fn federation(relay: &Relay, extra: &[&str]) -> Run {
    run(
        relay.world.dir.path(),
        relay.daemon.sip_addr(),
        "federation",
        extra,
    )
    .await
}

async fn push(relay: &Relay, extra: &[&str]) -> Run {
    run(
        relay.world.dir.path(),
        relay.daemon.sip_addr(),
        "push",
        extra,
    )
    .await
}

#[track_caller]
fn named(run: &Run, fault: &str, code: i32) {
    assert_eq!(run.fault(), fault, "{:#}", run.report);
    assert_eq!(run.code, Some(code), "{:#}", run.report);
    for word in ["means", "do"] {
        let text = run.report["fault"][word].as_str().unwrap();
        assert!(text.len() > 10, "{word}: {text}");
    }
}

#[tokio::test]
async fn a_good_relay_passes_both_and_the_push_arrives() {
    let relay = Relay::start().await;
    let good = federation(&relay, &[]).await;
    assert_eq!(good.code, Some(0), "{:#}", good.report);
    let steps = good.report["steps"].as_array().unwrap();
    let steps: Vec<_> = steps
        .iter()
        .map(|step| {
            (
                step["step"].as_str().unwrap(),
                step["result"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        steps,
        [
            "files",
            "resolve",
            "connect",
            "tls",
            "certificate",
            "options"
        ]
        .map(|step| (step, "ok"))
    );
    assert_eq!(federation(&relay, &["--legacy"]).await.code, Some(0));
    let test = push(&relay, &[]).await;
    assert_eq!(test.code, Some(0), "{:#}", test.report);
    assert_eq!(relay.world.apple.received().len(), 0, "a test asks nobody");
    let phone = relay.world.windows_phone.url_for("phone");
    let real = push(&relay, &["--apple", TOKEN, "--windows-phone", &phone]).await;
    assert_eq!(real.code, Some(0), "{:#}", real.report);
    assert_eq!(relay.world.apple.received().len(), 1);
    assert_eq!(relay.world.windows_phone.received().len(), 1);
    relay.end().await;
}

#[tokio::test]
async fn without_json_each_step_is_a_line_and_the_fault_says_what_to_do() {
    let relay = Relay::start().await;
    let target = relay.daemon.sip_addr().to_string();
    let output = Command::new(binary())
        .current_dir(relay.world.dir.path())
        .args([
            "probe",
            "federation",
            "--target",
            &target,
            "--name",
            RELAY_NAME,
        ])
        .args(["--domain", "push.elsewhere.example"])
        .args([
            "--cert", "edge.pem", "--key", "edge.key", "--roots", "ca.pem",
        ])
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let starts = [
        "ok      files",
        "ok      resolve",
        "ok      connect",
        "ok      tls",
        "ok      certificate",
    ];
    for (line, start) in text.lines().zip(starts) {
        assert!(line.starts_with(start), "{text}");
    }
    for part in [
        "failed  options",
        "fault:  foreign_domain",
        "means:  ",
        "do:     ",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(output.status.code(), Some(5));
    relay.end().await;
}

#[tokio::test]
async fn what_is_wrong_on_the_way_is_named() {
    let relay = Relay::start().await;
    let dir = relay.world.dir.path();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    let patience = ["--timeout", "300ms"];
    named(
        &run(dir, silent, "federation", &patience).await,
        "tls_silent",
        4,
    );
    drop(listener);
    named(&run(dir, silent, "federation", &[]).await, "port_closed", 3);
    let admin = relay.daemon.admin_addr();
    named(&run(dir, admin, "federation", &[]).await, "not_tls", 4);
    let wrong = ["--target", "relay.nowhere.invalid:5061"];
    named(&federation(&relay, &wrong).await, "no_address", 3);
    relay.end().await;
}

#[tokio::test]
async fn what_is_wrong_with_the_partners_side_is_named() {
    let relay = Relay::start().await;
    let dir = relay.world.dir.path();
    let issue = |authority: &Authority, stem: &str, leaf: Leaf| {
        authority.issue(&leaf).write(dir, stem).unwrap();
    };
    let own = &relay.world.authority;
    issue(
        own,
        "stranger",
        Leaf::named("sip.fabrikam.example").eku(Eku::Server),
    );
    let foreign = Authority::new("Somebody else's CA");
    issue(
        &foreign,
        "foreign",
        Leaf::named("sip.contoso.example").eku(Eku::Server),
    );
    issue(
        own,
        "old",
        Leaf::named("sip.contoso.example")
            .eku(Eku::Server)
            .expired(),
    );

    let with = |stem: &str| [format!("{stem}.pem"), format!("{stem}.key")];
    for (stem, fault, code) in [
        ("stranger", "no_partner", 5),
        ("foreign", "certificate_refused", 4),
        ("old", "certificate_refused", 4),
    ] {
        let [cert, key] = with(stem);
        let extra = ["--cert", &cert, "--key", &key];
        named(&federation(&relay, &extra).await, fault, code);
        // In TLS 1.2 the relay's judgement comes within the handshake.
        let extra = ["--cert", &cert, "--key", &key, "--legacy"];
        named(&federation(&relay, &extra).await, fault, code);
    }
    let extra = ["--key", "relay.key"];
    named(&federation(&relay, &extra).await, "own_files", 2);
    let extra = ["--from", "sip:eve@fabrikam.example"];
    named(&push(&relay, &extra).await, "foreign_from", 5);
    let extra = ["--to", "sip:nobody@push.example.org"];
    named(&push(&relay, &extra).await, "foreign_domain", 5);
    relay.end().await;
}

#[tokio::test]
async fn what_is_wrong_with_the_relays_certificate_is_named() {
    let relay = Relay::start().await;
    let dir = relay.world.dir.path();
    let good = || Leaf::server(RELAY_NAME);
    let own = &relay.world.authority;
    let elsewhere = Authority::new("Somebody else's CA");
    for (issued, fault) in [
        (own.issue(&good().expired()), "certificate_expired"),
        (
            own.issue(&good().not_yet_valid()),
            "certificate_not_yet_valid",
        ),
        (own.issue(&Leaf::server("relay.example.net")), "wrong_name"),
        (
            own.issue(&Leaf::server("*.push.example.org")),
            "wildcard_name",
        ),
        (own.issue(&good().eku(Eku::Client)), "certificate_unusable"),
        (elsewhere.issue(&good()), "unknown_issuer"),
    ] {
        let address = serve(&issued).await;
        named(&run(dir, address, "federation", &[]).await, fault, 4);
    }
    let rsa = serve(&own.issue(&good().key(Key::Rsa))).await;
    named(
        &run(dir, rsa, "federation", &["--legacy"]).await,
        "rsa_only",
        4,
    );
    let modern = run(dir, rsa, "federation", &["--timeout", "2s"]).await;
    let warnings = modern.report["steps"].to_string();
    assert!(
        warnings.contains("it is RSA although ECDSA was offered"),
        "{warnings}"
    );
    relay.end().await;
}

/// Shows `issued` to whoever connects, and hangs up after the first request.
async fn serve(issued: &Issued) -> SocketAddr {
    let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut buffer = [0; 1024];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await; // whatever it is
        }
    });
    address
}

#[tokio::test]
async fn what_is_wrong_with_the_push_is_named() {
    let relay = Relay::configured(|config| {
        let phone = config["windows_phone"].as_table_mut().unwrap();
        phone.insert("enabled".into(), false.into());
    })
    .await;
    let phone = relay.world.windows_phone.url_for("phone");
    let extra = ["--windows-phone", &phone];
    named(&push(&relay, &extra).await, "platform_off", 6);
    let extra = ["--apple", TOKEN, "--app", "com.example.nobody"];
    named(&push(&relay, &extra).await, "unknown_app", 6);
    for (answer, fault) in [
        (
            ApnsAnswer::error(403, "InvalidProviderToken"),
            "provider_credential",
        ),
        (ApnsAnswer::error(400, "BadDeviceToken"), "provider"),
        (ApnsAnswer::gone(1_700_000_000_000), "device_gone"),
    ] {
        relay.world.apple.script_default([answer]);
        let extra = ["--apple", TOKEN, "--app", TOPIC];
        named(&push(&relay, &extra).await, fault, 6);
    }
    let extra = ["--apple", "abc"];
    named(&push(&relay, &extra).await, "own_files", 2);
    relay.end().await;
}

#[tokio::test]
async fn a_windows_phone_service_that_does_not_know_the_relay_is_named() {
    let relay = Relay::start().await;
    let phone = relay.world.windows_phone.url_for("phone");
    relay
        .world
        .windows_phone
        .script("phone", [MpnsAnswer::status(401)]);
    let extra = ["--windows-phone", &phone];
    named(&push(&relay, &extra).await, "provider_credential", 6);
    relay.end().await;
}

//! Access Edges that speak TLS 1.0 and nothing newer: OpenSSL in their place, real HAProxy with the shipped configuration
//! between, the daemon behind.

#![allow(clippy::unwrap_used)]

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::haproxy::{HAProxy, LEGACY_NAME, offload, version};
use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_peers::edge::SipRequest;
use pushrelay_peers::pki::{Eku, Key, Leaf};
use pushrelay_peers::world::{EDGE_DOMAIN, EDGE_NAME};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// The suites of the three senders: OCS 2007 R2 on Windows Server 2003 and 2008, Lync Server 2010 on Windows Server 2008 R2.
const SUITES: [&str; 3] = ["AES128-SHA", "AES256-SHA", "ECDHE-RSA-AES256-SHA"];

#[tokio::test]
async fn a_client_that_speaks_only_tls_1_0_delivers_a_push_with_each_of_its_suites() {
    let relay = behind("accept_any_purpose = true").await;
    let haproxy = HAProxy::start(&relay).await;
    issue(&relay, "old-edge", Leaf::named(EDGE_NAME).eku(Eku::Server));
    for (pushes, suite) in (1..).zip(SUITES) {
        let client = Client::new(&relay, &haproxy, "old-edge").suite(suite);
        let answer = client.exchange(&message()).await.unwrap();
        assert!(
            answer.starts_with("SIP/2.0 200 OK\r\n"),
            "{suite}: {answer}"
        );
        assert_eq!(relay.world.apple.received().len(), pushes, "{suite}");
        let line = format!("in by TLSv1 {suite} cn=\"{EDGE_NAME}\" verify=26");
        logged(&haproxy, &line).await;
    }
    connections(&relay, "partner", 3.0).await;
    relay.end().await;
}

#[tokio::test]
async fn an_options_over_tls_1_0_is_answered_with_what_is_allowed() {
    let relay = behind("accept_any_purpose = true").await;
    let haproxy = HAProxy::start(&relay).await;
    issue(&relay, "old-edge", Leaf::named(EDGE_NAME).eku(Eku::Server));
    let options = SipRequest::bare("OPTIONS", "sip:push.example.org", &from());
    let client = Client::new(&relay, &haproxy, "old-edge");
    let answer = client.exchange(&options).await.unwrap();
    assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");
    assert!(answer.contains("Allow: MESSAGE, OPTIONS\r\n"), "{answer}");
    relay.end().await;
}

/// What HAProxy says of these certificates is measured in `deploy/haproxy/README.md`; here is what the relay makes of it.
#[tokio::test]
async fn the_relay_judges_each_certificate_as_its_manual_says() {
    let relay = behind("accept_any_purpose = true").await;
    let haproxy = HAProxy::start(&relay).await;
    let named = |eku| Leaf::named(EDGE_NAME).eku(eku);
    let nameless = Leaf {
        common_name: None,
        ..named(Eku::Both)
    };
    for (leaf, expected) in [
        (named(Eku::Both), Some("200")),
        (named(Eku::Client), Some("200")),
        (named(Eku::Server), Some("200")),
        (Leaf::named("sip.fabrikam.example"), Some("403")),
        (nameless, Some("403")),
        (named(Eku::Both).expired(), None),
    ] {
        issue(&relay, "case", leaf.clone());
        let client = Client::new(&relay, &haproxy, "case");
        let answer = client.exchange(&message()).await;
        let status = answer.as_ref().and_then(|answer| answer.get(8..11));
        assert_eq!(status, expected, "{leaf:?}: {answer:?}\n{}", haproxy.log());
    }
    connections(&relay, "stranger", 2.0).await;
    relay.end().await;
}

#[tokio::test]
async fn without_the_switch_an_edge_with_a_server_certificate_is_closed_on() {
    let relay = behind("").await;
    let haproxy = HAProxy::start(&relay).await;
    issue(&relay, "old-edge", Leaf::named(EDGE_NAME).eku(Eku::Server));
    let client = Client::new(&relay, &haproxy, "old-edge");
    assert_eq!(client.exchange(&message()).await, None);
    connections(&relay, "proxy_unverified", 1.0).await;
    issue(&relay, "new-edge", Leaf::named(EDGE_NAME).eku(Eku::Both));
    let client = Client::new(&relay, &haproxy, "new-edge");
    let answer = client.exchange(&message()).await.unwrap();
    assert!(answer.starts_with("SIP/2.0 200 OK\r\n"), "{answer}");
    relay.end().await;
}

/// HAProxy 2.9 and newer can send the certificate itself. Debian 12 has 2.6: `HAPROXY=FILE` names another to try.
#[tokio::test]
async fn a_newer_haproxy_hands_the_whole_certificate_over_and_its_alternative_names_count() {
    if version() < (2, 9) {
        eprintln!("skipped: the HAProxy that is here has no set-proxy-v2-tlv-fmt");
        return;
    }
    let relay = behind("accept_any_purpose = true\ncertificate_type = 0xE0").await;
    let words = "set-proxy-v2-tlv-fmt(0xE0) %[ssl_c_der,base64]";
    let haproxy = HAProxy::start_with(&relay, words).await;
    let with_common_name = |name: &str, leaf: Leaf| Leaf {
        common_name: Some(name.to_owned()),
        ..leaf.eku(Eku::Server)
    };
    for (leaf, expected) in [
        (with_common_name(EDGE_NAME, Leaf::named(EDGE_NAME)), "200"),
        (with_common_name("old name", Leaf::named(EDGE_NAME)), "200"),
        (
            with_common_name(EDGE_NAME, Leaf::named("sip.fabrikam.example")),
            "403",
        ),
    ] {
        issue(&relay, "case", leaf.clone());
        let answer = Client::new(&relay, &haproxy, "case")
            .exchange(&message())
            .await;
        let status = answer.as_ref().and_then(|answer| answer.get(8..11));
        assert_eq!(
            status,
            Some(expected),
            "{leaf:?}: {answer:?}\n{}",
            haproxy.log()
        );
    }
    relay.end().await;
}

#[tokio::test]
async fn the_relays_own_listener_speaks_no_tls_1_0() {
    let relay = behind("").await;
    issue(&relay, "old-edge", Leaf::named(EDGE_NAME));
    let client = Client::to(&relay, relay.daemon.sip_addr().to_string(), "old-edge");
    assert_eq!(client.exchange(&message()).await, None);
    connections(&relay, "handshake_failed", 1.0).await;
    assert_eq!(relay.world.apple.received().len(), 0);
    relay.end().await;
}

async fn behind(keys: &str) -> Relay {
    Relay::configured(|config| offload(config, keys)).await
}

fn from() -> String {
    format!("sip:kima@{EDGE_DOMAIN}")
}

fn message() -> SipRequest {
    SipRequest::message("sip:push@push.example.org", &from(), json(), body(&[APPLE]))
}

/// RSA, as every certificate of that age.
fn issue(relay: &Relay, stem: &str, leaf: Leaf) {
    let issued = relay.world.authority.issue(&leaf.key(Key::Rsa));
    issued.write(relay.world.dir.path(), stem).unwrap();
}

/// `openssl s_client`, held to TLS 1.0.
struct Client<'a> {
    relay: &'a Relay,
    address: String,
    stem: &'a str,
    suite: &'a str,
}

impl<'a> Client<'a> {
    fn new(relay: &'a Relay, haproxy: &HAProxy, stem: &'a str) -> Client<'a> {
        Client::to(relay, haproxy.address.to_string(), stem)
    }

    fn to(relay: &'a Relay, address: String, stem: &'a str) -> Client<'a> {
        Client {
            relay,
            address,
            stem,
            suite: "ALL",
        }
    }

    fn suite(self, suite: &'a str) -> Client<'a> {
        Client { suite, ..self }
    }

    /// Sends a request and reads the head of its answer; `None` where the connection ends without one.
    async fn exchange(&self, request: &SipRequest) -> Option<String> {
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", "-tls1", "-cipher", &format!("{}:@SECLEVEL=0", self.suite)])
            .args(["-connect", &self.address, "-servername", LEGACY_NAME])
            .args(["-verify_return_error", "-verify_hostname", LEGACY_NAME, "-CAfile", "ca.pem"])
            .args(["-cert", &format!("{}.pem", self.stem), "-key", &format!("{}.key", self.stem)])
            .current_dir(self.relay.world.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("openssl (Debian package openssl) is needed: {error}; `cargo xtask test` installs it"));
        // It may have ended already; then there is no answer.
        let mut input = client.stdin.take().unwrap();
        let _ = input.write_all(&request.encode()).await;
        let mut lines = BufReader::new(client.stdout.take().unwrap());
        let head = async {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if lines.read_line(&mut head).await.unwrap() == 0 {
                    return None;
                }
            }
            Some(head)
        };
        let head = tokio::time::timeout(PATIENCE, head).await;
        head.expect("openssl says something or ends")
    }
}

/// Waits until HAProxy has logged this.
async fn logged(haproxy: &HAProxy, part: &str) {
    let wait = async {
        while !haproxy.log().contains(part) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, wait).await;
    assert!(found.is_ok(), "{part}\n{}", haproxy.log());
}

/// Waits until so many connections have had this result.
async fn connections(relay: &Relay, result: &str, count: f64) {
    let labels = [("result", result)];
    relay
        .daemon
        .wait_metrics(PATIENCE, |samples| {
            samples.sum("pushrelay_connections_total", &labels) == count
        })
        .await
        .unwrap();
}

//! Kamailio, which others wrote, in the place of an Access Edge, and sipp behind it.
//!
//! sipp speaks plain SIP to Kamailio. Kamailio adds its Via and Record-Route and relays over mutual TLS with the partner's
//! certificate, to the daemon itself or, at TLS 1.0, to HAProxy before it; the daemon's answers go back the same way.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use common::haproxy::{HAProxy, offload};
use common::{APPLE, Relay, body, json};
use pushrelay_peers::pki::{Eku, Key, Leaf};
use pushrelay_peers::world::EDGE_NAME;
use tokio::process::{Child, Command};

/// How long a foreign program may take to start or to end.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn messages_of_sipp_come_through_kamailio_over_udp_and_tcp_and_are_pushed_once_each() {
    let relay = Relay::start().await;
    let kamailio = Kamailio::start(&relay).await;
    for (transport, pushed) in [("u1", 20), ("t1", 40)] {
        sipp(&relay, &kamailio, transport, 20, &message(json())).await;
        assert_eq!(relay.world.apple.received().len(), pushed, "{transport}");
    }
    drop(kamailio);
    relay.end().await;
}

#[tokio::test]
async fn options_through_kamailio_say_what_is_allowed() {
    let relay = Relay::start().await;
    let kamailio = Kamailio::start(&relay).await;
    let allow = Some(("Allow:", "MESSAGE, OPTIONS"));
    sipp(&relay, &kamailio, "u1", 5, &bare("OPTIONS", 200, allow)).await;
    sipp(&relay, &kamailio, "u1", 1, &bare("SUBSCRIBE", 405, allow)).await;
    drop(kamailio);
    relay.end().await;
}

#[tokio::test]
async fn a_refusal_reaches_sipp_through_kamailio_with_its_reason() {
    let relay = Relay::start().await;
    let kamailio = Kamailio::start(&relay).await;
    let unreadable = Scenario {
        status: 415,
        field: Some(("ms-diagnostics-public:", "2;reason=")),
        ..message("text/plain")
    };
    sipp(&relay, &kamailio, "u1", 1, &unreadable).await;
    sipp(&relay, &kamailio, "t1", 1, &unreadable).await;
    assert_eq!(relay.world.apple.received().len(), 0);
    drop(kamailio);
    relay.end().await;
}

#[tokio::test]
async fn an_edge_that_has_only_tls_1_0_is_relayed_through_haproxy() {
    let relay = Relay::configured(|config| offload(config, "accept_any_purpose = true")).await;
    let haproxy = HAProxy::start(&relay).await;
    let old = Leaf::named(EDGE_NAME).eku(Eku::Server).key(Key::Rsa);
    let old = relay.world.authority.issue(&old);
    old.write(relay.world.dir.path(), "edge").unwrap();
    let kamailio = Kamailio::before(&relay, haproxy.address.port(), TLS_1_0).await;
    for (transport, pushed) in [("u1", 20), ("t1", 40)] {
        sipp(&relay, &kamailio, transport, 20, &message(json())).await;
        assert_eq!(relay.world.apple.received().len(), pushed, "{transport}");
    }
    let allow = Some(("Allow:", "MESSAGE, OPTIONS"));
    sipp(&relay, &kamailio, "u1", 5, &bare("OPTIONS", 200, allow)).await;
    let unreadable = Scenario {
        status: 415,
        field: Some(("ms-diagnostics-public:", "2;reason=")),
        ..message("text/plain")
    };
    sipp(&relay, &kamailio, "t1", 1, &unreadable).await;
    let log = haproxy.log();
    let old = format!("in by TLSv1 ECDHE-RSA-AES256-SHA cn=\"{EDGE_NAME}\" verify=26");
    assert!(log.contains(&old), "{log}");
    drop(kamailio);
    relay.end().await;
}

/// One request of sipp and the answer it has to get.
struct Scenario<'a> {
    method: &'a str,
    content_type: Option<&'a str>,
    status: u16,
    /// A header field of the answer, and how its value has to match.
    field: Option<(&'a str, &'a str)>,
}

/// A MESSAGE with the body of `body.json` that is answered 200.
fn message(content_type: &str) -> Scenario<'_> {
    Scenario {
        method: "MESSAGE",
        content_type: Some(content_type),
        status: 200,
        field: None,
    }
}

/// A request without a body.
fn bare<'a>(method: &'a str, status: u16, field: Option<(&'a str, &'a str)>) -> Scenario<'a> {
    Scenario {
        method,
        content_type: None,
        status,
        field,
    }
}

impl Scenario<'_> {
    fn xml(&self) -> String {
        let Scenario { method, status, .. } = self;
        let content_type = (self.content_type)
            .map(|value| format!("      Content-Type: {value}\n"))
            .unwrap_or_default();
        // From a file, because sipp takes brackets in a scenario for its own.
        let body = self.content_type.map_or("", |_| "[file name=body.json]");
        let check = (self.field)
            .map(|(name, value)| {
                format!(
                    r#"<action><ereg regexp="{value}" search_in="hdr" header="{name}" check_it="true" assign_to="1" /><log message="[$1]" /></action>"#
                )
            })
            .unwrap_or_default();
        format!(
            r#"<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="{method}">
  <send retrans="500"><![CDATA[

      {method} sip:push@push.example.org SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      From: <sip:kima@contoso.example>;tag=[call_number]
      To: <sip:push@push.example.org>
      Call-ID: [call_id]
      CSeq: 1 {method}
      Max-Forwards: 70
{content_type}      Content-Length: [len]

{body}
    ]]></send>
  <recv response="{status}" timeout="20000">{check}</recv>
</scenario>
"#
        )
    }
}

/// Runs `calls` of a scenario towards Kamailio over UDP (`u1`) or TCP (`t1`); every one must end as it says.
async fn sipp(
    relay: &Relay,
    kamailio: &Kamailio,
    transport: &str,
    calls: u32,
    scenario: &Scenario<'_>,
) {
    let dir = relay.world.dir.path();
    fs::write(dir.join("body.json"), body(&[APPLE])).unwrap();
    fs::write(dir.join("scenario.xml"), scenario.xml()).unwrap();
    let output = Command::new("sipp")
        .args(["-sf", "scenario.xml", "-t", transport, "-r", "50", "-m"])
        .arg(calls.to_string())
        .args(["-i", "127.0.0.1", "-p", &free_port().to_string()])
        .args(["-timeout", "40s", "-trace_err", "-nostdin"])
        .arg(format!("127.0.0.1:{}", kamailio.port))
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SOON, output)
        .await
        .expect("sipp ends by itself")
        .unwrap_or_else(|error| panic!("sipp (Debian package sip-tester) is needed: {error}; `cargo xtask test` installs it"));
    assert!(
        output.status.success(),
        "{transport} {}: {}\nKamailio: {}\nthe relay: {:#?}",
        scenario.method,
        text(&output),
        kamailio.log(dir),
        relay.daemon.logs()
    );
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Kamailio, set up as an Access Edge; it takes SIP over UDP and TCP from inside.
struct Kamailio {
    process: Child,
    port: u16,
}

impl Kamailio {
    async fn start(relay: &Relay) -> Kamailio {
        Kamailio::before(relay, relay.daemon.sip_addr().port(), TLS_1_2).await
    }

    /// It relays to this port, with these lines about TLS.
    async fn before(relay: &Relay, next: u16, tls: &str) -> Kamailio {
        let dir = relay.world.dir.path();
        fs::write(dir.join("kamailio-tls.cfg"), tls_config(dir, tls)).unwrap();
        let deadline = Instant::now() + SOON;
        loop {
            let port = free_port();
            fs::write(dir.join("kamailio.cfg"), config(dir, port, next)).unwrap();
            let mut kamailio = Kamailio {
                process: spawn(dir),
                port,
            };
            // It ends at once where somebody else has taken a port meanwhile; then others are tried.
            while kamailio.process.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return kamailio;
                }
                assert!(Instant::now() < deadline, "{}", kamailio.log(dir));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(Instant::now() < deadline, "{}", kamailio.log(dir));
        }
    }

    fn log(&self, dir: &Path) -> String {
        String::from_utf8_lossy(&fs::read(dir.join("kamailio.log")).unwrap()).into_owned()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // SIGTERM takes it a minute. It leads a group of its own, so its children end with it.
        if let Some(leader) = self.process.id() {
            let _ = std::process::Command::new("kill")
                .args(["-KILL", "--", &format!("-{leader}")])
                .status(); // where it has ended already there is nothing to kill
        }
    }
}

fn spawn(dir: &Path) -> Child {
    Command::new("kamailio")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["-f", "kamailio.cfg", "-DD", "-E", "-m", "64", "-M", "8", "-w", ".", "-Y", "."])
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join("kamailio.log")).unwrap())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("kamailio (Debian packages kamailio, kamailio-tls-modules) is needed: {error}; `cargo xtask test` installs it"))
}

/// A port that is free for UDP and TCP: neither Kamailio nor sipp says which one it got.
fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn config(dir: &Path, port: u16, next: u16) -> String {
    format!(
        r#"#!KAMAILIO
debug=1
log_stderror=yes
disable_core_dump=yes
children=1
tcp_children=2
auto_aliases=no
enable_tls=yes
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
# Where it connects from; nobody connects to it.
listen=tls:127.0.0.1:{tls}
loadmodule "tls.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
modparam("tm", "fr_timer", 20000)
modparam("tls", "config", "{dir}/kamailio-tls.cfg")
request_route {{
    record_route();
    $du = "sip:127.0.0.1:{next};transport=tls";
    if (!t_relay()) {{ sl_reply_error(); }}
}}
"#,
        dir = dir.display(),
        tls = free_port(),
    )
}

const TLS_1_2: &str = "method = TLSv1.2";

/// This and nothing newer. OpenSSL 3 has it at security level 0 only.
const TLS_1_0: &str = "method = TLSv1\ncipher_list = ALL:@SECLEVEL=0";

fn tls_config(dir: &Path, tls: &str) -> String {
    format!(
        r#"[server:default]
method = TLSv1.2+
verify_certificate = no
require_certificate = no
private_key = {dir}/edge.key
certificate = {dir}/edge.pem

[client:default]
{tls}
verify_certificate = yes
require_certificate = yes
private_key = {dir}/edge.key
certificate = {dir}/edge.pem
ca_list = {dir}/ca.pem
"#,
        dir = dir.display()
    )
}

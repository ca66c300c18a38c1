//! Bodies of other formats, damaged ones, and what is kept of them, over real sockets.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{APPLE, PATIENCE, Relay, body, json};
use pushrelay_benches::proofs::{Strace, Tracee, has_strace};
use pushrelay_peers::world::World;
use toml::{Table, Value};

const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn bodies(config: &mut Table, keys: &[(&str, Value)]) {
    let bodies = config
        .entry("bodies")
        .or_insert_with(|| Value::Table(Table::new()))
        .as_table_mut()
        .unwrap();
    for (key, value) in keys {
        bodies.insert((*key).to_owned(), value.clone());
    }
}

fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join("captures"))
        .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

/// A relay that keeps what `capture` says.
async fn capturing(capture: &str, more: &[(&str, Value)]) -> Relay {
    Relay::configured(|config| {
        bodies(
            config,
            &[
                ("capture", capture.into()),
                ("capture_folder", "captures".into()),
            ],
        );
        bodies(config, more);
    })
    .await
}

async fn kept(relay: &Relay, count: f64) {
    relay
        .daemon
        .wait_metrics(PATIENCE, |samples| {
            samples.get("pushrelay_captures_total", &[("result", "kept")]) == Some(count)
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn the_xml_twin_is_pushed_like_json() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let xml = format!(
        "<push v='1' event='im.message' badge='3'><targets><target service='apns' token='{TOKEN}' app='com.example.chat'/></targets>\
         <alert><title>Kim Akers</title><body>Are you there?</body></alert><sound>default</sound></push>"
    );
    for (content_type, body) in [
        (json(), body(&[APPLE]).into_bytes()),
        (
            "application/vnd.pushrelay+xml; v=1",
            xml.clone().into_bytes(),
        ),
        (
            "application/vnd.pushrelay+xml; charset=utf-16",
            xml.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
    ] {
        let answer = edge.message(content_type, body).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let received = relay.world.apple.received();
    assert_eq!(received.len(), 3);
    for push in &received {
        assert_eq!(push.payload, received[0].payload);
        assert_eq!(push.token, TOKEN);
    }
    relay.end().await;
}

const MAPPING: &str = r#"
[match]
content_type = "text/plain"
user_agent = 'McxService/'
body = 'device=(?<device>\S+)'
groups = ['text=(?<text>[^\r\n]+)']

[fields]
event = "im.message"
alert.body = { group = "text" }

[[fields.targets]]
token = { group = "device", transform = "base64-to-hex" }
app = "com.example.chat"
"#;

#[tokio::test]
async fn a_mapped_body_is_pushed() {
    let mut world = World::start().await.unwrap();
    let folder = world.dir.path().join("mappings.d");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("foreign.toml"), MAPPING).unwrap();
    bodies(&mut world.config, &[("mappings", "mappings.d".into())]);
    let relay = Relay::in_world(world).await;
    let edge = relay.edge().await;
    let request = edge.request(
        "text/plain",
        "device=ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=\r\ntext=Are you there?",
    );
    let answer = edge.exchange(&request).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let received = relay.world.apple.received();
    assert_eq!(received[0].token, TOKEN);
    assert_eq!(
        received[0].payload["aps"]["alert"]["body"],
        "Are you there?"
    );

    let request = edge.request("text/plain", "device=?\r\n");
    let answer = edge.exchange(&request).await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.reason().as_deref(),
        Some("foreign: targets[0].token: expected base64, got something else")
    );
    let mut other = edge.request("text/plain", "device=ABEi");
    other.adorned = false; // no User-Agent
    let other = edge.exchange(&other).await.unwrap();
    assert_eq!(other.status, 415);
    assert_eq!(
        other.header("Accept"),
        Some("application/vnd.pushrelay+json, application/vnd.pushrelay+xml, text/plain")
    );
    relay.end().await;
}

#[tokio::test]
async fn what_an_url_filter_did_is_repaired_and_named_in_the_answer_the_log_and_the_metrics() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let whole = body(&[&relay.windows_phone("phone")]);
    let damaged = format!(
        "Links can be dangerous. {}",
        whole.replace("http://", "_http://")
    );
    let answer = edge.message(json(), damaged.clone()).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(relay.world.windows_phone.received().len(), 1);
    let reason = answer.reason().unwrap();
    for part in [
        "IM URL filter",
        "_http, text in front",
        "Get-CsImFilterConfiguration",
    ] {
        assert!(reason.contains(part) && reason.len() <= 200, "{reason}");
    }
    relay
        .daemon
        .wait_log(PATIENCE, |line| {
            line.contains("\"answered\"") && line.contains("IM URL filter")
        })
        .await
        .unwrap();
    // Beyond repair: it is said all the same.
    let answer = edge
        .message(json(), damaged[..damaged.len() - 1].to_owned())
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
    assert!(
        answer.reason().unwrap().contains("IM URL filter"),
        "{answer:?}"
    );
    let samples = relay.daemon.metrics().await.unwrap();
    for kind in ["links", "text_in_front"] {
        let count = samples.get("pushrelay_bodies_damaged_total", &[("kind", kind)]);
        assert_eq!(count, Some(2.0), "{kind}");
    }
    relay.end().await;
}

#[tokio::test]
async fn what_nobody_reads_is_kept_for_the_operator_and_for_nobody_else() {
    let relay = capturing("undecodable", &[]).await;
    let edge = relay.edge().await;
    let secret = format!("<push token='{TOKEN}' from='sip:kima@contoso.example'/>");
    assert_eq!(
        edge.message("text/xml", secret.clone())
            .await
            .unwrap()
            .status,
        415
    );
    assert_eq!(edge.message(json(), "{\"v\":1}").await.unwrap().status, 400);
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        200
    );
    kept(&relay, 2.0).await;
    let files = captures(relay.world.dir.path());
    assert_eq!(files.len(), 2, "{files:?}");
    let name = files[0].file_name().unwrap().to_str().unwrap();
    assert!(name.ends_with("-1-not_understood.sip"), "{name}");
    assert!(files[1].to_str().unwrap().ends_with("-2-malformed.sip"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&files[0]), 0o600);
    assert_eq!(mode(files[0].parent().unwrap()), 0o700);
    let text = std::fs::read_to_string(&files[0]).unwrap();
    assert!(
        text.starts_with("MESSAGE sip:push@push.example.org SIP/2.0\r\n"),
        "{text}"
    );
    let redacted = secret.replace(TOKEN, &"0".repeat(TOKEN.len()));
    assert!(text.ends_with(&format!("\r\n\r\n{redacted}")), "{text}");
    relay.end().await;
}

#[tokio::test]
async fn everything_is_kept_in_clear_where_the_operator_wants_it_and_the_oldest_go() {
    let more = [
        ("capture_redact", false.into()),
        ("capture_files", 2.into()),
    ];
    let relay = capturing("all", &more).await;
    let edge = relay.edge().await;
    for _ in 0..3 {
        assert_eq!(
            edge.message(json(), body(&[APPLE])).await.unwrap().status,
            200
        );
    }
    edge.message("text/plain", "hello").await.unwrap();
    kept(&relay, 4.0).await;
    // The thread counts first and tidies up then.
    let deadline = std::time::Instant::now() + PATIENCE;
    while captures(relay.world.dir.path()).len() != 2 {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let files = captures(relay.world.dir.path());
    assert!(
        files[0].to_str().unwrap().ends_with("-3-decoded.sip"),
        "{files:?}"
    );
    assert!(std::fs::read_to_string(&files[0]).unwrap().contains(TOKEN));
    relay.end().await;
}

#[tokio::test]
async fn an_unknown_body_is_accepted_once_it_is_on_disk_where_the_operator_wants_that() {
    let relay = capturing("undecodable", &[("unknown_body", "accept-captured".into())]).await;
    let edge = relay.edge().await;
    let answer = edge.message("text/xml", "<unknown/>").await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        answer.reason().unwrap().contains("not pushed"),
        "{answer:?}"
    );
    assert_eq!(captures(relay.world.dir.path()).len(), 1);
    // What is known and malformed is still refused.
    assert_eq!(edge.message(json(), "{}").await.unwrap().status, 400);
    kept(&relay, 2.0).await;
    // And what cannot be kept is not accepted.
    let folder = relay.world.dir.path().join("captures");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    let answer = edge.message("text/xml", "<unknown/>").await.unwrap();
    assert_eq!(answer.status, 415, "{answer:?}");
    let samples = relay.daemon.metrics().await.unwrap();
    assert_eq!(
        samples.get("pushrelay_captures_total", &[("result", "failed")]),
        Some(1.0)
    );
    assert_eq!(
        samples.get("pushrelay_refusals_total", &[("reason", "not_understood")]),
        Some(2.0)
    );
    relay.end().await;
}

/// The thread of the daemon that has this name.
fn thread(pid: u32, name: &str) -> PathBuf {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .map(|entry| entry.unwrap().path())
        .find(|thread| {
            std::fs::read_to_string(thread.join("comm"))
                .unwrap()
                .trim_end()
                == name
        })
        .unwrap()
}

/// Whether a tracer holds the thread in the middle of a system call.
fn is_held(thread: &Path) -> bool {
    let stat = std::fs::read_to_string(thread.join("stat")).unwrap();
    stat.rsplit(") ").next().unwrap().starts_with('t')
}

#[tokio::test]
async fn while_the_disk_hangs_nobody_waits_and_what_does_not_fit_is_dropped_and_counted() {
    if !has_strace() {
        eprintln!("skipped: strace may not trace here");
        return;
    }
    let relay = capturing("all", &[]).await;
    let writer = thread(relay.daemon.pid().unwrap(), "captures");
    let name = writer.file_name().unwrap().to_str().unwrap();
    let options = ["-e", "inject=openat:delay_enter=600000000"];
    let calls = relay.world.dir.path().join("calls");
    let disk = Strace::attach(Tracee::Thread(name.parse().unwrap()), &options, &calls);
    let disk = disk.await.unwrap();
    let edge = relay.edge().await;
    let push = async || {
        let answer = edge.message(json(), body(&[APPLE])).await.unwrap();
        assert_eq!(answer.status, 200);
    };
    // The first one is in the writer's hands, 64 fit into the queue.
    push().await;
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_held(&writer) {
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for _ in 0..64 + 10 {
        push().await;
    }
    let samples = relay.daemon.metrics().await.unwrap();
    for (result, count) in [("kept", 0.0), ("dropped", 10.0), ("failed", 0.0)] {
        let counted = samples.get("pushrelay_captures_total", &[("result", result)]);
        assert_eq!(counted, Some(count), "{result}");
    }
    // The disk is back: what waited is written.
    drop(disk);
    kept(&relay, 65.0).await;
    assert_eq!(captures(relay.world.dir.path()).len(), 65);
    relay.end().await;
}

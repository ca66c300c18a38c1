//! The admin endpoint as Prometheus, a supervisor and a person see it, and its manual as the code has it.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use common::{APPLE, Relay, binary, body, json};

/// The table of metrics, as the binary prints it.
fn table() -> String {
    let output = Command::new(binary()).arg("metrics").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn families() -> BTreeSet<String> {
    let rows = table();
    let rows = rows.lines().skip(2);
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn every_family_of_the_table_is_there_from_the_start_and_no_other() {
    let relay = Relay::start().await;
    let (status, text) = relay.daemon.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    let exposed: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .filter(|name| name.starts_with("pushrelay_"))
        .collect();
    assert_eq!(exposed, families());
    let samples = relay.daemon.metrics().await.unwrap();
    for sample in [("status", "200"), ("status", "503"), ("status", "410")] {
        assert_eq!(
            samples.get("pushrelay_messages_answered_total", &[sample]),
            Some(0.0)
        );
    }
    let cause = [("service", "apns"), ("cause", "BadDeviceToken")];
    assert_eq!(samples.get("pushrelay_outcomes_total", &cause), Some(0.0));
    let cause = [("service", "mpns"), ("cause", "other")];
    assert_eq!(samples.get("pushrelay_outcomes_total", &cause), Some(0.0));
    relay.end().await;
}

#[tokio::test]
async fn promtool_finds_nothing_to_complain_about() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        200
    );
    let (_, text) = relay.daemon.get("/metrics").await.unwrap();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool (Debian package prometheus) is needed; `cargo xtask test` installs it");
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && complaints.trim().is_empty(),
        "{complaints}"
    );
    relay.end().await;
}

#[tokio::test]
async fn people_and_supervisors_get_what_they_ask_for() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        200
    );
    assert_eq!(
        relay.daemon.get("/livez").await.unwrap(),
        (200, "ok\n".into())
    );
    assert_eq!(
        relay.daemon.get("/readyz").await.unwrap(),
        (200, "ready\n".into())
    );
    assert_eq!(relay.daemon.get("/nowhere").await.unwrap().0, 404);
    let (status, page) = relay.daemon.get("/").await.unwrap();
    assert_eq!(status, 200);
    for part in [
        "ready",
        "contoso",
        "com.example.chat",
        "Windows Phone",
        "<td class=\"ok\">200</td>",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    relay.end().await;
}

#[test]
fn the_operators_guide_has_the_table_that_the_binary_prints() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/README.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let table = table();
    assert!(
        guide.contains(table.trim()),
        "deploy/README.md lacks this table (`pushrelay metrics`):\n{table}"
    );
}

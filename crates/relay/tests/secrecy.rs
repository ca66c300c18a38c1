//! What must never be read in a log is not there, at any level, and what comes from the wire cannot forge a line.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Relay, body, json};
use pushrelay_peers::{ApnsAnswer, MpnsAnswer};

const TOKEN: &str = "5ec2e7005ec2e7005ec2e7005ec2e7005ec2e7005ec2e7005ec2e7005ec2e700";

#[tokio::test]
async fn a_whole_run_at_trace_shows_no_token_channel_text_or_key() {
    let relay = Relay::configured(|config| {
        config["log"]
            .as_table_mut()
            .unwrap()
            .insert("level".into(), "trace".into());
    })
    .await;
    let edge = relay.edge().await;
    let apple = format!(r#"{{"service":"apns","token":"{TOKEN}","app":"com.example.chat"}}"#);
    let phone = relay.windows_phone("ChannelThatNobodyMaySee");
    let targets = [apple.as_str(), phone.as_str()];
    let secret = body(&targets)
        .replace("Are you there?", "TheTextOfTheMessage")
        .replace("Kim Akers", "TheNameOfTheSender");
    assert_eq!(
        edge.message(json(), secret.clone()).await.unwrap().status,
        200
    );
    // Refusals, gone devices, timeouts and bad bodies are where programs grow talkative.
    relay.world.apple.script_default([
        ApnsAnswer::error(400, "BadDeviceToken"),
        ApnsAnswer::gone(1_700_000_000_000),
    ]);
    relay
        .world
        .windows_phone
        .script_default([MpnsAnswer::expired(), MpnsAnswer::status(500)]);
    for _ in 0..2 {
        edge.message(json(), secret.clone()).await.unwrap();
    }
    assert_eq!(
        edge.message(json(), secret.replace("\"v\":1", "\"v\":true"))
            .await
            .unwrap()
            .status,
        400
    );
    assert_eq!(
        edge.message("text/plain", secret.clone())
            .await
            .unwrap()
            .status,
        415
    );
    let odd = secret.replace(TOKEN, &TOKEN[1..]);
    assert_eq!(edge.message(json(), odd).await.unwrap().status, 400);

    let key = std::fs::read_to_string(relay.world.dir.path().join("AuthKey.p8")).unwrap();
    let key = key.lines().nth(1).unwrap().to_owned();
    let log = relay.daemon.logs().join("\n");
    assert!(
        log.contains("\"TRACE\"") && log.contains("BadDeviceToken"),
        "the log is at trace and tells why"
    );
    for secret in [
        &TOKEN[..16],
        "ChannelThatNobodyMaySee",
        "TheTextOfTheMessage",
        "TheNameOfTheSender",
        key.as_str(),
        "bearer ey",
        "eyJ",
    ] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    relay.end().await;
}

#[tokio::test]
async fn control_characters_from_the_wire_are_escaped_in_the_log() {
    let relay = Relay::start().await;
    let edge = relay.edge().await;
    let mut request = edge.request(json(), body(&[common::APPLE]));
    request.call_id = "abc\u{1b}[31mdef\u{7f}".into();
    edge.send(&request).await.unwrap();
    let line = relay
        .daemon
        .wait_log(Duration::from_secs(5), |line| line.contains("\"answered\""))
        .await
        .unwrap();
    assert!(
        !line.contains('\u{1b}') && !line.contains('\u{7f}') && !line.contains("\\u001b"),
        "{line}"
    );
    relay.end().await;
}

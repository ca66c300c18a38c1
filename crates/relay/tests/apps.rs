//! Which app a push goes to: by its id, by a pattern, by default; and what is said where there is none.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Relay, body, json};
use toml::{Table, Value};

const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// Apps as the configuration has them, each with what else it needs taken from the world's own.
fn with_apps(config: &mut Table, list: &str) {
    let model = config["apple"]["apps"][0].as_table().unwrap().clone();
    let changes: Table = list.parse().unwrap();
    let apps = changes["apps"].as_array().unwrap().iter().map(|change| {
        let mut app = model.clone();
        app.remove("topic");
        app.extend(change.as_table().unwrap().clone());
        Value::Table(app)
    });
    config["apple"]["apps"] = Value::Array(apps.collect());
}

fn target(app: Option<&str>) -> String {
    match app {
        Some(app) => format!(r#"{{"service":"apns","token":"{TOKEN}","app":"{app}"}}"#),
        None => format!(r#"{{"service":"apns","token":"{TOKEN}"}}"#),
    }
}

#[tokio::test]
async fn an_app_is_found_by_id_by_pattern_or_by_default() {
    let relay = Relay::configured(|config| {
        with_apps(
            config,
            r#"apps = [{ id = "com.example.*" }, { id = "com.example.chat", topic = "com.example.chat.ios" }, { id = "org.*", topic = "org.example.all", default = true }]"#,
        );
    })
    .await;
    let edge = relay.edge().await;
    for app in [
        Some("com.example.chat"),
        Some("com.example.mail"),
        Some("com.example.calls.voip"),
        Some("org.anything"),
        None,
    ] {
        let answer = edge.message(json(), body(&[&target(app)])).await.unwrap();
        assert_eq!(answer.status, 200, "{app:?}: {answer:?}");
    }
    let seen = relay.world.apple.received();
    let topics: Vec<_> = seen
        .iter()
        .map(|push| push.topic.as_deref().unwrap())
        .collect();
    assert_eq!(
        topics,
        [
            "com.example.chat.ios",
            "com.example.mail",
            "com.example.calls.voip",
            "org.example.all",
            "org.example.all"
        ]
    );
    assert_eq!(seen[2].push_type.as_deref(), Some("voip"));
    relay.end().await;
}

#[tokio::test]
async fn an_app_that_is_not_configured_is_named_in_the_refusal() {
    let relay = Relay::configured(|config| {
        with_apps(
            config,
            r#"apps = [{ id = "com.example.chat" }, { id = "com.example.mail" }]"#,
        );
        let phone = config["windows_phone"].as_table_mut().unwrap();
        let apps: Table = r#"apps = [{ id = "com.example.wp.*" }]"#.parse().unwrap();
        phone.extend(apps);
    })
    .await;
    let edge = relay.edge().await;
    let phone = relay.windows_phone("phone");
    let of_app = |app| phone.replace('}', &format!(r#","app":"{app}"}}"#));
    for (target, said) in [
        (target(Some("net.elsewhere")), "net.elsewhere"),
        (target(Some("com.example.chats")), "com.example.chats"),
        (target(None), "names no app"),
        (of_app("com.example.ios"), "com.example.ios"),
    ] {
        let answer = edge.message(json(), body(&[&target])).await.unwrap();
        assert_eq!(answer.status, 488, "{answer:?}");
        let reason = answer.reason().unwrap();
        assert!(reason.contains(said), "{reason}");
    }
    let answer = edge
        .message(json(), body(&[&of_app("com.example.wp.chat")]))
        .await;
    assert_eq!(answer.unwrap().status, 200);
    relay.end().await;
}

//! A story: a format that nobody knows is captured, a mapping is drafted from the capture, and the next MESSAGE is pushed; each step
//! by the real command.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{PATIENCE, Relay, binary, body, json};
use pushrelay_peers::Samples;
use pushrelay_peers::daemon::Signal;
use pushrelay_peers::world::{World, device_token};
use serde_json::Value;
use toml::Table;

fn pushrelay(arguments: &[&str], file: &Path, config: &Path) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .args(["decode", file.to_str().unwrap(), "--config"])
        .arg(config)
        .args(arguments)
        .output()
        .unwrap();
    told(output)
}

fn told(output: Output) -> (Option<i32>, String) {
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// What somebody's server might send.
fn invented(device: &str, unread: u32) -> String {
    format!(
        "<?xml version=\"1.0\"?>\r\n<m:alertRequest xmlns:m=\"http://schemas.invented.example/2011/alert\" kind=\"MissedIM\">\r\n\
         <m:device os=\"ios\"><m:pushToken>{device}</m:pushToken></m:device>\r\n<m:unreadCount>{unread}</m:unreadCount>\r\n\
         <m:from>sip:kima@contoso.example</m:from><m:displayName>Kim Akers</m:displayName>\r\n\
         <m:messageText>Are you there?</m:messageText>\r\n</m:alertRequest>"
    )
}

#[tokio::test]
async fn from_an_unknown_body_to_a_push_in_six_steps() {
    // 1. The operator switches capturing on. A site sends what nobody knows.
    let mut world = World::start().await.unwrap();
    let mappings = world.dir.path().join("mappings.d");
    std::fs::create_dir(&mappings).unwrap();
    let bodies: Table =
        "capture = \"undecodable\"\ncapture_folder = \"captures\"\nmappings = \"mappings.d\""
            .parse()
            .unwrap();
    world.config.insert("bodies".into(), bodies.into());
    let relay = Relay::in_world(world).await;
    let edge = relay.edge().await;
    let content_type = "application/vnd.invented.alert+xml; charset=utf-8";
    let answer = edge
        .message(content_type, invented(&device_token(1), 2))
        .await
        .unwrap();
    assert_eq!(answer.status, 415);
    let config = relay.daemon.config_path().to_owned();
    let capture = relay.captured().await;

    // 2. What does each decoder say?
    let (code, text) = pushrelay(&[], &capture, &config);
    assert_eq!(code, Some(1), "{text}");
    for part in [
        "pushrelay+json: does not match",
        "pushrelay+xml: does not match",
        "refused with 415",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    // 3. A draft.
    let (code, draft) = pushrelay(&["--suggest"], &capture, &config);
    assert_eq!(code, Some(0), "{draft}");
    assert!(
        draft.contains("becomes\n# a notification of im.missed for 1 Apple"),
        "{draft}"
    );

    // 4. It is dropped in, judged, and tried on the capture.
    std::fs::write(mappings.join("invented.toml"), &draft).unwrap();
    let checked = Command::new(binary())
        .args(["check", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let (code, text) = told(checked);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = pushrelay(&[], &capture, &config);
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "invented: matches",
        "alert.title",
        "\"Kim Akers\"   <- xml alertRequest/displayName",
        "not there: id",
        "It becomes a notification of im.missed for 1 Apple and 0 Windows Phone devices.",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    // What the phones will show of it.
    let output = Command::new(binary())
        .arg("preview")
        .arg(&capture)
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    let (code, text) = told(output);
    assert_eq!(code, Some(0), "{text}");
    let payload = r#"{"aps":{"alert":{"title":"Kim Akers","body":"Are you there?"},"badge":2}}"#;
    assert!(text.contains(payload), "{text}");

    // 5. The relay takes it over.
    let applied =
        |samples: &Samples| samples.sum("pushrelay_reloads_total", &[("result", "applied")]);
    let before = applied(&relay.daemon.metrics().await.unwrap());
    relay.daemon.signal(Signal::HUP).unwrap();
    relay
        .daemon
        .wait_metrics(PATIENCE, |samples| applied(samples) > before)
        .await
        .unwrap();

    // 6. The next MESSAGE, over the same connection, is pushed.
    let answer = edge
        .message(content_type, invented(&device_token(2), 3))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let received = relay.world.apple.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].token, device_token(2));
    let aps = &received[0].payload["aps"];
    assert_eq!(aps["badge"], 3);
    assert_eq!(aps["alert"]["title"], "Kim Akers");
    assert_eq!(aps["alert"]["body"], "Are you there?");
    relay.end().await;
}

#[test]
fn a_body_alone_is_read_from_standard_input_and_explained_as_json() {
    let mut child = Command::new(binary())
        .args(["decode", "-", "--json", "--content-type", json()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let body = body(&[common::APPLE]).replace("Are you", "\\u001b[31mAre you");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(body.as_bytes())
        .unwrap();
    let (code, text) = told(child.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        told["notification"],
        "a notification of im.message for 1 Apple and 0 Windows Phone devices"
    );
    let decoder = &told["parts"][0]["decoders"][0];
    assert_eq!(decoder["decoder"], "pushrelay+json");
    assert_eq!(decoder["matches"], true);
    let fields = decoder["fields"].as_array().unwrap();
    let title = fields
        .iter()
        .find(|field| field["name"] == "alert.title")
        .unwrap();
    assert_eq!(title["value"], "Kim Akers");
    assert!(
        decoder["missing"]
            .as_array()
            .unwrap()
            .contains(&"ttl".into())
    );
}

#[test]
fn what_cannot_be_decoded_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("body");
    std::fs::write(&path, "hello \u{1b}[31m").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        told(command.arg("decode").args(arguments).output().unwrap())
    };
    let file = path.to_str().unwrap();
    let (code, text) = run(&[file]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("refused with 415") && !text.contains('\u{1b}'),
        "{text}"
    );
    let (code, text) = run(&[file, "--suggest"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("expected at least one"), "{text}");
    let (code, text) = run(&["/nonexistent"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("/nonexistent: cannot be read"), "{text}");
    let broken = folder.path().join("broken.toml");
    std::fs::write(&broken, "[sip]\n").unwrap();
    let (code, text) = run(&[file, "--config", broken.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(text.contains("broken.toml: error"), "{text}");
}

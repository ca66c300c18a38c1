//! `pushrelay check`: each mistake is told with file, key, value and expectation; the manual knows every key.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::binary;
use pushrelay_peers::pki::Leaf;
use pushrelay_peers::world::{RELAY_NAME, World};
use toml::{Table, Value};

fn check(path: &Path) -> Output {
    Command::new(binary())
        .arg("check")
        .arg("--config")
        .arg(path)
        .output()
        .unwrap()
}

/// Checks the world's configuration after a change; gives the exit code and what was printed.
async fn check_changed(change: impl FnOnce(&mut World)) -> (Option<i32>, String) {
    let mut world = World::start().await.unwrap();
    change(&mut world);
    let path = world.dir.path().join("changed.toml");
    std::fs::write(&path, world.config.to_string()).unwrap();
    let output = check(&path);
    let text =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("changed.toml"), "the file is named: {text}");
    (output.status.code(), text)
}

fn set(table: &mut Table, section: &str, key: &str, value: impl Into<Value>) {
    table[section]
        .as_table_mut()
        .unwrap()
        .insert(key.into(), value.into());
}

#[tokio::test]
async fn a_good_configuration_is_good() {
    let (code, text) = check_changed(|_| {}).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("good: 1 partners, 1 Apple apps"), "{text}");
}

#[tokio::test]
async fn an_unknown_key_names_its_line_and_what_is_known() {
    let (code, text) = check_changed(|world| set(&mut world.config, "sip", "lissten", "x")).await;
    assert_eq!(code, Some(1));
    for part in ["lissten", "line", "expected one of", "`listen`"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test]
async fn every_mistake_names_key_value_and_expectation() {
    type Change = fn(&mut World);
    let mistakes: [(Change, &[&str]); 12] = [
        (
            |w| {
                w.config.insert("reply_within".into(), "soon".into());
            },
            &["reply_within", "expected a duration", "1500ms"],
        ),
        (
            |w| {
                w.config.insert("reply_within".into(), "40s".into());
            },
            &["reply_within", "at most 30s"],
        ),
        (
            |w| set(&mut w.config, "sip", "client_roots", "nowhere.pem"),
            &["sip.client_roots", "nowhere.pem", "PEM file"],
        ),
        (
            |w| set(&mut w.config, "sip", "addresses", vec!["push.example.org"]),
            &["sip.addresses[0]", "push.example.org", "sip:push@"],
        ),
        (
            |w| set(&mut w.config, "sip", "accepted_status", 204),
            &["sip.accepted_status", "204", "200 or 202"],
        ),
        (
            |w| {
                w.config["partners"][0].as_table_mut().unwrap()["edges"] =
                    Value::from(vec!["*.contoso.example"])
            },
            &["partners[0].edges[0]", "*.contoso.example", "wildcard"],
        ),
        (
            |w| set(&mut w.config, "limits_missing", "x", 1),
            &["limits_missing"],
        ),
        (
            |w| std::fs::remove_file(w.dir.path().join("relay.key")).unwrap(),
            &[
                "sip.certificates[0].key",
                "relay.key",
                "a file that can be read",
            ],
        ),
        (
            |w| std::fs::write(w.dir.path().join("relay.key"), "hello").unwrap(),
            &["sip.certificates[0].key", "PEM private key"],
        ),
        (
            |w| {
                w.authority
                    .issue(&Leaf::server(RELAY_NAME))
                    .write(w.dir.path(), "other")
                    .unwrap();
                std::fs::copy(
                    w.dir.path().join("other.key"),
                    w.dir.path().join("relay.key"),
                )
                .unwrap();
            },
            &["sip.certificates[0].key", "does not belong"],
        ),
        (
            |w| {
                w.authority
                    .issue(&Leaf::server(RELAY_NAME).expired())
                    .write(w.dir.path(), "relay")
                    .unwrap();
            },
            &["sip.certificates[0].chain", "has expired"],
        ),
        (
            |w| {
                std::fs::write(
                    w.dir.path().join("AuthKey.p8"),
                    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                )
                .unwrap()
            },
            &["apple.apps[0].token", "PKCS#8"],
        ),
    ];
    for (index, (change, parts)) in mistakes.into_iter().enumerate() {
        let (code, text) = check_changed(|world| {
            if index == 6 {
                world
                    .config
                    .insert("limits_missing".into(), Value::Table(Table::new()));
            }
            change(world);
        })
        .await;
        assert_eq!(code, Some(1), "mistake {index}: {text}");
        for part in parts {
            assert!(
                text.contains(part),
                "mistake {index} should say {part:?}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn several_mistakes_are_told_at_once() {
    let (_, text) = check_changed(|world| {
        set(&mut world.config, "sip", "accepted_status", 204);
        set(
            &mut world.config,
            "sip",
            "addresses",
            vec!["push.example.org"],
        );
    })
    .await;
    assert_eq!(text.matches("error:").count(), 2, "{text}");
}

#[tokio::test]
async fn an_rsa_only_relay_is_warned_of_old_edges() {
    let (code, text) = check_changed(|world| {
        let leaf = Leaf::server(RELAY_NAME).key(pushrelay_peers::pki::Key::Rsa);
        world
            .authority
            .issue(&leaf)
            .write(world.dir.path(), "relay")
            .unwrap();
    })
    .await;
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("warning: sip.certificates: only RSA"),
        "{text}"
    );
}

#[test]
fn the_daemon_refuses_what_check_refuses() {
    let output = Command::new(binary())
        .args(["serve", "--config", "/nonexistent.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("/nonexistent.toml") && text.contains("cannot be read"),
        "{text}"
    );
}

/// The keys that the code knows at `place`, learnt from its own complaint about a key that it does not know.
fn known_keys(sample: &Table, place: &[&str]) -> Vec<String> {
    let mut config = Value::Table(sample.clone());
    let mut table = &mut config;
    for step in place {
        table = match table {
            Value::Array(list) => list[0].as_table_mut().unwrap().get_mut(*step).unwrap(),
            Value::Table(table) => table.get_mut(*step).unwrap(),
            _ => panic!("{place:?}"),
        };
    }
    if let Value::Array(list) = table {
        table = &mut list[0];
    }
    table
        .as_table_mut()
        .unwrap()
        .insert("zzz".into(), true.into());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("probe.toml");
    std::fs::write(&path, config.as_table().unwrap().to_string()).unwrap();
    let text = String::from_utf8(check(&path).stderr).unwrap();
    let list = text
        .split("`zzz`, expected")
        .nth(1)
        .unwrap_or_else(|| panic!("{place:?}: {text}"));
    list.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn sample_and_manual_hold_exactly_the_keys_of_the_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let sample: Table = std::fs::read_to_string(folder.join("pushrelay.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let manual = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let places: [&[&str]; 9] = [
        &[],
        &["sip"],
        &["partners"],
        &["apple"],
        &["apple", "apps"],
        &["windows_phone"],
        &["spool"],
        &["admin"],
        &["limits"],
    ];
    for place in places.into_iter().chain([&["log"] as &[&str]]) {
        let mut found = &Value::Table(sample.clone());
        for step in place {
            found = &found[*step];
        }
        let tables: Vec<&Table> = match found {
            Value::Array(list) => list.iter().map(|value| value.as_table().unwrap()).collect(),
            other => vec![other.as_table().unwrap()],
        };
        let known = known_keys(&sample, place);
        assert!(
            known.len() > 1 || place == ["admin"],
            "{place:?}: {known:?}"
        );
        for key in &known {
            assert!(
                tables.iter().any(|table| table.contains_key(key)),
                "the sample lacks {key} in {place:?}"
            );
            let documented =
                manual.contains(&format!("`{key}`")) || manual.contains(&format!("`[{key}]`"));
            assert!(
                documented || manual.contains(&format!("[[{key}]]")),
                "the manual lacks {key} in {place:?}"
            );
        }
    }
}

//! `pushrelay check`: each mistake is told with file, key, value and expectation; the manual knows every key.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

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
    let mistakes: [(Change, &[&str]); 14] = [
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
            &["reply_within", "0s to 30s"],
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
        (
            |w| set(&mut w.config, "admin", "trail", 2_000_000),
            &["admin.trail", "2000000", "0 to 1000000"],
        ),
        (
            |w| set(&mut w.config, "admin", "socket", "x".repeat(108)),
            &["admin.socket", "xxx", "at most 107 bytes"],
        ),
    ];
    for (index, (change, parts)) in mistakes.into_iter().enumerate() {
        let judgement = check_changed(|world| {
            if index == 6 {
                world
                    .config
                    .insert("limits_missing".into(), Value::Table(Table::new()));
            }
            change(world);
        })
        .await;
        judged(index, judgement, parts);
    }
}

fn judged(index: usize, (code, text): (Option<i32>, String), parts: &[&str]) {
    assert_eq!(code, Some(1), "mistake {index}: {text}");
    for part in parts {
        assert!(
            text.contains(part),
            "mistake {index} should say {part:?}: {text}"
        );
    }
}

/// `serve` would have fallen over each of these: `check` must not call them good.
#[tokio::test]
async fn what_the_daemon_could_not_live_with_is_no_good_configuration() {
    type Change = Box<dyn FnOnce(&mut World)>;
    let app = |w: &mut World, key: &str, value: &str| {
        let app = w.config["apple"]["apps"][0].as_table_mut().unwrap();
        app.insert(key.into(), value.into());
    };
    let limit = |w: &mut World, key: &str, value: Value| {
        w.config
            .entry("limits")
            .or_insert_with(|| Value::Table(Table::new()));
        set(&mut w.config, "limits", key, value);
    };
    let mistakes: [(Change, &[&str]); 8] = [
        (
            Box::new(move |w| app(w, "topic", "com example chat")),
            &["apple.apps[0].topic", "com example chat", "letters, digits"],
        ),
        (
            Box::new(move |w| app(w, "id", "")),
            &["apple.apps[0].id", "1 to 256 bytes"],
        ),
        (
            Box::new(move |w| limit(w, "connections", i64::MAX.into())),
            &["limits.connections", "9223372036854775807", "1 to 1000000"],
        ),
        (
            Box::new(move |w| limit(w, "handshake_timeout", "0s".into())),
            &["limits.handshake_timeout", "0s"],
        ),
        (
            Box::new(|w| {
                let twice = vec!["127.0.0.1:5061", "127.0.0.1:5061"];
                set(&mut w.config, "sip", "listen", twice);
            }),
            &["sip.listen[1]", "127.0.0.1:5061", "twice"],
        ),
        (
            Box::new(|w| {
                w.config.insert("default_ttl".into(), "60days".into());
            }),
            &["default_ttl", "1month", "max_ttl"],
        ),
        (
            Box::new(|w| set(&mut w.config, "windows_phone", "ports", Vec::<i64>::new())),
            &["windows_phone.ports", "empty list"],
        ),
        (
            Box::new(|w| set(&mut w.config, "windows_phone", "path_prefixes", vec!["a/"])),
            &["windows_phone.path_prefixes[0]", "a/", "with its /"],
        ),
    ];
    for (index, (change, parts)) in mistakes.into_iter().enumerate() {
        judged(index, check_changed(change).await, parts);
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
async fn a_terminator_hands_over_on_loopback_only() {
    let offload = |keys: &str| {
        let table: Table = keys.parse().unwrap();
        check_changed(|world| set(&mut world.config, "sip", "offload", vec![table]))
    };
    for listen in [
        "0.0.0.0:5062",
        "[::]:5062",
        "192.0.2.61:5062",
        "[::ffff:127.0.0.1]:5062",
    ] {
        let (code, text) = offload(&format!("listen = \"{listen}\"")).await;
        assert_eq!(code, Some(1), "{listen}: {text}");
        for part in ["sip.offload[0].listen", listen, "loopback address"] {
            assert!(text.contains(part), "{listen} should say {part:?}: {text}");
        }
    }
    let (code, text) = offload("listen = \"127.0.0.1:5062\"\ncertificate_type = 0x20").await;
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("sip.offload[0].certificate_type") && text.contains("0x20"),
        "{text}"
    );
    for listen in ["127.0.0.1:0", "127.8.0.1:5062", "[::1]:5062"] {
        let (code, text) = offload(&format!("listen = \"{listen}\"")).await;
        assert_eq!(code, Some(0), "{listen}: {text}");
    }
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

#[tokio::test]
async fn how_a_partner_is_known_must_make_sense() {
    let (domain, srv) = ("known_by = \"domain\"", "known_by = \"srv\"");
    let partner = |name: &str, rest: &str| format!("[[partners]]\nname = {name:?}\n{rest}\n");
    let domains = "domains = [\"a.example\"]";
    let twice = |known_by: &str| {
        let of = |name| partner(name, &format!("{known_by}\n{domains}"));
        of("a") + &of("b")
    };
    let cases = [
        (
            partner(
                "a",
                &format!("known_by = \"srv\"\nedges = [\"sip.a.example\"]\n{domains}"),
            ),
            "partners[0].edges: got [\"sip.a.example\"], expected none",
        ),
        (
            partner("a", domains),
            "partners[0].edges: got an empty list",
        ),
        (
            partner("a", "known_by = \"domain\"\ndomains = [\"*.a.example\"]"),
            "partners[0].domains[0]: got \"*.a.example\"",
        ),
        (
            partner(
                "a",
                "known_by = \"domain\"\ndomains = [\"b\u{fc}cher.example.\"]",
            ),
            "partners[0].domains[0]: got \"b\u{fc}cher.example.\"",
        ),
        (
            partner("a", &format!("known_by = \"name\"\n{domains}")),
            "expected one of `edge`, `domain`, `srv`",
        ),
        (
            twice(domain),
            "partners: two partners are known by \"a.example\"",
        ),
        (
            twice(srv),
            "partners: two partners are known by \"a.example\"",
        ),
    ];
    for (partners, expected) in cases {
        let partners: Table = partners.parse().unwrap();
        let (code, text) =
            check_changed(|world| world.config["partners"] = partners["partners"].clone()).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(expected), "{expected}: {text}");
    }
    for (dns, expected) in [
        (vec!["ns.example.org"], "sip.dns[0]: got \"ns.example.org\""),
        (vec![], "sip.dns: got an empty list"),
    ] {
        let (code, text) = check_changed(|world| set(&mut world.config, "sip", "dns", dns)).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

/// What is said of the relay's certificate when it is this one; nothing is an error.
async fn warnings_about(leaf: Leaf) -> String {
    let (code, text) = check_changed(|world| {
        let issued = world.authority.issue(&leaf);
        issued.write(world.dir.path(), "relay").unwrap();
    })
    .await;
    assert_eq!(code, Some(0), "{text}");
    let about = "warning: sip.certificates[0].chain: ";
    let warnings = text.lines().filter_map(|line| line.split_once(about));
    warnings
        .map(|(_, warning)| warning.to_owned() + "\n")
        .collect()
}

#[tokio::test]
async fn a_certificate_that_an_edge_would_not_take_is_warned_of() {
    let good = || Leaf::server(RELAY_NAME).distribution_point("http://crl.example.invalid/ca.crl");
    assert_eq!(warnings_about(good()).await, "");
    let named = |names: &[&str]| Leaf {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..good()
    };
    let soon = Leaf {
        not_after: SystemTime::now() + Duration::from_secs(20 * 24 * 3600),
        ..good()
    };
    let cases = [
        (Leaf::server(RELAY_NAME), "has no CRL distribution point"),
        (named(&[]), "has no dNSName"),
        (named(&["*.push.example.org"]), "has a wildcard name"),
        (soon, "expires in 19 days"),
        (
            named(&["relay.example.com"]),
            "is for relay.example.com; expected a name in the domain of an address in sip.addresses",
        ),
    ];
    for (leaf, expected) in cases {
        let text = warnings_about(leaf).await;
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let several = warnings_about(named(&["relay.example.com", "sip.push.example.org"])).await;
    assert_eq!(several, "");
}

#[tokio::test]
async fn a_name_that_edges_are_told_must_be_in_every_certificate() {
    let check_names = |names: &'static [&'static str]| async move {
        check_changed(|world| set(&mut world.config, "sip", "names", names.to_vec())).await
    };
    let (code, text) = check_names(&["Relay.Push.Example.Org"]).await;
    assert_eq!(
        (code, text.contains("warning: sip.")),
        (Some(0), false),
        "{text}"
    );
    let (code, text) = check_names(&[RELAY_NAME, "push.lync.com"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("warning: sip.certificates[0].chain: is for relay.push.example.org; expected push.lync.com among its names"),
        "{text}"
    );
    let (code, text) = check_names(&["*.lync.com"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("sip.names[0]: got \"*.lync.com\""), "{text}");
}

#[tokio::test]
async fn revocation_lists_that_cannot_be_used_are_told_of() {
    let with_list = |content: Vec<u8>| async move {
        check_changed(|world| {
            std::fs::write(world.dir.path().join("list.crl"), content).unwrap();
            set(&mut world.config, "sip", "crls", vec!["list.crl"]);
        })
        .await
    };
    let authority = pushrelay_peers::pki::Authority::new("Contoso Root");
    let now = SystemTime::now();
    let list = |due: SystemTime| authority.revoke(&[], due);
    let week = list(now + Duration::from_secs(7 * 24 * 3600));

    let (code, text) = with_list(week.der.clone()).await;
    assert_eq!(
        (code, text.contains("warning: sip.")),
        (Some(0), false),
        "{text}"
    );
    for (content, expected) in [
        (b"no list".to_vec(), "it holds none"),
        (week.der[..week.der.len() - 1].to_vec(), "TrailingData"),
    ] {
        let (code, text) = with_list(content).await;
        assert_eq!(code, Some(1), "{text}");
        for part in ["error: sip.crls[0]: got", "list.crl", expected] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let hour = Duration::from_secs(3600);
    for (due, expected) in [
        (now - hour, "should have been replaced"),
        (now + 3 * hour, "should be replaced within 2 hours"),
    ] {
        let (code, text) = with_list(list(due).pem.into_bytes()).await;
        assert_eq!(code, Some(0), "{text}");
        for part in ["warning: sip.crls[0]: ", "CN=Contoso Root", expected] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
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

/// A number or a time that is out of its bounds is told them, and the manual names the same ones in the key's row.
#[tokio::test]
async fn every_number_and_time_has_bounds_and_the_manual_names_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (sample, manual) = (
        read("pushrelay.toml").parse::<Table>().unwrap(),
        read("README.md"),
    );
    let whole = "## The whole relay";
    let mut keys = Vec::new();
    for (chapter, table) in [
        (whole, None),
        ("## `[bodies]`", Some("bodies")),
        ("## `[spool]`", Some("spool")),
        ("## `[admin]`", Some("admin")),
        ("## `[limits]`", Some("limits")),
    ] {
        let values = table.map_or(&sample, |table| sample[table].as_table().unwrap());
        for (key, value) in values {
            let time = |text: &str| {
                text.ends_with(['s', 'm', 'h', 'y'])
                    && text.starts_with(|c: char| c.is_ascii_digit())
            };
            let absurd: [Value; 2] = match value {
                Value::Integer(_) => [i64::MAX.into(), 0.into()],
                Value::String(text) if time(text) => ["1000years".into(), "1ms".into()],
                _ => continue,
            };
            keys.push((chapter, table, key.clone(), absurd));
        }
    }
    assert!(keys.len() >= 30, "{}", keys.len());
    for at in [0, 1] {
        let (_, text) = check_changed(|world| {
            for (_, table, key, absurd) in &keys {
                let table = match table {
                    None => &mut world.config,
                    Some(table) => {
                        let table = world.config.entry(*table).or_insert(Table::new().into());
                        table.as_table_mut().unwrap()
                    }
                };
                table.insert(key.clone(), absurd[at].clone());
            }
        })
        .await;
        for (chapter, table, key, _) in &keys {
            let name = table.map_or(key.clone(), |table| format!("{table}.{key}"));
            let start = format!("error: {name}: got ");
            let said = text.lines().find(|line| line.contains(&start));
            let rows = manual
                .split(chapter)
                .nth(1)
                .unwrap()
                .split("\n## ")
                .next()
                .unwrap();
            let row = rows
                .lines()
                .find(|line| line.starts_with(&format!("| `{key}` |")));
            let row = row.unwrap_or_else(|| panic!("the manual lacks {name}"));
            let Some(said) = said else {
                // What may be nothing has no lower bound to break.
                let least = ["0 to ", "0s to "];
                assert!(
                    at == 1 && least.iter().any(|least| row.contains(least)),
                    "{name}: {text}"
                );
                continue;
            };
            let (_, bounds) = said.split_once(", expected ").unwrap();
            let bounds = bounds.split([',', ':']).next().unwrap();
            assert!(
                row.contains(bounds),
                "{name} has the bounds {bounds}: {row}"
            );
        }
    }
}

#[test]
fn sample_and_manual_hold_exactly_the_keys_of_the_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let sample: Table = std::fs::read_to_string(folder.join("pushrelay.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let manual = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let places: &[&[&str]] = &[
        &[],
        &["sip"],
        &["sip", "offload"],
        &["partners"],
        &["apple"],
        &["apple", "apps"],
        &["apple", "templates"],
        &["windows_phone"],
        &["bodies"],
        &["windows_phone", "apps"],
        &["windows_phone", "templates"],
        &["spool"],
        &["admin"],
        &["limits"],
        &["log"],
    ];
    for &place in places {
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

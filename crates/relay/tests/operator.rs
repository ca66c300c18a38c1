//! What an operator asks and changes, with the real command: of a daemon over its admin socket, and of the spool while none runs.

#![allow(clippy::unwrap_used)]

mod common;

use common::operator::{pushrelay, said};
use common::{APPLE, PATIENCE, Relay, binary, body, json};
use pushrelay_peers::world::device_token;
use pushrelay_peers::{ApnsAnswer, MpnsAnswer, World};
use serde_json::Value;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

fn ids(list: &Value) -> Vec<String> {
    let entries = list["entries"].as_array().unwrap();
    let id = |entry: &Value| entry["id"].as_str().unwrap().to_owned();
    entries.iter().map(id).collect()
}

#[tokio::test]
async fn what_waits_is_listed_filtered_and_shown_without_anything_secret() {
    let relay = Relay::start().await;
    let sent = relay.leave_waiting(&["one", "two", "three"]).await;
    relay.settled(3.0).await;

    let list = relay.asked(&["spool", "list"]).await;
    let rows = list.rows();
    assert_eq!(rows.len(), 3, "{}", list.out);
    for row in &rows {
        let [_, service, state, partner, _, next, tries, _, word] = row[..] else {
            panic!("expected nine words: {row:?}")
        };
        assert_eq!((service, state, partner), ("mpns", "waiting", "contoso"));
        assert!(
            next.contains('m') || next.contains('h'),
            "412 waits for an hour: {next}"
        );
        assert!(tries.parse::<u32>().is_ok(), "{row:?}");
        assert_eq!(word, "DeviceInactive");
    }
    let all = ids(&relay.asked(&["spool", "list", "--json"]).await.json());
    assert_eq!(all, rows.iter().map(|row| row[0]).collect::<Vec<_>>());

    for (filter, count) in [
        (["--service", "mpns"], 3),
        (["--service", "apns"], 0),
        (["--partner", "contoso"], 3),
        (["--partner", "fabrikam"], 0),
        (["--state", "waiting"], 3),
        (["--state", "buried"], 0),
        (["--newer-than", "1h"], 3),
        (["--older-than", "1h"], 0),
    ] {
        let arguments = [&["spool", "list", "--json"][..], &filter[..]].concat();
        let list = relay.asked(&arguments).await.json();
        assert_eq!(ids(&list).len(), count, "{filter:?}");
    }

    // Page by page.
    let first = relay
        .asked(&["spool", "list", "--limit", "2", "--json"])
        .await
        .json();
    assert_eq!(ids(&first), all[..2]);
    let after = first["next"].to_string();
    let arguments = ["spool", "list", "--limit", "2", "--json", "--after", &after];
    let second = relay.asked(&arguments).await.json();
    assert_eq!(
        (ids(&second), &second["next"]),
        (all[2..].to_vec(), &Value::Null)
    );

    let show = relay.asked(&["spool", "show", &all[1]]).await;
    assert_eq!(show.code, 0, "{}", show.err);
    for expected in [
        "state           waiting",
        "partner         contoso",
        &format!("call-id         {}", sent[1].call_id),
        "event           im.message",
        "said last       DeviceInactive",
        "next try        2",
        "expires         2",
        "who must act  the user: the phone has not been seen for long",
    ] {
        assert!(show.out.contains(expected), "{expected:?} in {}", show.out);
    }
    let shown = relay
        .asked(&["spool", "show", &all[1], "--json"])
        .await
        .json();
    assert_eq!(shown["push"]["call_id"], sent[1].call_id);
    assert_eq!(shown["entry"]["said"], "DeviceInactive");

    let stats = relay.asked(&["spool", "stats"]).await;
    assert_eq!(
        stats.rows()[0],
        ["mpns", "waiting", "contoso", "3", stats.rows()[0][4]]
    );
    assert!(stats.out.contains("trouble         none"), "{}", stats.out);
    let stats_json = relay.asked(&["spool", "stats", "--json"]).await.json();
    assert_eq!(stats_json["heaps"][0]["entries"], 3);
    assert_eq!(stats_json["under_way"][1]["service"], "mpns");

    let explained = relay.asked(&["explain", &sent[1].call_id, "--json"]).await;
    for text in [
        &list.out,
        &show.out,
        &stats.out,
        &explained.out,
        &shown.to_string(),
    ] {
        for secret in [
            "Are you there?",
            "Kim Akers",
            "throttledthirdparty",
            "kima@",
        ] {
            assert!(!text.contains(secret), "{secret:?} in {text}");
        }
    }
    relay.end().await;
}

#[tokio::test]
async fn what_is_dropped_is_gone_for_good_and_the_books_balance() {
    let relay = Relay::start().await;
    relay.leave_waiting(&["one", "two", "three", "four"]).await;
    relay.settled(4.0).await;
    let all = ids(&relay.asked(&["spool", "list", "--json"]).await.json());

    let dropped = relay.asked(&["spool", "drop", &all[0]]).await;
    assert_eq!(
        (dropped.code, dropped.out),
        (0, format!("{}  dropped\n", all[0]))
    );
    let samples = relay.settled(3.0).await;
    let ended = |ending| [("service", "mpns"), ("ending", ending)];
    let settled = "pushrelay_targets_settled_total";
    assert_eq!(samples.sum(settled, &ended("dropped")), 1.0);

    let again = relay.asked(&["spool", "drop", &all[0]]).await;
    assert_eq!(
        again.code, 3,
        "there is none of this id any more: {}",
        again.err
    );
    let show = relay.asked(&["spool", "show", &all[0]]).await;
    assert_eq!(show.code, 3, "{}", show.err);

    // Nobody drops everything by leaving something out.
    let careless = relay.asked(&["spool", "drop"]).await;
    assert_eq!(careless.code, 2);
    assert!(careless.err.contains("--all"), "{}", careless.err);
    let none = relay
        .asked(&["spool", "drop", "--service", "apns", "--json"])
        .await
        .json();
    assert_eq!(none["changed"], serde_json::json!([]));

    let rest = relay
        .asked(&["spool", "drop", "--partner", "contoso", "--json"])
        .await
        .json();
    assert_eq!(rest["changed"].as_array().unwrap().len(), 3);
    let samples = relay.settled(0.0).await;
    assert_eq!(samples.sum(settled, &ended("dropped")), 4.0);
    let asked = samples.sum(
        "pushrelay_operator_requests_total",
        &[("result", "answered")],
    );
    assert_eq!(asked, 6.0);
    relay.end().await;
}

#[tokio::test]
async fn what_was_given_up_is_delivered_after_a_retry_and_the_books_balance() {
    let relay = Relay::start().await;
    let apple = &relay.world.apple;
    let token = device_token(1);
    let iphone = APPLE.replace(APPLE.split('"').nth(7).unwrap(), &token);
    // Refused for good once it is on disk, until its operator has mended the app.
    apple.script_default([
        ApnsAnswer::error(503, "ServiceUnavailable"),
        ApnsAnswer::error(400, "DeviceTokenNotForTopic"),
    ]);
    let edge = relay.edge().await;
    let request = edge.request(json(), body(&[&iphone]));
    assert_eq!(edge.exchange(&request).await.unwrap().status, 200);
    let samples = relay.settled(0.0).await;
    let ended = |ending| [("service", "apns"), ("ending", ending)];
    let settled = "pushrelay_targets_settled_total";
    assert_eq!(samples.sum(settled, &ended("refused")), 1.0);

    let list = relay
        .asked(&["spool", "list", "--state", "buried", "--json"])
        .await
        .json();
    let buried = ids(&list);
    assert_eq!(buried.len(), 1);
    assert_eq!(
        list["entries"][0]["said"],
        "refused: DeviceTokenNotForTopic"
    );
    let explained = relay.asked(&["explain", &buried[0]]).await;
    for expected in [
        "ServiceUnavailable",
        "on disk, due 2",
        "taken up from disk, deferred ",
        "DeviceTokenNotForTopic",
        "over: refused",
        "now           it was given up and is kept on disk",
        "who must act  the operator: the token belongs to another app",
    ] {
        assert!(
            explained.out.contains(expected),
            "{expected:?} in {}",
            explained.out
        );
    }

    apple.script_nothing();
    let retried = relay.asked(&["spool", "retry", "--state", "buried"]).await;
    assert_eq!(
        retried.out,
        format!("{}  due now\n", buried[0]),
        "{}",
        retried.err
    );
    apple
        .wait_until(PATIENCE, |apple| apple.accepted == 1)
        .await
        .unwrap();
    let samples = relay.settled(0.0).await;
    assert_eq!(
        samples.sum("pushrelay_targets_taken_over_total", &[("service", "apns")]),
        1.0
    );
    assert_eq!(samples.sum(settled, &ended("accepted")), 1.0);

    // Dropping what lies buried takes nothing off the books a second time.
    apple.script_default([
        ApnsAnswer::error(503, "ServiceUnavailable"),
        ApnsAnswer::error(400, "DeviceTokenNotForTopic"),
    ]);
    let request = edge.request(json(), body(&[&iphone]));
    assert_eq!(edge.exchange(&request).await.unwrap().status, 200);
    relay
        .daemon
        .wait_metrics(PATIENCE, |samples| {
            samples.sum(settled, &ended("refused")) == 2.0
        })
        .await
        .unwrap();
    let dropped = relay
        .asked(&["spool", "drop", "--all", "--json"])
        .await
        .json();
    assert_eq!(dropped["changed"].as_array().unwrap().len(), 1);
    let samples = relay.settled(0.0).await;
    assert_eq!(samples.sum(settled, &ended("dropped")), 0.0);
    relay.end().await;
}

#[tokio::test]
async fn a_retry_makes_due_at_once_what_would_have_waited_for_an_hour() {
    let relay = Relay::start().await;
    relay.leave_waiting(&["one", "two"]).await;
    relay.settled(2.0).await;
    relay.world.windows_phone.script_nothing();
    let retried = relay
        .asked(&["spool", "retry", "--service", "mpns", "--json"])
        .await
        .json();
    assert_eq!(retried["changed"].as_array().unwrap().len(), 2);
    let samples = relay.settled(0.0).await;
    let accepted = [("service", "mpns"), ("ending", "accepted")];
    assert_eq!(
        samples.sum("pushrelay_targets_settled_total", &accepted),
        2.0
    );
    assert_eq!(samples.sum("pushrelay_targets_taken_over_total", &[]), 0.0);
    relay.end().await;
}

#[tokio::test]
async fn while_no_daemon_runs_the_command_works_on_the_spool_itself() {
    let mut relay = Relay::start().await;
    let sent = relay.leave_waiting(&["one", "two", "three"]).await;
    relay.settled(3.0).await;
    relay.daemon.terminate().await.unwrap();
    let dir = relay.world.dir.path().to_owned();
    assert!(
        !dir.join("admin.sock").exists(),
        "its file goes with the daemon"
    );

    let list = pushrelay(&dir, &["spool", "list", "--json"]).await;
    assert!(list.err.contains("no daemon answers at"), "{}", list.err);
    let all = ids(&list.json());
    assert_eq!(all.len(), 3);
    let show = pushrelay(&dir, &["spool", "show", &all[0]]).await;
    assert!(
        show.out.contains("said last       DeviceInactive"),
        "{}",
        show.out
    );
    let explained = pushrelay(&dir, &["explain", &sent[2].call_id]).await;
    assert!(
        explained.out.contains(&format!("push {} mpns", all[2])),
        "{}",
        explained.out
    );
    assert!(
        explained
            .out
            .contains("it waits on disk and is tried next at"),
        "{}",
        explained.out
    );
    assert!(
        explained
            .out
            .contains("the user: the phone has not been seen"),
        "{}",
        explained.out
    );
    let dropped = pushrelay(&dir, &["spool", "drop", &all[0]]).await;
    assert_eq!(dropped.code, 0, "{}", dropped.err);
    let retried = pushrelay(&dir, &["spool", "retry", &all[1]]).await;
    assert_eq!(retried.code, 0, "{}", retried.err);

    relay.world.windows_phone.script_nothing();
    relay.daemon = relay.world.daemon(binary()).await.unwrap();
    // The one that was retried is delivered at once, the other waits on.
    let samples = relay.settled(1.0).await;
    assert_eq!(samples.sum("pushrelay_targets_taken_over_total", &[]), 2.0);
    let left = ids(&relay.asked(&["spool", "list", "--json"]).await.json());
    assert_eq!(left, all[2..]);
    relay.end().await;
}

#[tokio::test]
async fn a_spool_that_a_daemon_holds_is_left_alone() {
    let relay = Relay::start().await;
    let dir = relay.world.dir.path();
    let config = relay
        .world
        .config
        .to_string()
        .replace("admin.sock", "elsewhere.sock");
    std::fs::write(dir.join("other.toml"), config).unwrap();
    let mut command = tokio::process::Command::new(binary());
    command
        .args(["spool", "drop", "--all", "--config"])
        .arg(dir.join("other.toml"));
    let refused = said(command.output().await.unwrap());
    assert_eq!(refused.code, 1);
    for expected in [
        "a process holds",
        "spool.sqlite",
        "elsewhere.sock",
        "[admin] socket",
    ] {
        assert!(
            refused.err.contains(expected),
            "{expected:?} in {}",
            refused.err
        );
    }
    // By the socket itself the daemon is found, whatever the configuration says.
    let mut command = tokio::process::Command::new(binary());
    command.args([
        "spool",
        "stats",
        "--json",
        "--config",
        "/nonexistent",
        "--socket",
    ]);
    let stats = said(command.arg(dir.join("admin.sock")).output().await.unwrap());
    assert_eq!(stats.json()["trouble"], Value::Null);
    relay.end().await;
}

#[tokio::test]
async fn without_daemon_and_spool_the_command_says_what_it_looked_for() {
    let world = World::start().await.unwrap();
    let dir = world.dir.path();
    std::fs::write(dir.join("pushrelay.toml"), world.config.to_string()).unwrap();
    let nothing = pushrelay(dir, &["spool", "list"]).await;
    assert_eq!(nothing.code, 1);
    for expected in [
        "no daemon answers at",
        "admin.sock",
        "there is no spool at",
        "spool.sqlite",
    ] {
        assert!(
            nothing.err.contains(expected),
            "{expected:?} in {}",
            nothing.err
        );
    }
    assert!(!dir.join("spool.sqlite").exists(), "asking makes no file");
    std::fs::write(dir.join("pushrelay.toml"), "[spool]\npaht = 1\n").unwrap();
    let broken = pushrelay(dir, &["spool", "list"]).await;
    assert!(
        broken.code == 1 && broken.err.contains("paht"),
        "{}",
        broken.err
    );
}

#[tokio::test]
async fn the_admin_socket_is_its_owners_alone_and_that_of_a_dead_daemon_is_replaced() {
    let mut relay = Relay::start().await;
    let path = relay.world.dir.path().join("admin.sock");
    let metadata = std::fs::symlink_metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    relay.crash().await;
    assert_eq!(relay.asked(&["spool", "stats"]).await.code, 0);
    relay.daemon.terminate().await.unwrap();

    std::fs::write(&path, "a file of somebody's").unwrap();
    let error = relay
        .world
        .daemon(binary())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("admin.socket") && error.contains("another kind"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "a file of somebody's"
    );
}

/// Sends bytes to the admin socket and reads the whole answer.
async fn raw(relay: &Relay, request: &[u8]) -> String {
    let path = relay.world.dir.path().join("admin.sock");
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn what_is_no_question_is_refused_with_what_was_expected() {
    let relay = Relay::start().await;
    let post = |body: &str| {
        let length = body.len();
        format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let long = format!("{{\"explain\":\"{}\"}}", "x".repeat(20_000));
    for (request, expected) in [
        (
            "GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
            "expected POST /",
        ),
        (post("{"), "not a question"),
        (post("{\"spool_eat\":1}"), "unknown variant `spool_eat`"),
        (
            post("{\"spool_list\":{\"limit\":1,\"wich\":{}}}"),
            "unknown field `wich`",
        ),
        (
            post("{\"spool_list\":{\"limit\":1,\"which\":{\"state\":\"dead\"}}}"),
            "expected one of",
        ),
        (post(&long), "at most 16384 bytes"),
    ] {
        let answer = raw(&relay, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains(expected), "{expected:?} in {answer}");
    }
    let answer = raw(&relay, post("\"spool_stats\"").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let samples = relay.daemon.metrics().await.unwrap();
    let of = |result| samples.sum("pushrelay_operator_requests_total", &[("result", result)]);
    assert_eq!(
        (of("refused"), of("answered"), of("failed")),
        (6.0, 1.0, 0.0)
    );
    relay.end().await;
}

#[tokio::test]
async fn one_who_asks_nothing_is_sent_away_and_the_others_are_answered() {
    let relay = Relay::start().await;
    let path = relay.world.dir.path().join("admin.sock");
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(UnixStream::connect(&path).await.unwrap());
    }
    // All places are taken; this one waits until they are free.
    assert_eq!(relay.asked(&["spool", "stats"]).await.code, 0);
    for mut stream in silent {
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .unwrap()
            .unwrap();
    }
    relay.end().await;
}

#[tokio::test]
async fn a_device_that_is_called_gone_is_let_in_again() {
    let mut relay = Relay::start().await;
    let token = APPLE.split('"').nth(7).unwrap();
    relay
        .world
        .apple
        .script_default([ApnsAnswer::gone(1_700_000_000_000)]);
    relay
        .world
        .windows_phone
        .script_default([MpnsAnswer::expired()]);
    let edge = relay.edge().await;
    let phone = relay.windows_phone("one");
    for target in [APPLE, &phone] {
        assert_eq!(
            edge.message(json(), body(&[target])).await.unwrap().status,
            410
        );
    }
    relay
        .daemon
        .wait_metrics(PATIENCE, |samples| {
            samples.sum("pushrelay_spool_commits", &[]) >= 2.0
        })
        .await
        .unwrap();

    let list = relay.asked(&["devices", "list"]).await;
    assert_eq!(list.rows().len(), 2, "{}", list.out);
    assert!(
        list.out.contains("apns") && list.out.contains("mpns"),
        "{}",
        list.out
    );
    assert!(!list.out.contains(token), "{}", list.out);
    let page = relay
        .asked(&["devices", "list", "--limit", "1", "--json"])
        .await
        .json();
    let after = page["next"].as_str().unwrap();
    let page = relay
        .asked(&["devices", "list", "--after", after, "--json"])
        .await
        .json();
    assert_eq!(page["devices"].as_array().unwrap().len(), 1);

    let wrong = [
        "devices",
        "forget",
        "--apple",
        token,
        "--app",
        "com.example.other",
    ];
    assert_eq!(relay.asked(&wrong).await.code, 3);
    let right = [
        "devices",
        "forget",
        "--apple",
        token,
        "--app",
        "com.example.chat",
    ];
    assert_eq!(relay.asked(&right).await.code, 0);
    assert_eq!(relay.asked(&right).await.code, 3, "it is forgotten already");
    relay.world.apple.script_nothing();
    assert_eq!(
        edge.message(json(), body(&[APPLE])).await.unwrap().status,
        200
    );

    // While no daemon runs: by the digest, or by a URI that no list of processes shows.
    relay.daemon.terminate().await.unwrap();
    let dir = relay.world.dir.path().to_owned();
    let left = pushrelay(&dir, &["devices", "list", "--json"]).await.json();
    let digest = left["devices"][0]["device"].as_str().unwrap().to_owned();
    let mut command = tokio::process::Command::new(binary());
    command.args([
        "devices",
        "forget",
        "--windows-phone",
        "-",
        "--json",
        "--config",
    ]);
    command.arg(dir.join("pushrelay.toml"));
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let uri = relay.world.windows_phone.url_for("one");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(uri.as_bytes())
        .await
        .unwrap();
    let forgotten = said(child.wait_with_output().await.unwrap());
    assert_eq!(forgotten.json()["forgotten"], true);
    assert_eq!(
        pushrelay(&dir, &["devices", "forget", &digest]).await.code,
        3
    );

    relay.world.windows_phone.script_nothing();
    relay.daemon = relay.world.daemon(binary()).await.unwrap();
    let edge = relay.edge().await;
    assert_eq!(
        edge.message(json(), body(&[&phone])).await.unwrap().status,
        200
    );
    relay.settled(0.0).await;
    relay.end().await;
}

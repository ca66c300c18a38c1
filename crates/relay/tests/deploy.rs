//! Holds what lies in `deploy/` against the programs that will read it: systemd and Prometheus.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{APPLE, Relay, binary, body, json};
use pushrelay_peers::World;

/// The most that `systemd-analyze security` may say of the unit, in tenths of its points from 0 to 10.
const EXPOSURE_TENTHS: u32 = 20;

#[test]
fn systemd_finds_no_fault_in_the_unit() {
    // The installed path does not exist on this machine; the program does.
    let unit = fs::read_to_string(deploy("pushrelay.service")).unwrap();
    let here = binary().to_str().unwrap();
    assert_eq!(unit.matches("/usr/bin/pushrelay").count(), 1);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("pushrelay.service");
    fs::write(&copy, unit.replace("/usr/bin/pushrelay", here)).unwrap();

    let output = run(Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&copy));
    assert!(output.status.success(), "{}", text(&output));
    // A key that systemd does not know is a warning to it, and a typing error to us.
    assert!(
        !text(&output).contains("pushrelay.service"),
        "{}",
        text(&output)
    );
}

#[test]
fn the_unit_leaves_the_relay_little_to_do_wrong() {
    let output = run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(format!("--threshold={EXPOSURE_TENTHS}"))
        .arg(deploy("pushrelay.service")));
    assert!(output.status.success(), "{}", text(&output));
}

#[tokio::test]
async fn the_relay_gets_by_with_the_system_calls_that_the_unit_allows() {
    let world = World::start().await.unwrap();
    let counts = world.dir.path().join("calls");
    let traced = world.dir.path().join("traced");
    let script = format!(
        "#!/bin/sh\nexec strace -D -f -c -S name -U name -o {} {} \"$@\"\n",
        counts.display(),
        binary().display()
    );
    fs::write(&traced, script).unwrap();
    fs::set_permissions(&traced, fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = world.daemon(&traced).await.unwrap();
    let relay = Relay { world, daemon };
    let edge = relay.edge().await;
    let phone = relay.windows_phone("one");
    let answer = edge.message(json(), body(&[APPLE, &phone])).await.unwrap();
    assert_eq!(answer.status, 200);
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("calls");
    fs::hard_link(&counts, &kept).unwrap(); // strace writes when the relay has ended, and its folder is gone then
    relay.end().await;

    let used = calls_in(&kept).await;
    assert!(used.contains("accept4"), "{used:?}");
    let allowed = allowed_calls(&fs::read_to_string(deploy("pushrelay.service")).unwrap());
    let denied: Vec<&String> = used
        .difference(&allowed)
        .filter(|call| !AS_ROOT_ONLY.contains(&call.as_str()))
        .collect();
    assert!(denied.is_empty(), "the unit would deny {denied:?}");
}

/// SQLite calls it only where it runs as root (`robustFchown`), as the tests may and the unit's user never does.
const AS_ROOT_ONLY: &[&str] = &["fchown"];

/// The system calls in a summary by strace, once it is complete.
async fn calls_in(summary: &Path) -> BTreeSet<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let text = fs::read_to_string(summary).unwrap();
        if text
            .lines()
            .last()
            .is_some_and(|line| line.ends_with("total"))
        {
            let names = text.lines().map(str::trim);
            return names
                .filter(|line| !line.is_empty() && !line.ends_with(['-', ' ']))
                .filter(|line| *line != "syscall" && *line != "total")
                .map(str::to_owned)
                .collect();
        }
        assert!(Instant::now() < deadline, "no summary by strace: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the `SystemCallFilter=` lines of a unit let through: a list, less the lists that begin with a tilde.
fn allowed_calls(unit: &str) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for list in unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
    {
        match list.strip_prefix('~') {
            None => list.split(' ').for_each(|set| add_calls(set, &mut allowed)),
            Some(list) => {
                let mut denied = BTreeSet::new();
                list.split(' ').for_each(|set| add_calls(set, &mut denied));
                allowed = &allowed - &denied;
            }
        }
    }
    allowed
}

/// Adds a system call, or all that systemd knows under a name such as `@system-service`.
fn add_calls(set: &str, calls: &mut BTreeSet<String>) {
    if !set.starts_with('@') {
        calls.insert(set.to_owned());
        return;
    }
    let output = run(Command::new("systemd-analyze").args(["syscall-filter", set]));
    assert!(output.status.success(), "{}", text(&output));
    let members = text(&output);
    let members = members.lines().skip(1).map(str::trim);
    members
        .filter(|member| !member.is_empty() && !member.starts_with('#'))
        .for_each(|member| add_calls(member, calls));
}

#[test]
fn the_alerts_ask_for_metrics_that_there_are() {
    let table = run(Command::new(binary()).arg("metrics"));
    let table = text(&table);
    let rules = fs::read_to_string(deploy("prometheus/pushrelay.rules.yml")).unwrap();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let metrics: BTreeSet<&str> = rules
        .split(|c| !word(c))
        .filter(|name| name.starts_with("pushrelay_"))
        .map(|name| name.strip_suffix("_bucket").unwrap_or(name))
        .collect();
    assert!(metrics.len() > 5);
    for metric in metrics {
        assert!(table.contains(&format!("`{metric}`")), "no {metric}");
    }
}

#[test]
fn every_sender_has_its_row_and_the_tests_that_its_row_names_are_there() {
    let guide = fs::read_to_string(deploy("README.md")).unwrap();
    let table = guide.split("\n## Which sender comes in where\n").nth(1);
    let table = table.and_then(|rest| rest.split("\n## ").next()).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let tests: String = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for sender in [
        "Lync Server 2013 Edge",
        "Lync Server 2010 Edge",
        "Office Communications Server 2007 R2 Edge",
        "Skype for Business Server 2015 Edge",
    ] {
        assert!(
            table.contains(&format!("\n| {sender}")),
            "no row for {sender}"
        );
    }
    // Names of tests are the only words of this kind in the table.
    let named: Vec<&str> = table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() > 3)
        .collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        assert!(tests.contains(&format!("fn {name}()")), "no test {name}");
    }
}

#[test]
fn prometheus_takes_the_scrape_configuration_and_the_rules() {
    for (what, file) in [
        ("config", "prometheus.yml"),
        ("rules", "pushrelay.rules.yml"),
    ] {
        let file = deploy("prometheus").join(file);
        let output = run(Command::new("promtool").args(["check", what]).arg(file));
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn each_alert_fires_when_it_should_and_none_for_a_relay_that_is_well() {
    let output = run(Command::new("promtool")
        .args(["test", "rules", "pushrelay.rules.test.yml"])
        .current_dir(deploy("prometheus")));
    assert!(output.status.success(), "{}", text(&output));
    let rules = fs::read_to_string(deploy("prometheus/pushrelay.rules.yml")).unwrap();
    let examples = fs::read_to_string(deploy("prometheus/pushrelay.rules.test.yml")).unwrap();
    for alert in rules
        .lines()
        .filter_map(|line| line.split_once("- alert: "))
    {
        let fires = format!("alertname=\"{}\"", alert.1);
        assert!(examples.contains(&fires), "no example of {}", alert.1);
    }
}

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(file)
        .canonicalize()
        .unwrap()
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| {
        let program = command.get_program().to_string_lossy();
        panic!("{program}: {error}; `cargo xtask test` installs it or says how")
    })
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

//! Holds what lies in `deploy/` against the programs that will read it: systemd and Prometheus.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The most that `systemd-analyze security` may say of the unit, in tenths of its points from 0 to 10.
const EXPOSURE_TENTHS: u32 = 20;

#[test]
fn systemd_finds_no_fault_in_the_unit() {
    // The installed path does not exist on this machine; the program does.
    let unit = fs::read_to_string(deploy("pushrelay.service")).unwrap();
    let here = env!("CARGO_BIN_EXE_pushrelay");
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

//! Holds what lies in `deploy/` against the programs that will read it: systemd and Prometheus.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The most that `systemd-analyze security` may say of the unit, times ten.
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

//! The chores of this workspace, as `cargo xtask CHORE`.
//!
//! Not part of what is installed: nothing in the other crates knows that this one exists.

// What a chore has to say is its output.
#![allow(clippy::print_stdout)]

mod summary;
mod tools;

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};

use summary::Summary;

const USAGE: &str = "\
usage: cargo xtask CHORE

  test [ARGS]   install (as root on Debian) or name the programs that the tests need,
                then run all tests; ARGS go to `cargo test`
  demo [ARGS]   build the daemon and its peers, then run `pushrelay-peers demo ARGS`";

fn main() -> anyhow::Result<ExitCode> {
    let mut args = env::args_os().skip(1);
    let chore = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    match chore.to_str() {
        Some("test") => test(&rest),
        Some("demo") => demo(&rest),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("expected `test` or `demo`, got {chore:?}\n\n{USAGE}"),
    }
}

/// Runs every test of the workspace and closes with one line that sums up all test binaries.
fn test(args: &[OsString]) -> anyhow::Result<ExitCode> {
    tools::provide()?;

    let mut child = cargo()
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo test")?;
    let output = child.stdout.take().context("the output of cargo test")?;
    let mut summary = Summary::default();
    let mut stdout = std::io::stdout().lock();
    // Lines as bytes: a test may print what is not UTF-8.
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("the output of cargo test")?;
        stdout.write_all(&line)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
        summary.read(&String::from_utf8_lossy(&line));
    }
    let status = child.wait().context("cargo test")?;
    let counts = summary.close(status.success());
    writeln!(stdout, "{counts}")?;
    Ok(if status.success() && counts.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the daemon and its peers and becomes the demo.
fn demo(args: &[OsString]) -> anyhow::Result<ExitCode> {
    let built = cargo()
        .args(["build", "--release"])
        .args(["--package", "pushrelay", "--package", "pushrelay-peers"])
        .status()
        .context("cargo build")?;
    if !built.success() {
        bail!("the daemon and its peers could not be built");
    }
    let program = release_directory()?.join("pushrelay-peers");
    let error = Command::new(&program).arg("demo").args(args).exec();
    Err(error).with_context(|| format!("start {}", program.display()))
}

/// The cargo that started us, so that a toolchain chosen by `cargo +NAME xtask` stays chosen.
fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Where cargo puts release binaries: we lie in that folder, or in its twin of another profile, wherever
/// `CARGO_TARGET_DIR` or a configuration file has put it.
fn release_directory() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("our own path")?;
    let target = own.ancestors().nth(2).context("a target folder above us")?;
    Ok(target.join("release"))
}

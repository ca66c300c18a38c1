//! The chores of this workspace, as `cargo xtask CHORE`.
//!
//! Not part of what is installed: nothing in the other crates knows that this one exists.

// What a chore has to say is its output.
#![allow(clippy::print_stdout)]

mod summary;
mod tools;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};

use summary::Summary;

const USAGE: &str = "\
usage: cargo xtask CHORE

  test [ARGS]   install (as root on Debian) or name the programs that the tests need,
                then run all tests; ARGS go to `cargo test`
  demo [ARGS]   build the daemon and its peers, then run `pushrelay-peers demo ARGS`
  docs          write the daemon's table of metrics into deploy/README.md";

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> anyhow::Result<ExitCode> {
    let mut args = env::args_os().skip(1);
    let chore = args.next().unwrap_or_default();
    let rest: Vec<OsString> = args.collect();
    match chore.to_str() {
        Some("test") => test(&rest),
        Some("demo") => demo(&rest),
        Some("docs") => docs(),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("expected `test`, `demo` or `docs`, got {chore:?}\n\n{USAGE}"),
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

/// Writes what the daemon itself says of its metrics into the operator's guide, between two marks.
fn docs() -> anyhow::Result<ExitCode> {
    let output = cargo()
        .args(["run", "--quiet", "--package", "pushrelay", "--", "metrics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo run")?;
    if !output.status.success() {
        bail!("`pushrelay metrics` ended with {}", output.status);
    }
    let table = String::from_utf8(output.stdout).context("the table of metrics")?;
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/README.md");
    let text = fs::read_to_string(&guide).context("deploy/README.md")?;
    let (before, rest) = text.split_once(METRICS_BEGIN).context("its first mark")?;
    let (_, after) = rest.split_once(METRICS_END).context("its second mark")?;
    let text = format!("{before}{METRICS_BEGIN}\n{table}{METRICS_END}{after}");
    fs::write(&guide, text).context("deploy/README.md")?;
    Ok(ExitCode::SUCCESS)
}

/// What stands around the table in the guide.
const METRICS_BEGIN: &str = "<!-- metrics: written by `cargo xtask docs` -->";
const METRICS_END: &str = "<!-- end of metrics -->";

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

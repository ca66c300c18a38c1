//! The commands of `pushrelay-peers`, run as an operator runs them.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use pushrelay_peers::world::device_token;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const SOON: Duration = Duration::from_secs(30);

fn peers() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushrelay-peers"));
    command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn finished(command: &mut Command) -> Output {
    tokio::time::timeout(SOON, command.output())
        .await
        .expect("it does not end")
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A command that goes on until it is told to end.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    /// Reads up to the first line that has this in it.
    async fn line_with(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        loop {
            let line = tokio::time::timeout(SOON, self.lines.next_line()).await;
            let line = line
                .unwrap_or_else(|_| panic!("no {text:?} after {read:#?}"))
                .unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended without {text:?}: {read:#?}"));
            if line.contains(text) {
                return line;
            }
            read.push(line);
        }
    }

    async fn interrupt(mut self) -> Output {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let mut rest = String::new();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            rest += &line;
            rest.push('\n');
        }
        let output = tokio::time::timeout(SOON, self.child.wait_with_output()).await;
        Output {
            stdout: rest.into_bytes(),
            ..output.expect("it does not end").unwrap()
        }
    }
}

/// The daemon's program: it lies beside ours after `cargo test --workspace`; a run of this package alone builds it.
fn relay() -> PathBuf {
    let ours = Path::new(env!("CARGO_BIN_EXE_pushrelay-peers"));
    let relay = ours.with_file_name("pushrelay");
    if !relay.exists() {
        let cargo = std::process::Command::new(env!("CARGO"))
            .args(["build", "--package", "pushrelay"])
            .status();
        assert!(cargo.unwrap().success());
    }
    relay
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_what_everyone_saw() {
    let output = finished(peers().args(["demo", "--once", "--relay"]).arg(relay())).await;
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for expected in [
        "SIP/2.0 200 OK",
        "SIP/2.0 410 Gone",
        "SIP/2.0 415 ",
        "SIP/2.0 403 ",
        "topic com.example.chat, push-type alert",
        "X-WindowsPhone-Target: token",
        "<wp:Count>2</wp:Count>",
        "/metrics",
        "Everything was as expected.",
    ] {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_stays_until_it_is_interrupted_and_takes_more() {
    let mut demo = Running::start(peers().args(["demo", "--relay"]).arg(relay()));
    let relay = demo.line_with("SIP over TLS").await;
    let relay = relay.split_whitespace().nth(3).unwrap().to_owned();
    let file = demo.line_with("configuration").await;
    let dir = Path::new(file.split_whitespace().nth(1).unwrap())
        .parent()
        .unwrap()
        .to_owned();
    demo.line_with("until Ctrl-C").await;

    let token = device_token(99);
    let output = finished(
        peers()
            .args(["edge", "--relay", &relay, "--apple", &token])
            .arg("--certificates")
            .arg(&dir),
    )
    .await;
    assert!(output.status.success(), "{}", said(&output));
    demo.line_with(&token[..8]).await;

    let output = demo.interrupt().await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        said(&output).contains("The relay has ended: exit status: 0"),
        "{}",
        said(&output)
    );
    assert!(!dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_names_what_is_missing() {
    let output =
        finished(peers().args(["demo", "--once", "--relay", "/nonexistent/pushrelay"])).await;
    assert!(!output.status.success());
    assert!(
        said(&output).contains("/nonexistent/pushrelay"),
        "{}",
        said(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fakes_run_alone_with_certificates_and_scripts_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = dir.path().join("certificates");
    let output = finished(peers().arg("certificates").arg(&certificates)).await;
    assert!(output.status.success(), "{}", said(&output));
    let again = finished(peers().arg("certificates").arg(&certificates)).await;
    assert!(
        !again.status.success(),
        "it replaced keys: {}",
        said(&again)
    );

    let token = device_token(5);
    let script = dir.path().join("script.toml");
    let answers = format!(
        "[[answer]]\ntoken = \"{token}\"\nstatus = 410\nreason = \"Unregistered\"\ntimestamp_ms = 5\n\n\
         [[answer]]\nstatus = 429\nreason = \"TooManyRequests\"\nfault = {{ go-away = {{ last_stream = \"this\" }} }}\n"
    );
    std::fs::write(&script, answers).unwrap();
    let mut apns = Running::start(
        peers()
            .args([
                "apns",
                "--listen",
                "127.0.0.1:0",
                "--any-token",
                "--certificates",
            ])
            .arg(&certificates)
            .arg("--script")
            .arg(&script),
    );
    let url = apns.line_with("fake Apple at ").await;
    let url = url
        .split_whitespace()
        .nth(3)
        .unwrap()
        .trim_end_matches(';')
        .to_owned();
    for (device, expected) in [(&*token, "410"), ("0011223344556677", "429")] {
        let output = finished(
            Command::new("curl")
                .args([
                    "-sS",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    "--http2",
                    "--cacert",
                ])
                .arg(certificates.join("ca.pem"))
                .args(["-H", "authorization: bearer x", "-d", "{}"])
                .arg(format!("{url}/3/device/{device}")),
        )
        .await;
        assert!(said(&output).starts_with(expected), "{}", said(&output));
    }
    apns.line_with("POST /3/device/").await;
    apns.line_with("against Apple's rules: ").await;
    let output = apns.interrupt().await;
    assert!(output.status.success());
    assert!(said(&output).contains("requests: 2"), "{}", said(&output));

    let answers = "[[answer]]\ntoken = \"phone1\"\nstatus = 404\nsubscription = \"Expired\"\n";
    std::fs::write(&script, answers).unwrap();
    let mut mpns = Running::start(
        peers()
            .args(["mpns", "--listen", "127.0.0.1:0", "--script"])
            .arg(&script),
    );
    let channel = mpns.line_with("A channel: ").await;
    let channel = channel.rsplit(' ').next().unwrap();
    let output = finished(Command::new("curl").args(["-sS", "-i", "-d", "x", channel])).await;
    assert!(
        said(&output).starts_with("HTTP/1.1 404"),
        "{}",
        said(&output)
    );
    mpns.line_with("against Microsoft's rules: ").await;
    assert!(mpns.interrupt().await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_says_something_unknown_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script.toml");
    std::fs::write(&script, "[[answer]]\nstatsu = 410\n").unwrap();
    let output = finished(
        peers()
            .args(["apns", "--listen", "127.0.0.1:0", "--script"])
            .arg(&script),
    )
    .await;
    assert!(!output.status.success());
    assert!(said(&output).contains("statsu"), "{}", said(&output));
}

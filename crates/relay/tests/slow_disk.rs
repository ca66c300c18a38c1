//! A disk that takes half a minute or more for one sync: nobody waits for it without end, and what was asked happens.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{PATIENCE, Relay, binary, body, json};
use pushrelay_benches::proofs::{Strace, Tracee, has_strace};
use pushrelay_peers::MpnsAnswer;
use pushrelay_peers::daemon::Signal;
use tokio::process::Command;

#[tokio::test]
async fn an_operator_is_told_after_20_s_that_the_disk_has_not_answered() {
    if !has_strace() {
        eprintln!("skipped: strace may not trace here");
        return;
    }
    let relay = relay_with_one_that_waits().await;
    let long = Duration::from_secs(26);
    let strace = hold_up_a_sync(&relay, long).await;
    let begin = Instant::now();
    let config = relay.daemon.config_path();
    let mut command = Command::new(binary());
    command
        .args(["spool", "drop", "--all", "--config"])
        .arg(config);
    let said = command.output().await.unwrap();
    let error = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "{error}");
    assert!(
        error.contains("the spool did not answer in time; what was asked may still happen"),
        "{error}"
    );
    assert!(begin.elapsed() < long, "before the disk");

    let samples = relay.settled(0.0).await;
    let dropped = [("service", "mpns"), ("ending", "dropped")];
    assert_eq!(
        samples.sum("pushrelay_targets_settled_total", &dropped),
        1.0
    );
    let failed = [("result", "failed")];
    assert_eq!(
        samples.sum("pushrelay_operator_requests_total", &failed),
        1.0
    );
    drop(strace);
    relay.end().await;
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_hold_up_the_end() {
    if !has_strace() {
        eprintln!("skipped: strace may not trace here");
        return;
    }
    let mut relay = relay_with_one_that_waits().await;
    let strace = hold_up_a_sync(&relay, Duration::from_secs(60)).await;
    relay.daemon.signal(Signal::TERM).unwrap();
    for what in ["does not let go", "drained"] {
        let said = relay.daemon.wait_log(PATIENCE, |line| line.contains(what));
        said.await.unwrap();
    }
    // Traced, a thread whose call is held up cannot even be killed.
    drop(strace);
    let status = relay.daemon.wait(PATIENCE).await.unwrap();
    assert!(status.success(), "{status}");
}

async fn relay_with_one_that_waits() -> Relay {
    let relay = Relay::start().await;
    let phones = &relay.world.windows_phone;
    phones.script_default([MpnsAnswer::inactive()]);
    let edge = relay.edge().await;
    let target = relay.windows_phone("one");
    let answer = edge.message(json(), body(&[&target])).await.unwrap();
    assert_eq!(answer.status, 200);
    relay.settled(1.0).await;
    relay
}

/// The next sync of each thread takes so long.
async fn hold_up_a_sync(relay: &Relay, long: Duration) -> Strace {
    let delay = format!(
        "inject=fdatasync,fsync:delay_enter={}:when=1",
        long.as_micros()
    );
    let process = Tracee::Process(relay.daemon.pid().unwrap());
    let nowhere = Path::new("/dev/null");
    Strace::attach(process, &["-e", &delay], nowhere)
        .await
        .unwrap()
}

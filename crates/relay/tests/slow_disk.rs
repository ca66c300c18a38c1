//! A disk that takes half a minute for one sync: nobody waits for it without end, and what was asked happens.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{Relay, binary, body, json};
use pushrelay_benches::proofs::{Strace, Tracee, has_strace};
use pushrelay_peers::MpnsAnswer;
use tokio::process::Command;

#[tokio::test]
async fn an_operator_is_told_after_20_s_that_the_disk_has_not_answered() {
    if !has_strace() {
        eprintln!("skipped: strace may not trace here");
        return;
    }
    let relay = Relay::start().await;
    let phones = &relay.world.windows_phone;
    phones.script_default([MpnsAnswer::inactive()]);
    let edge = relay.edge().await;
    let target = relay.windows_phone("one");
    let answer = edge.message(json(), body(&[&target])).await.unwrap();
    assert_eq!(answer.status, 200);
    relay.settled(1.0).await;

    let long = Duration::from_secs(26);
    let delay = format!(
        "inject=fdatasync,fsync:delay_enter={}:when=1",
        long.as_micros()
    );
    let process = Tracee::Process(relay.daemon.pid().unwrap());
    let nowhere = Path::new("/dev/null");
    let strace = Strace::attach(process, &["-e", &delay], nowhere)
        .await
        .unwrap();
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

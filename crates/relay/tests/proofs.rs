//! The proofs of `benches`, each in a short form: what they show in minutes there, they show in seconds here.

#![allow(clippy::unwrap_used)]

mod common;

use common::binary;
use pushrelay_benches::proofs::{crash, has_strace, kill_points};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_200_is_lost_by_kill_9_under_load() {
    let plan = crash::CrashPlan {
        kills: 15,
        seed: None,
    };
    eprintln!("{}", crash::run(binary(), &plan).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_200_is_lost_by_a_kill_at_any_system_call() {
    if !has_strace() {
        eprintln!("skipped: strace may not trace here");
        return;
    }
    let plan = kill_points::KillPointsPlan { every: 31 };
    eprintln!("{}", kill_points::run(binary(), &plan).await.unwrap());
}

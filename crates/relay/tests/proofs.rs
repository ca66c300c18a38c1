//! The proofs of `benches`, each in a short form: what they show in minutes there, they show in seconds here.
//!
//! Promises only. A figure that is bad fails nothing; they are measured by the commands.

#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Display;
use std::path::Path;

use common::binary;
use pushrelay_benches::proofs::{
    crash, durable, fairness, goaway, has_strace, io_faults, kill_points, outage, overload,
    sync_order, terminations,
};

/// Carries a proof out and shows what it says.
async fn prove<P, R: Display>(run: impl AsyncFnOnce(&Path, &P) -> anyhow::Result<R>, plan: P) {
    match run(binary(), &plan).await {
        Ok(report) => eprintln!("{report}"),
        Err(error) => panic!("{error:#}"),
    }
}

/// The same where strace may trace.
async fn prove_by_strace<P, R: Display>(
    run: impl AsyncFnOnce(&Path, &P) -> anyhow::Result<R>,
    plan: P,
) {
    if has_strace() {
        prove(run, plan).await;
    } else {
        eprintln!("skipped: strace may not trace here");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_200_is_lost_by_kill_9_under_load() {
    let plan = crash::CrashPlan {
        kills: 15,
        seed: None,
    };
    prove(crash::run, plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_200_is_lost_by_a_kill_at_any_system_call() {
    prove_by_strace(kill_points::run, kill_points::KillPointsPlan { every: 41 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_comes_after_the_sync_of_its_append() {
    let plan = sync_order::SyncOrderPlan {
        pipelined: 400,
        one_by_one: 40,
    };
    prove_by_strace(sync_order::run, plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_once_costs_no_promise_and_the_relay_recovers_by_itself() {
    prove_by_strace(io_faults::run, io_faults::IoFaultsPlan { every: 97 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_leaves_nothing_unanswered() {
    let plan = terminations::TerminationsPlan {
        rounds: 6,
        seed: None,
    };
    prove(terminations::run, plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goaway_and_rst_lose_nothing_and_double_only_what_is_ambiguous() {
    let plan = goaway::GoawayPlan {
        messages: 2000,
        seed: None,
    };
    prove(goaway::run, plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_durable_on_a_slow_disk_is_on_disk() {
    let plan = durable::DurablePlan {
        rate: 100,
        seconds: 3,
        sync: 4,
        connections: 2,
    };
    prove_by_strace(durable::run, plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_kept_through_and_a_start_over_it_answers() {
    let plan = outage::OutagePlan {
        entries: 1000,
        rate: 20,
        seconds: 2,
        turns: 1,
    };
    prove(outage::run, plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_too_much_is_refused_with_a_retry_after_and_not_with_silence() {
    let plan = overload::OverloadPlan {
        streams: 1,
        room: 5,
        seconds: 3,
        overload: 6,
    };
    prove(overload::run, plan).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_times_its_rate_is_refused_to_the_partner_that_sends_it_and_to_no_other() {
    let plan = fairness::FairnessPlan {
        rate: 10,
        connections: 2,
        window: 2,
        takes: 5,
        seconds: 2,
        rounds: 1,
        log: false,
    };
    prove(fairness::run, plan).await;
}

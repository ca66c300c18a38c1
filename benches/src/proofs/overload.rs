//! `overload`: twice as many MESSAGEs as the relay can deliver, for longer than its spool has room.
//!
//! Apple carries so many pushes a second and no more: few streams, each taken for a fixed time. Goodput is what Apple accepts. What the relay cannot
//! take it refuses with 503 and a Retry-After that differs from sender to sender.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use pushrelay_peers::apns::Recording;
use pushrelay_peers::{ApnsAnswer, ApnsOptions, WorldOptions};

use super::ground::{Ground, PATIENCE};
use crate::generator::{Pace, Plan};

/// How much, how long.
#[derive(Clone, Debug, clap::Args)]
pub struct OverloadPlan {
    /// Streams that Apple allows on each of the relay's connections
    #[arg(long, default_value_t = 10)]
    pub streams: u32,
    /// Targets that may wait: at overload they are used up in seconds
    #[arg(long, default_value_t = 1000)]
    pub room: u32,
    /// Seconds at capacity
    #[arg(long, default_value_t = 10)]
    pub seconds: u32,
    /// Seconds at twice the capacity
    #[arg(long, default_value_t = 30)]
    pub overload: u32,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct OverloadReport {
    /// Pushes that Apple accepted a second while there was always one more to send.
    pub capacity: f64,
    /// The same at twice as many MESSAGEs a second.
    pub goodput: f64,
    /// How often which status was answered then.
    pub statuses: BTreeMap<u16, u64>,
    /// How often which Retry-After was.
    pub retry_after: BTreeMap<u32, u64>,
    /// MESSAGEs without an answer.
    pub lost: u64,
}

/// How long Apple takes for a push.
const TAKES: Duration = Duration::from_millis(50);

/// So many Retry-After are not the same by chance.
const JITTERED: u64 = 50;

/// Many, so that nothing but the caps holds back.
const CONNECTIONS: usize = 24;

/// Carries it out.
pub async fn run(daemon: &Path, plan: &OverloadPlan) -> anyhow::Result<OverloadReport> {
    let options = WorldOptions {
        apple: ApnsOptions {
            recording: Recording::Counts,
            max_concurrent_streams: plan.streams,
            ..ApnsOptions::default()
        },
        ..WorldOptions::default()
    };
    let mut ground = Ground::lay(daemon, options).await?;
    ground.new_spool()?;
    ground.set("spool", "entries", i64::from(plan.room))?;
    let apple = &ground.world.apple;
    apple.script_default([ApnsAnswer::ok().after(TAKES)]);
    let mut daemon = ground.start().await?;
    let mut generator = ground.connect(daemon.sip_addr(), CONNECTIONS).await?;
    let mut goodput = async |plan: Plan| {
        let (start, before) = (Instant::now(), apple.counts().accepted);
        let drive = generator.drive(plan);
        let measure = async {
            tokio::time::sleep(plan.at_most).await;
            (apple.counts().accepted - before) as f64 / start.elapsed().as_secs_f64()
        };
        let (tally, goodput) = tokio::join!(drive, measure);
        anyhow::Ok((tally?.unbroken()?, goodput))
    };
    let closed = |seconds: u32| Plan {
        pace: Pace::Window(8),
        messages: 10_000_000,
        at_most: Duration::from_secs(seconds.into()),
    };
    goodput(closed(2)).await?; // connections grow by need
    let (_, capacity) = goodput(closed(plan.seconds)).await?;
    ensure!(capacity > 0.0, "nothing was delivered");
    let (tally, goodput) = goodput(Plan {
        pace: Pace::Rate(2.0 * capacity),
        messages: 10_000_000,
        at_most: Duration::from_secs(plan.overload.into()),
    })
    .await?;
    let mut retry_after = BTreeMap::new();
    for refusal in &tally.refusals {
        let seconds = refusal.retry_after();
        let seconds = seconds.ok_or_else(|| anyhow::anyhow!("no Retry-After: {refusal:?}"))?;
        *retry_after.entry(seconds).or_default() += 1;
    }
    let report = OverloadReport {
        capacity,
        goodput,
        statuses: tally.statuses(),
        retry_after,
        lost: tally.lost(),
    };
    ensure!(report.lost == 0, "silence: {report}");
    let refused: u64 = report.retry_after.values().sum();
    ensure!(
        refused < JITTERED || report.retry_after.len() > 1,
        "all are told to come again at the same time: {report}"
    );
    let waited = daemon.wait_metrics(2 * PATIENCE, |samples| {
        samples.sum("pushrelay_targets_waiting", &[]) == 0.0
    });
    waited.await?;
    let status = daemon.terminate().await?;
    ensure!(status.success(), "{status}: {:#?}", daemon.logs());
    Ok(report)
}

impl fmt::Display for OverloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "capacity {:.0} pushes a second; at twice as many MESSAGEs {:.0}, {:.0} %",
            self.capacity,
            self.goodput,
            100.0 * self.goodput / self.capacity
        )?;
        write!(f, "answers:")?;
        for (status, count) in &self.statuses {
            write!(f, " {count} × {status}")?;
        }
        let (first, last) = (
            self.retry_after.first_key_value(),
            self.retry_after.last_key_value(),
        );
        if let (Some((first, _)), Some((last, _))) = (first, last) {
            write!(
                f,
                "; Retry-After {first} to {last} s, {} different",
                self.retry_after.len()
            )?;
        }
        Ok(())
    }
}

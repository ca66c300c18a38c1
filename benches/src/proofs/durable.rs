//! `durable`: how many MESSAGEs a second become durable while Apple is down, on a disk whose fdatasync takes its time.
//!
//! strace holds every fdatasync of the daemon this much longer than the disk takes (`delay_exit`), and touches no other call
//! (seccomp-bpf). Apple refuses connections, the breaker is open, so that each MESSAGE is answered when it is on disk.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pushrelay_peers::{Daemon, WorldOptions};

use super::ground::{Ground, PATIENCE, breaker_opens};
use super::strace;
use crate::generator::{Generator, Pace, Plan, Tally};

/// How much, how fast.
#[derive(Clone, Debug, clap::Args)]
pub struct DurablePlan {
    /// MESSAGEs a second
    #[arg(long, default_value_t = 3000)]
    pub rate: u32,
    /// Seconds of that
    #[arg(long, default_value_t = 20)]
    pub seconds: u32,
    /// Milliseconds that are added to each fdatasync
    #[arg(long, default_value_t = 4)]
    pub sync: u32,
    /// SIP connections
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct DurableReport {
    /// At the rate of the plan: latency counts from the time at which a MESSAGE was due.
    pub at_rate: Tally,
    /// As fast as it goes, 128 unanswered on each connection.
    pub at_most: Tally,
    /// Transactions during the first, each with one sync.
    pub commits: f64,
    /// What one fdatasync of the disk takes by itself.
    pub disk: Duration,
}

/// Carries it out.
pub async fn run(daemon: &Path, plan: &DurablePlan) -> anyhow::Result<DurableReport> {
    let mut ground = Ground::lay(daemon, WorldOptions::default()).await?;
    ground.new_spool()?;
    let disk = disk(ground.world.dir.path())?;
    ground.world.apple.refuse_connects().await;
    let delay = format!("inject=fdatasync,fsync:delay_exit={}", plan.sync * 1000);
    // Without the first two it would stop at every call.
    let options = ["--seccomp-bpf", "-etrace=fdatasync,fsync", "-e", &delay];
    let behind = strace::before(&options, Path::new("/dev/null"));
    let mut daemon = ground.launch(&behind, &[])?;
    daemon.ready().await?;
    let mut generator = ground.connect(daemon.sip_addr(), plan.connections).await?;
    let warm_up = breaker_opens(&daemon, &mut generator).await?;
    let before = commits(&daemon).await?;
    let at_rate = Plan {
        pace: Pace::Rate(plan.rate.into()),
        messages: u64::from(plan.rate) * u64::from(plan.seconds),
        at_most: 2 * PATIENCE,
    };
    let at_rate = all_kept(&mut generator, at_rate).await?;
    let commits = commits(&daemon).await? - before;
    let at_most = Plan {
        pace: Pace::Window(128),
        messages: at_rate.sent,
        at_most: 2 * PATIENCE,
    };
    let at_most = all_kept(&mut generator, at_most).await?;
    let promised = warm_up + at_rate.accepted() + at_most.accepted();
    daemon.kill().await?;
    ground.sound_spool().await?;
    let waiting = ground.waiting_count().await?;
    ensure!(
        waiting == promised,
        "{promised} MESSAGEs were answered 200, {waiting} are on disk"
    );
    Ok(DurableReport {
        at_rate,
        at_most,
        commits,
        disk,
    })
}

async fn all_kept(generator: &mut Generator, plan: Plan) -> anyhow::Result<Tally> {
    let tally = generator.drive(plan).await?.unbroken()?;
    ensure!(
        tally.accepted() == tally.sent,
        "not everything was answered 200: {:?}",
        tally.statuses()
    );
    Ok(tally)
}

async fn commits(daemon: &Daemon) -> anyhow::Result<f64> {
    let samples = daemon.metrics().await?;
    samples
        .get("pushrelay_spool_commits", &[])
        .context("pushrelay_spool_commits")
}

/// What an fdatasync after a write of one page takes here, the median of 50.
fn disk(folder: &Path) -> anyhow::Result<Duration> {
    use std::io::Write;
    let mut file = std::fs::File::create(folder.join("disk"))?;
    let mut times = Vec::new();
    for _ in 0..50 {
        file.write_all(&[0x55; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

impl fmt::Display for DurableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "fdatasync of this disk by itself: {:.2} ms",
            self.disk.as_secs_f64() * 1e3
        )?;
        for (name, tally) in [("open loop", &self.at_rate), ("closed loop", &self.at_most)] {
            writeln!(
                f,
                "{name}: {:.0} MESSAGE/s durable, p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, most {:.1} ms",
                tally.throughput(),
                f64::from(tally.latency(0.5)) / 1e3,
                f64::from(tally.latency(0.99)) / 1e3,
                f64::from(tally.latency(0.999)) / 1e3,
                f64::from(tally.latency(1.0)) / 1e3,
            )?;
        }
        write!(
            f,
            "in the open loop {:.1} MESSAGEs shared a sync; all that was answered 200 is on disk",
            self.at_rate.accepted() as f64 / self.commits
        )
    }
}

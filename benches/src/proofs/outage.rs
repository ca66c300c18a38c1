//! `outage`: Apple is down for as long as it takes to fill the spool; what does it cost whom, and how soon is the next start over?
//!
//! Quiet and outage take turns in one run, so that both meet the same machine. Both services answer after 30 ms, as if
//! they were far away. Then the spool is filled while memory is watched, the turns come once more over the full spool, and in the end
//! the daemon is killed and started over it.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pushrelay_peers::apns::Recording;
use pushrelay_peers::{ApnsAnswer, ApnsOptions, Daemon, MpnsAnswer, MpnsOptions, WorldOptions};

use super::ground::{Ground, PATIENCE, breaker_opens};
use crate::generator::{Generator, Pace, Plan, Tally};

/// How long, how much.
#[derive(Clone, Debug, clap::Args)]
pub struct OutagePlan {
    /// Entries that wait in the end
    #[arg(long, default_value_t = 1_000_000)]
    pub entries: u64,
    /// MESSAGEs a second to each service while latencies are measured
    #[arg(long, default_value_t = 250)]
    pub rate: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 8)]
    pub seconds: u32,
    /// Turns of quiet and outage
    #[arg(long, default_value_t = 3)]
    pub turns: u32,
}

/// 99 of 100 answers came within this, to whom.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    /// MESSAGEs for Apple.
    pub apple: Duration,
    /// MESSAGEs for Windows Phones.
    pub windows_phone: Duration,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct OutageReport {
    /// Each turn: quiet, then outage with the breaker open.
    pub turns: Vec<[Latency; 2]>,
    /// The outage over the full spool.
    pub full: Latency,
    /// Resident MiB after each tenth of the entries.
    pub memory: Vec<f64>,
    /// How many entries waited in the end.
    pub entries: u64,
    /// How fast they came, a second.
    pub rate: f64,
    /// From the start over the full spool to the answer of the first MESSAGE.
    pub first_answer: Duration,
}

/// How far away the services are.
const FAR: Duration = Duration::from_millis(30);

/// Carries it out.
pub async fn run(daemon: &Path, plan: &OutagePlan) -> anyhow::Result<OutageReport> {
    let options = WorldOptions {
        apple: ApnsOptions {
            recording: Recording::Counts,
            ..ApnsOptions::default()
        },
        windows_phone: MpnsOptions {
            keep_requests: false,
            ..MpnsOptions::default()
        },
        ..WorldOptions::default()
    };
    let mut ground = Ground::lay(daemon, options).await?;
    ground.new_spool()?;
    ground.set("spool", "partner_entries", 2_000_000)?;
    ground.set("spool", "partner_bytes", 4_294_967_296_i64)?;
    let fakes = (&ground.world.apple, &ground.world.windows_phone);
    fakes.0.script_default([ApnsAnswer::ok().after(FAR)]);
    fakes.1.script_default([MpnsAnswer::received().after(FAR)]);
    let mut process = ground.start().await?;
    let mut edges = Edges::connect(&ground, &process).await?;
    let mut report = OutageReport::default();
    for _ in 0..plan.turns {
        let quiet = edges.latency(plan).await?;
        outage(&ground, true).await?;
        breaker_opens(&process, &mut edges.apple).await?;
        let open = edges.latency(plan).await?;
        outage(&ground, false).await?;
        process
            .wait_metrics(2 * PATIENCE, |samples| {
                samples.sum("pushrelay_targets_waiting", &[]) == 0.0
                    && samples.sum("pushrelay_breaker_open", &[]) == 0.0
            })
            .await?;
        report.turns.push([quiet, open]);
    }
    outage(&ground, true).await?;
    let mut promised = breaker_opens(&process, &mut edges.apple).await?;
    let start = Instant::now();
    while promised < plan.entries {
        let tenth = Plan {
            pace: Pace::Window(64),
            messages: plan.entries.div_ceil(10).min(plan.entries - promised),
            at_most: 5 * PATIENCE,
        };
        let tally = edges.apple.drive(tenth).await?.unbroken()?;
        ensure!(
            tally.accepted() == tally.sent && tally.sent > 0,
            "not everything was answered 200: {:?}",
            tally.statuses()
        );
        promised += tally.sent;
        report.memory.push(resident(&process)?);
    }
    report.rate = promised as f64 / start.elapsed().as_secs_f64();
    report.full = edges.latency(plan).await?;
    promised += u64::from(plan.rate) * u64::from(plan.seconds);
    process.kill().await?;
    report.entries = ground.waiting_count().await?;
    ensure!(
        report.entries == promised,
        "{promised} MESSAGEs to Apple were answered 200, {} are on disk",
        report.entries
    );
    let start = Instant::now();
    let mut process = ground.launch(&[], &[])?;
    process.ready().await?;
    ground.went_to(&edges.apple);
    let mut generator = ground.connect(process.sip_addr(), 1).await?;
    let first = Plan {
        pace: Pace::Window(1),
        messages: 1,
        at_most: PATIENCE,
    };
    let tally = generator.drive(first).await?.unbroken()?;
    ensure!(tally.accepted() == 1, "{:?}", tally.statuses());
    report.first_answer = start.elapsed();
    process.kill().await?;
    Ok(report)
}

/// Apple goes, or comes back.
async fn outage(ground: &Ground, begins: bool) -> anyhow::Result<()> {
    let apple = &ground.world.apple;
    if begins {
        apple.refuse_connects().await;
        apple.drop_connections();
    } else {
        apple.accept_connects().await?;
    }
    Ok(())
}

/// Connections of their own for each service, so that each has latencies of its own.
struct Edges {
    apple: Generator,
    windows_phone: Generator,
}

impl Edges {
    async fn connect(ground: &Ground, daemon: &Daemon) -> anyhow::Result<Edges> {
        Ok(Edges {
            apple: ground.connect(daemon.sip_addr(), 2).await?,
            windows_phone: ground.connect_windows_phone(daemon.sip_addr(), 2).await?,
        })
    }

    /// Both at once, in open loops.
    async fn latency(&mut self, plan: &OutagePlan) -> anyhow::Result<Latency> {
        let paced = Plan {
            pace: Pace::Rate(plan.rate.into()),
            messages: u64::from(plan.rate) * u64::from(plan.seconds),
            at_most: 2 * PATIENCE,
        };
        let (apple, windows_phone) =
            tokio::join!(self.apple.drive(paced), self.windows_phone.drive(paced));
        Ok(Latency {
            apple: p99(apple?)?,
            windows_phone: p99(windows_phone?)?,
        })
    }
}

fn p99(tally: Tally) -> anyhow::Result<Duration> {
    let tally = tally.unbroken()?;
    ensure!(
        tally.accepted() == tally.sent,
        "not everything was answered 200: {:?}",
        tally.statuses()
    );
    Ok(Duration::from_micros(tally.latency(0.99).into()))
}

/// The resident memory of the daemon, MiB.
fn resident(daemon: &Daemon) -> anyhow::Result<f64> {
    let id = daemon.pid().context("a daemon that runs")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: f64 = kibibytes.context("VmRSS")?.parse()?;
    Ok(kibibytes / 1024.0)
}

impl fmt::Display for OutageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        writeln!(
            f,
            "p99, ms:     quiet: Apple, Windows Phone    outage: Apple, Windows Phone"
        )?;
        for [quiet, open] in &self.turns {
            writeln!(
                f,
                "{:26.1} {:14.1} {:16.1} {:14.1}",
                millis(quiet.apple),
                millis(quiet.windows_phone),
                millis(open.apple),
                millis(open.windows_phone),
            )?;
        }
        writeln!(
            f,
            "over the full spool {:38.1} {:14.1}",
            millis(self.full.apple),
            millis(self.full.windows_phone)
        )?;
        write!(
            f,
            "{} entries, {:.0} a second; resident MiB after each tenth:",
            self.entries, self.rate
        )?;
        for mebibytes in &self.memory {
            write!(f, " {mebibytes:.0}")?;
        }
        write!(
            f,
            "\nkilled, and started over them: the first MESSAGE was answered after {:.2} s",
            self.first_answer.as_secs_f64()
        )
    }
}

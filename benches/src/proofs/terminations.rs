//! `terminations`: SIGTERM at random moments under load, again and again over the same spool.
//!
//! What the daemon has read is answered before it ends. What it has not read stays with the sender: such a MESSAGE was
//! neither pushed nor put into the spool. Nobody is killed, so no push is accepted twice.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pushrelay_peers::WorldOptions;

use super::dice::Dice;
use super::ground::{Ground, Load, PATIENCE, ask_to_end};
use super::ledger::{Balance, Ledger, NOTHING};

/// How often, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct TerminationsPlan {
    /// SIGTERMs
    #[arg(long, default_value_t = 100)]
    pub rounds: u64,
    /// Repeats the choices of an earlier run
    #[arg(long)]
    pub seed: Option<u64>,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct TerminationsReport {
    /// The seed of the choices.
    pub seed: u64,
    /// SIGTERMs that ended with exit code 0.
    pub rounds: u64,
    /// MESSAGEs that were sent and not read before an end; each was sent again in a later life.
    pub unread: u64,
    /// The longest time from SIGTERM to the end of the process.
    pub longest: Duration,
    /// The books.
    pub balance: Balance,
    /// From the first start to the last end.
    pub elapsed: Duration,
}

/// The daemon's grace time, `drain_grace`.
const GRACE: Duration = Duration::from_secs(20);

/// SIGTERM comes within this time after the Edge has connected.
const LIFE: Duration = Duration::from_millis(300);

/// Lives that share a spool.
const ERA: u64 = 10;

/// More than any life has time for.
const LOAD: Load = Load {
    connections: 3,
    window: 16,
    messages: 20_000,
};

/// Carries it out.
pub async fn run(daemon: &Path, plan: &TerminationsPlan) -> anyhow::Result<TerminationsReport> {
    let mut dice = Dice::new(plan.seed);
    let mut report = TerminationsReport {
        seed: dice.seed(),
        ..TerminationsReport::default()
    };
    let start = Instant::now();
    let mut ground = Ground::lay(daemon, WorldOptions::default()).await?;
    while report.rounds < plan.rounds {
        ground.new_spool()?;
        ground.reply_within(["0s", "20ms", "1500ms"][dice.below(3) as usize]);
        ground.slow_apple(dice.roll(), Duration::from_millis(60));
        let mut ledger = Ledger::default();
        for _ in 0..ERA.min(plan.rounds - report.rounds) {
            let moment = dice.shorter_than(LIFE);
            round(&mut ground, moment, &mut ledger, &mut report)
                .await
                .with_context(|| format!("after {report}"))?;
        }
        ground.aftermath(&mut ledger).await?;
        report.balance.add(ledger.balance(0, &NOTHING)?);
    }
    report.elapsed = start.elapsed();
    ensure!(
        report.balance.promised > 0,
        "nothing was promised: {report}"
    );
    Ok(report)
}

/// One life.
async fn round(
    ground: &mut Ground,
    moment: Duration,
    ledger: &mut Ledger,
    report: &mut TerminationsReport,
) -> anyhow::Result<()> {
    let mut daemon = ground.start().await?;
    let generator = ground.connect(daemon.sip_addr(), LOAD.connections).await?;
    let terminate = async {
        tokio::time::sleep(moment).await;
        let asked = Instant::now();
        ask_to_end(&daemon)?;
        let status = daemon.wait(PATIENCE).await?;
        anyhow::Ok((status, asked.elapsed()))
    };
    let (ended, sent) = tokio::join!(terminate, ground.send(generator, ledger, LOAD));
    let (status, took) = ended?;
    sent?;
    ensure!(status.success(), "{status}: {:#?}", daemon.logs());
    ensure!(took <= GRACE, "it took {took:?} to end");
    ground.take(ledger).await?;
    let waiting = ground.waiting().await?;
    for number in ledger.open() {
        ensure!(
            !ledger.is_pushed(number) && !waiting.contains(&number),
            "number {number} was read, and never answered"
        );
        report.unread += 1;
    }
    report.rounds += 1;
    report.longest = report.longest.max(took);
    Ok(())
}

impl fmt::Display for TerminationsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} SIGTERMs under load in {:.0} s, exit code 0 each time, within {} ms at most; {} MESSAGEs that nobody \
             had read were sent again; {}",
            self.seed,
            self.rounds,
            self.elapsed.as_secs_f64(),
            self.longest.as_millis(),
            self.unread,
            self.balance
        )
    }
}

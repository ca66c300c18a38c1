//! `crash`: `kill -9` at random moments under load, again and again over the same spool.
//!
//! Eras of ten lives share a spool. In an era's first life pushes go straight to Apple; in the later ones everything goes
//! through the spool, because a daemon that has taken entries over absorbs what senders repeat. Some lives are ended while
//! they start. What was unanswered at a kill is sent again, as an Edge would.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pushrelay_peers::WorldOptions;

use super::dice::Dice;
use super::ground::{DISPATCHED, Ground, Load};
use super::ledger::{Balance, Ledger, NOTHING};

/// How often, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct CrashPlan {
    /// Kills
    #[arg(long, default_value_t = 1000)]
    pub kills: u64,
    /// Repeats the choices of an earlier run
    #[arg(long)]
    pub seed: Option<u64>,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrashReport {
    /// The seed of the choices.
    pub seed: u64,
    /// Kills of a daemon that was ready.
    pub under_load: u64,
    /// Kills of a daemon that was not.
    pub starting: u64,
    /// The books over all eras.
    pub balance: Balance,
    /// From the first start to the last end.
    pub elapsed: Duration,
}

/// What is sent in a life: more than any life has time for.
const LOAD: Load = Load {
    connections: 2,
    window: 8,
    messages: 20_000,
};

/// Lives that share a spool.
const ERA: u64 = 10;

/// A life ends within this time after the Edge has connected; one that is not to become ready, within half of it after its
/// start.
const LIFE: Duration = Duration::from_millis(200);

/// Carries it out.
pub async fn run(daemon: &Path, plan: &CrashPlan) -> anyhow::Result<CrashReport> {
    let mut dice = Dice::new(plan.seed);
    let mut report = CrashReport {
        seed: dice.seed(),
        ..CrashReport::default()
    };
    let start = Instant::now();
    let mut ground = Ground::lay(daemon, WorldOptions::default()).await?;
    let mut kills = plan.kills;
    while kills > 0 {
        let lives = kills.min(ERA);
        kills -= lives;
        era(&mut ground, &mut dice, lives, &mut report)
            .await
            .with_context(|| format!("after {report}"))?;
    }
    report.elapsed = start.elapsed();
    ensure!(
        report.balance.promised > 0,
        "nothing was promised: {report}"
    );
    Ok(report)
}

/// Several lives over one spool.
async fn era(
    ground: &mut Ground,
    dice: &mut Dice,
    lives: u64,
    report: &mut CrashReport,
) -> anyhow::Result<()> {
    ground.new_spool()?;
    ground.reply_within(if dice.once_in(3) { "0s" } else { "1500ms" });
    ground.slow_apple(dice.roll(), Duration::from_millis(3));
    let mut ledger = Ledger::default();
    for _ in 0..lives {
        let moment = dice.shorter_than(LIFE);
        let mut daemon = ground.launch(&[], &[])?;
        if dice.once_in(8) {
            tokio::time::sleep(moment / 2).await;
            daemon.kill().await?;
            report.starting += 1;
        } else {
            daemon.ready().await?;
            let generator = ground.connect(daemon.sip_addr(), LOAD.connections).await?;
            let kill = async {
                tokio::time::sleep(moment).await;
                daemon.kill().await
            };
            let send = ground.send(generator, &mut ledger, LOAD);
            let (killed, sent) = tokio::join!(kill, send);
            killed?;
            sent?;
            report.under_load += 1;
        }
        ground.take(&mut ledger).await?;
        ground.sound_spool().await?;
        ledger.end_life();
    }
    ground.aftermath(&mut ledger).await?;
    report.balance.add(ledger.balance(DISPATCHED, &NOTHING)?);
    Ok(())
}

impl fmt::Display for CrashReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {}: {} kills under load and {} while starting in {:.0} s: {}",
            self.seed,
            self.under_load,
            self.starting,
            self.elapsed.as_secs_f64(),
            self.balance
        )
    }
}

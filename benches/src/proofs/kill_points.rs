//! `kill-points`: a kill at every call of a script that changes a file or sends something, one after the other.
//!
//! The script: start over an empty spool, 20 MESSAGEs, or 50 where the log is to be folded in, SIGTERM. strace kills the process
//! at the entry of the n-th write, sync, rename, unlink or truncation of one thread, for n = 1, 2, … until the script comes to its
//! end; thread by thread: whichever opens the spool (from the start on), the one that writes it, the one that folds its log in, the one that speaks SIP
//! and HTTP/2.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pushrelay_peers::{Daemon, WorldOptions};

use super::ground::{DISPATCHED, Ground, Load, PATIENCE, ask_to_end};
use super::ledger::{Balance, Ledger, NOTHING};
use super::strace::{self, CHANGES, Strace, Tracee};

/// How thoroughly.
#[derive(Clone, Debug, clap::Args)]
pub struct KillPointsPlan {
    /// Strike at every so-many-th call
    #[arg(long, default_value_t = 1)]
    pub every: usize,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct KillPointsReport {
    /// Each thread, how many calls it made, and at how many of them it was killed.
    pub struck: Vec<(&'static str, usize, usize)>,
    /// The books over all rounds.
    pub balance: Balance,
    /// From the first start to the last end.
    pub elapsed: Duration,
}

/// The script.
const SCRIPT: Load = Load {
    connections: 1,
    window: 4,
    messages: 20,
};

/// Enough of it for the log to be folded in once more.
const LONG_SCRIPT: Load = Load {
    messages: 50,
    ..SCRIPT
};

/// Where the kill is to strike.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Any thread, until the daemon is ready.
    Start,
    /// The thread that writes the spool, from the start on.
    Writer,
    /// The thread that folds the log in, from the second time on.
    Checkpointer,
    /// The thread that speaks SIP and HTTP/2, from the start on.
    Worker,
}

/// What became of a round.
enum End {
    Killed,
    Finished,
}

/// Carries it out.
pub async fn run(daemon: &Path, plan: &KillPointsPlan) -> anyhow::Result<KillPointsReport> {
    let mut report = KillPointsReport::default();
    let start = Instant::now();
    let mut ground = Ground::lay(daemon, WorldOptions::default()).await?;
    let passes = [
        ("start", Place::Start, "0s"),
        ("spool", Place::Writer, "0s"),
        ("log of the spool", Place::Checkpointer, "0s"),
        ("sockets, spool first", Place::Worker, "0s"),
        ("sockets, Apple first", Place::Worker, "1500ms"),
    ];
    for (name, place, reply_within) in passes {
        ground.reply_within(reply_within);
        let (mut call, mut kills) = (1, 0);
        loop {
            let case = || format!("{name}: killed at call {call}");
            let mut ledger = Ledger::default();
            let end = round(&mut ground, place, call, &mut ledger)
                .await
                .with_context(case)?;
            ground.aftermath(&mut ledger).await.with_context(case)?;
            report
                .balance
                .add(ledger.balance(DISPATCHED, &NOTHING).with_context(case)?);
            match end {
                End::Killed => kills += 1,
                End::Finished => break,
            }
            call += plan.every;
        }
        ensure!(kills > 0, "{name}: no call was struck");
        report.struck.push((name, call - plan.every, kills));
    }
    report.elapsed = start.elapsed();
    ensure!(
        report.balance.promised > 0,
        "nothing was promised: {report}"
    );
    Ok(report)
}

/// The script over an empty spool, with a kill at one call.
async fn round(
    ground: &mut Ground,
    place: Place,
    call: usize,
    ledger: &mut Ledger,
) -> anyhow::Result<End> {
    ground.new_spool()?;
    let expression = format!("inject={CHANGES}:signal=SIGKILL:when={call}");
    let trace = ground.world.dir.path().join("strace");
    // One worker, so that each of its calls has one number.
    let one_worker = [("TOKIO_WORKER_THREADS", "1")];
    let behind = match place {
        Place::Start => strace::before(&["-e", &expression], &trace),
        Place::Writer | Place::Checkpointer | Place::Worker => Vec::new(),
    };
    let mut daemon = ground.launch(&behind, &one_worker)?;
    let end = match place {
        Place::Start => match daemon.ready().await {
            Ok(()) => {
                daemon.kill().await?;
                End::Finished
            }
            Err(_) => End::Killed,
        },
        Place::Writer | Place::Checkpointer | Place::Worker => {
            daemon.ready().await?;
            let (thread, load) = match place {
                Place::Checkpointer => {
                    ground.fill_log(daemon.sip_addr(), ledger).await?;
                    (strace::checkpointer(&daemon).await?, LONG_SCRIPT)
                }
                Place::Worker => (strace::worker(&daemon).await?, SCRIPT),
                Place::Start | Place::Writer => (strace::writer(&daemon).await?, SCRIPT),
            };
            let strace =
                Strace::attach(Tracee::Thread(thread), &["-e", &expression], &trace).await?;
            let end = script(ground, &mut daemon, ledger, load).await?;
            drop(strace);
            end
        }
    };
    ground.take(ledger).await?;
    ledger.end_life();
    Ok(end)
}

async fn script(
    ground: &mut Ground,
    daemon: &mut Daemon,
    ledger: &mut Ledger,
    load: Load,
) -> anyhow::Result<End> {
    // Killed in the handshake, nothing was sent.
    if let Ok(generator) = ground.connect(daemon.sip_addr(), load.connections).await {
        ground.send(generator, ledger, load).await?;
    }
    let _ = ask_to_end(daemon); // killed already, as is meant
    let status = daemon.wait(PATIENCE).await?;
    if status.success() {
        return Ok(End::Finished);
    }
    ensure!(status.code().is_none(), "{status}: {:#?}", daemon.logs());
    Ok(End::Killed)
}

impl fmt::Display for KillPointsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, calls, kills) in &self.struck {
            writeln!(f, "{name}: {calls} calls, killed at {kills} of them")?;
        }
        write!(
            f,
            "in {:.0} s: {}",
            self.elapsed.as_secs_f64(),
            self.balance
        )
    }
}

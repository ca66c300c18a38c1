//! `io-faults`: the n-th call of the spool's thread that changes a file fails, for every n of a script.
//!
//! The script: 20 MESSAGEs that all go through the spool; what is answered 503 is sent again until it is answered 200. strace
//! lets the n-th call fail with EIO, with ENOSPC, or write nothing and say so. Writes that are cut short in their middle
//! are the kernel's own: the size of files is limited (RLIMIT_FSIZE) to the n-th step beyond what the log has, until the
//! first 503 or the end of the script; lifting it is the space that returns.
//!
//! The same for the thread that folds the log in, over 50 MESSAGEs. And over a start: the script, kill -9, and a start whose
//! n-th call fails. It serves, or it says what is wrong with its spool and exits.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use pushrelay_peers::{Daemon, WorldOptions};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::ground::{DISPATCHED, Ground, Load, PATIENCE};
use super::ledger::{Balance, Ledger, NOTHING};
use super::strace::{self, Strace, Tracee};
use crate::generator::{Pace, Plan, Tally};

/// How thoroughly.
#[derive(Clone, Debug, clap::Args)]
pub struct IoFaultsPlan {
    /// Strike at every so-many-th call
    #[arg(long, default_value_t = 1)]
    pub every: usize,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct IoFaultsReport {
    /// Each fault, at how many calls it struck, and how many 503 gave which reason.
    pub struck: Vec<(&'static str, usize, BTreeMap<String, u64>)>,
    /// The books over all rounds.
    pub balance: Balance,
    /// From the first start to the last end.
    pub elapsed: Duration,
}

/// A way to fail.
#[derive(Clone, Copy)]
struct Fault {
    name: &'static str,
    kind: Kind,
    /// What a 503 may say.
    reasons: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Kind {
    /// These calls of the thread that writes, so.
    Call(&'static str, &'static str),
    /// These calls of the thread that folds the log in, so.
    Fold(&'static str, &'static str),
    /// Files may not grow.
    FileSize,
    /// Every call on the spool's files, so, while the daemon starts over what another has left.
    Start(&'static str),
}

const FULL: &str = "the queue of waiting pushes is full";
const TROUBLE: &str = "the disk for waiting pushes is in trouble";

/// Calls that change a file.
const CHANGES: &str = "pwrite64,fsync,fdatasync,ftruncate,fallocate,?unlink,unlinkat";

/// Every call on a file.
const ALL: &str = "openat,read,pread64,pwrite64,fsync,fdatasync,ftruncate,fallocate,?stat,?newfstatat,?fstat,?statx,fcntl,\
                   ?unlink,unlinkat";

const FAULTS: [Fault; 8] = [
    Fault {
        name: "EIO",
        kind: Kind::Call(CHANGES, "error=EIO"),
        reasons: &[TROUBLE],
    },
    Fault {
        name: "ENOSPC at a write",
        kind: Kind::Call("pwrite64", "error=ENOSPC"),
        reasons: &[FULL],
    },
    Fault {
        name: "ENOSPC at anything else",
        kind: Kind::Call(
            "fsync,fdatasync,ftruncate,fallocate,?unlink,unlinkat",
            "error=ENOSPC",
        ),
        reasons: &[FULL, TROUBLE],
    },
    Fault {
        name: "nothing written",
        kind: Kind::Call("pwrite64", "retval=0"),
        reasons: &[FULL, TROUBLE],
    },
    Fault {
        name: "short write",
        kind: Kind::FileSize,
        reasons: &[FULL, TROUBLE],
    },
    Fault {
        name: "EIO while the log is folded in",
        kind: Kind::Fold(CHANGES, "error=EIO"),
        reasons: &[TROUBLE],
    },
    Fault {
        name: "ENOSPC while the log is folded in",
        kind: Kind::Fold("pwrite64", "error=ENOSPC"),
        reasons: &[FULL],
    },
    Fault {
        name: "EIO at a start",
        kind: Kind::Start("error=EIO"),
        reasons: &[TROUBLE],
    },
];

/// By how much the limit of a file's size is raised from case to case: not a divisor of a frame of the log (24 + 4096
/// octets), so that it falls into every part of one.
const STEP: u64 = 1237;

/// How long a 503 is left alone before its MESSAGE is sent again.
const PAUSE: Duration = Duration::from_millis(30);

const SCRIPT: Plan = Plan {
    pace: Pace::Window(4),
    messages: 20,
    at_most: PATIENCE,
};

/// Enough for the log to be folded in.
const LONG_SCRIPT: Plan = Plan {
    messages: 50,
    ..SCRIPT
};

/// What a start finds.
const LEFT: Load = Load {
    connections: 1,
    window: 4,
    messages: 20,
};

/// Carries it out.
pub async fn run(daemon: &Path, plan: &IoFaultsPlan) -> anyhow::Result<IoFaultsReport> {
    let mut report = IoFaultsReport::default();
    let start = Instant::now();
    let mut ground = Ground::lay(daemon, WorldOptions::default()).await?;
    ground.reply_within("0s");
    for fault in FAULTS {
        let (mut n, mut struck, mut reasons) = (1, 0, BTreeMap::new());
        loop {
            let case = || format!("{}, case {n}", fault.name);
            let mut ledger = Ledger::default();
            let strikes = round(&mut ground, fault, n, &mut ledger, &mut reasons)
                .await
                .with_context(case)?;
            ground.aftermath(&mut ledger).await.with_context(case)?;
            report
                .balance
                .add(ledger.balance(DISPATCHED, &NOTHING).with_context(case)?);
            if !strikes {
                break;
            }
            struck += 1;
            n += plan.every;
        }
        ensure!(struck > 0, "{}: nothing was struck", fault.name);
        report.struck.push((fault.name, struck, reasons));
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

/// The script over an empty spool with one fault, then kill -9; whether the fault struck.
async fn round(
    ground: &mut Ground,
    fault: Fault,
    n: usize,
    ledger: &mut Ledger,
    reasons: &mut BTreeMap<String, u64>,
) -> anyhow::Result<bool> {
    ground.new_spool()?;
    if let Kind::Start(action) = fault.kind {
        return start(ground, action, n, ledger).await;
    }
    // A write beyond the limit is an error to see, and no signal to die of.
    let ignoring = ["sh", "-c", r#"trap "" XFSZ; exec "$@""#, "sh"].map(Into::into);
    let mut daemon = ground.launch(&ignoring, &[])?;
    daemon.ready().await?;
    let mut script = Script {
        ground,
        address: daemon.sip_addr(),
        ledger,
        reasons,
        allowed: fault.reasons,
    };
    let struck = match fault.kind {
        Kind::Call(calls, action) | Kind::Fold(calls, action) => {
            let (thread, plan) = if matches!(fault.kind, Kind::Call(..)) {
                (strace::writer(&daemon).await?, SCRIPT)
            } else {
                let (address, ledger) = (script.address, &mut *script.ledger);
                script.ground.fill_log(address, ledger).await?;
                (strace::checkpointer(&daemon).await?, LONG_SCRIPT)
            };
            let expression = format!("inject={calls}:{action}:when={n}");
            let trace = script.ground.world.dir.path().join("strace");
            let options = ["-e", expression.as_str()];
            let strace = Strace::attach(Tracee::Thread(thread), &options, &trace).await?;
            script.run(plan, || Ok(())).await?;
            daemon.kill().await?;
            strace.ended().await?;
            fs::read_to_string(&trace)?.contains("(INJECTED)")
        }
        Kind::FileSize => {
            let log = PathBuf::from(format!("{}-wal", script.ground.spool().display()));
            let limit = log.metadata()?.len() + STEP * n as u64;
            limit_file_size(&daemon, Some(limit))?;
            script
                .run(SCRIPT, || limit_file_size(&daemon, None))
                .await?;
            let grown = log.metadata()?.len();
            daemon.kill().await?;
            grown >= limit
        }
        Kind::Start(_) => bail!("no script: it has a round of its own"),
    };
    ground.take(ledger).await?;
    ledger.end_life();
    Ok(struck)
}

/// A life that leaves entries behind, then a start with one fault; whether it struck.
async fn start(
    ground: &mut Ground,
    action: &str,
    n: usize,
    ledger: &mut Ledger,
) -> anyhow::Result<bool> {
    ground.world.apple.refuse_connects().await;
    let mut daemon = ground.start().await?;
    let generator = ground.connect(daemon.sip_addr(), 1).await?;
    ground.send(generator, ledger, LEFT).await?;
    daemon.kill().await?;
    ledger.end_life();
    let spool = ground.spool().display().to_string();
    let [log, index] = ["-wal", "-shm"].map(|suffix| format!("{spool}{suffix}"));
    let expression = format!("inject={ALL}:{action}:when={n}");
    let options = ["-P", &spool, "-P", &log, "-P", &index, "-e", &expression];
    let trace = ground.world.dir.path().join("strace");
    let mut daemon = ground.launch(&strace::before(&options, &trace), &[])?;
    let process = daemon.pid().context("a daemon that runs")?;
    match daemon.ready().await {
        Ok(()) => _ = daemon.kill().await?,
        Err(error) => {
            let status = daemon.wait(PATIENCE).await?;
            let logs = daemon.logs();
            let named = logs.last().is_some_and(|line| line.contains(&spool));
            ensure!(
                status.code() == Some(1) && named,
                "{error}, {status}; expected exit code 1 and the spool's name at last: {logs:#?}"
            );
        }
    }
    ground.world.apple.accept_connects().await?;
    Ok(strace::whole(&trace, process).await?.contains("(INJECTED)"))
}

/// What the sender does.
struct Script<'a> {
    ground: &'a mut Ground,
    address: SocketAddr,
    ledger: &'a mut Ledger,
    reasons: &'a mut BTreeMap<String, u64>,
    allowed: &'static [&'static str],
}

impl Script<'_> {
    /// Sends until all is answered 200; calls `mend` after the first time that not all is. What is sent again has a connection
    /// of its own: on the old one it would be a retransmission, which gets the old answer.
    async fn run(
        &mut self,
        plan: Plan,
        mend: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut generator = self.ground.connect(self.address, 1).await?;
        let mut tally = generator.drive(plan).await?.unbroken()?;
        self.ground.went_to(&generator);
        loop {
            self.heed(&tally)?;
            let open = self.ledger.open();
            mend()?;
            if open.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "no recovery: {open:?}");
            tokio::time::sleep(PAUSE).await;
            let mut generator = self.ground.connect(self.address, 1).await?;
            tally = generator.repeat(open, 4).await?.unbroken()?;
        }
    }

    /// Every MESSAGE has its answer, and every refusal its reason.
    fn heed(&mut self, tally: &Tally) -> anyhow::Result<()> {
        ensure!(tally.lost() == 0, "unanswered: {:?}", tally.unanswered);
        self.ledger.hear(tally);
        for refusal in &tally.refusals {
            let said = refusal.reason();
            let Some(reason) = self.allowed.iter().find(|reason| said.contains(**reason)) else {
                bail!("503 with another reason than {:?}: {said:?}", self.allowed);
            };
            ensure!(refusal.retry_after().is_some(), "503 without Retry-After");
            *self.reasons.entry((*reason).to_owned()).or_default() += 1;
        }
        Ok(())
    }
}

/// Limits the size of what the daemon may write, or lifts the limit.
fn limit_file_size(daemon: &Daemon, limit: Option<u64>) -> anyhow::Result<()> {
    let process = daemon.pid().and_then(|id| Pid::from_raw(id.cast_signed()));
    let limit = Rlimit {
        current: limit,
        maximum: None,
    };
    prlimit(process, Resource::Fsize, limit).context("RLIMIT_FSIZE of the daemon")?;
    Ok(())
}

impl fmt::Display for IoFaultsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, struck, reasons) in &self.struck {
            write!(f, "{name}: struck {struck} times;")?;
            for (reason, count) in reasons {
                write!(f, " {count} × 503 {reason:?};")?;
            }
            writeln!(f)?;
        }
        write!(
            f,
            "in {:.0} s: {}",
            self.elapsed.as_secs_f64(),
            self.balance
        )
    }
}

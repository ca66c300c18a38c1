//! The system calls of the daemon, struck or watched by `strace`.
//!
//! strace counts the calls of each thread by itself. So a proof strikes at one thread: the n-th call then is one call.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pushrelay_peers::Daemon;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// Every call that changes a file or sends something. What an architecture does not have is left out by the question mark.
pub(super) const CHANGES: &str = "write,writev,sendto,sendmsg,pwrite64,fsync,fdatasync,ftruncate,\
                           ?rename,renameat,?renameat2,?unlink,unlinkat";

/// A tracer that is attached to a running daemon. It ends with the daemon, or when this value is dropped; the daemon then
/// goes on untraced.
pub struct Strace {
    child: Child,
}

/// What is traced.
#[derive(Clone, Copy, Debug)]
pub enum Tracee {
    /// One thread.
    Thread(u32),
    /// All threads of a process, new ones too.
    Process(u32),
}

/// How long strace may take to attach or to end.
const PATIENCE: Duration = Duration::from_secs(60);

impl Strace {
    /// Attaches to what runs.
    pub async fn attach(tracee: Tracee, options: &[&str], output: &Path) -> anyhow::Result<Strace> {
        let mut command = Command::new("strace");
        let id = match tracee {
            Tracee::Thread(id) => id,
            Tracee::Process(id) => {
                command.arg("-f");
                id
            }
        };
        let mut child = command
            .args(options)
            .args(["-p", &id.to_string(), "-o"])
            .arg(output)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("strace (Debian: apt-get install strace)")?;
        let mut said = BufReader::new(child.stderr.take().context("its errors")?);
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, said.read_line(&mut line)).await??;
        ensure!(line.contains(" attached"), "strace: {line}");
        // What it says at its end nobody needs; but it must not be held up saying it.
        tokio::spawn(async move { said.read_to_end(&mut Vec::new()).await });
        Ok(Strace { child })
    }

    /// Waits for its end after the daemon's; all that it saw has been written then.
    pub(super) async fn ended(mut self) -> anyhow::Result<()> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        // Killed as its tracee was, or not: strace ends as that did.
        ensure!(status.code() != Some(1), "strace ended with {status}");
        Ok(())
    }
}

/// The words that put strace before the daemon's start, on all its threads.
pub(super) fn before(options: &[&str], output: &Path) -> Vec<OsString> {
    let options = options.iter().copied();
    let words = ["strace", "-D", "-f", "-q"].into_iter().chain(options);
    let mut words: Vec<OsString> = words.chain(["-o"]).map(OsString::from).collect();
    words.push(output.into());
    words
}

/// What a strace that was put before a daemon has seen, when that process has ended.
pub(super) async fn whole(output: &Path, process: u32) -> anyhow::Result<String> {
    let (start, process) = (Instant::now(), format!("{process} "));
    loop {
        let seen = fs::read_to_string(output)?;
        let mut of_process = seen.lines().filter(|line| line.starts_with(&process));
        if of_process.any(|line| line.ends_with("+++")) {
            return Ok(seen);
        }
        ensure!(start.elapsed() < PATIENCE, "strace has not come to its end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The one thread of the daemon that writes the spool.
pub(super) async fn writer(daemon: &Daemon) -> anyhow::Result<u32> {
    thread(daemon, "spool", "").await
}

/// The one thread that folds the log of the spool into its database; it comes with the first time there is enough to fold in.
pub(super) async fn checkpointer(daemon: &Daemon) -> anyhow::Result<u32> {
    thread(daemon, "checkpointer", "").await
}

/// The one thread of the daemon that speaks: the worker of its runtime.
///
/// The threads for blocking calls bear the same name, and any of them may become the worker. But only the worker waits for
/// sockets.
pub(super) async fn worker(daemon: &Daemon) -> anyhow::Result<u32> {
    thread(daemon, "tokio-rt-worker", "poll").await
}

/// The only thread with this name that waits in a kernel function whose name contains `wait`; waits until there is one.
async fn thread(daemon: &Daemon, name: &str, wait: &str) -> anyhow::Result<u32> {
    let process = daemon.pid().context("a daemon that runs")?;
    let start = Instant::now();
    loop {
        let mut found = Vec::new();
        for entry in fs::read_dir(format!("/proc/{process}/task"))? {
            let task = entry?.path();
            // A thread may end meanwhile.
            let read = |file| fs::read_to_string(task.join(file)).unwrap_or_default();
            if read("comm").trim_end() == name && read("wchan").contains(wait) {
                let id = task.file_name().and_then(|id| id.to_str()?.parse().ok());
                found.push(id.context("a number")?);
            }
        }
        if let [thread] = found[..] {
            return Ok(thread);
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "the daemon has no one thread {name:?} that waits in *{wait}*: {found:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether `strace` is there and may trace. Where it is not, there is nothing to prove.
pub fn is_here() -> bool {
    let here = std::process::Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    here.is_ok_and(|status| status.success())
}

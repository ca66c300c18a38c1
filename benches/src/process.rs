//! The processes of a run: the relay or the floor that is measured, and the fake Apple behind it.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use pushrelay_benches::cpu;

/// What is measured: a process that takes SIP and says where.
pub(crate) struct Subject {
    child: Child,
    /// Where it takes SIP.
    pub(crate) address: SocketAddr,
    last_lines: LastLines,
}

/// A process has this long to listen and as long to end: under valgrind each takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of a process's log is shown when it fails.
const LAST_LINES: usize = 20;

type LastLines = Arc<Mutex<VecDeque<String>>>;

impl Subject {
    /// Starts the relay or the floor and waits until it listens.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Subject> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {:?}", command.get_program()))?;
        let log = child.stderr.take().context("its log")?;
        let last_lines = LastLines::default();
        let (listening, address) = mpsc::channel();
        let kept = Arc::clone(&last_lines);
        thread::spawn(move || read_log(BufReader::new(log), &listening, &kept));
        match await_address(&address) {
            Some(address) => Ok(Subject {
                child,
                address,
                last_lines,
            }),
            None => {
                let _ = child.kill(); // gone already is as good
                let status = child.wait()?;
                let said = joined(&last_lines);
                bail!(
                    "{:?} does not listen ({status}):\n{said}",
                    command.get_program()
                )
            }
        }
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu::of_process(self.child.id())
    }

    /// The resident memory now and at its highest, MiB.
    pub(crate) fn memory(&self) -> anyhow::Result<(f64, f64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mebibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kibibytes / 1024.0)
        };
        let now = mebibytes("VmRSS:").context("VmRSS in /proc/PID/status")?;
        let most = mebibytes("VmHWM:").context("VmHWM in /proc/PID/status")?;
        Ok((now, most))
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let sent = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .context("kill")?;
        anyhow::ensure!(sent.success(), "no SIGTERM could be sent");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!("it ended with {status}:\n{}", joined(&self.last_lines));
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("it does not end:\n{}", joined(&self.last_lines))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill(); // ended already is as good
        let _ = self.child.wait();
    }
}

/// Reads a log to its end, keeps its last lines, tells where SIP is listened for.
fn read_log(log: impl BufRead, listening: &Sender<SocketAddr>, kept: &LastLines) {
    for line in log.lines().map_while(Result::ok) {
        if let Some(address) = sip_address(&line) {
            let _ = listening.send(address); // nobody waits any more
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == LAST_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}

fn sip_address(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = &line["fields"];
    if fields["message"] != "listening" || fields["listener"] != "sip" {
        return None;
    }
    fields["address"].as_str()?.parse().ok()
}

fn await_address(address: &Receiver<SocketAddr>) -> Option<SocketAddr> {
    address.recv_timeout(PATIENCE).ok()
}

fn joined(lines: &LastLines) -> String {
    let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    Vec::from(lines.clone()).join("\n")
}

/// The fake Apple in a process of its own, so that its work is not counted as anybody else's.
pub(crate) struct Apple {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Apple {
    /// Starts `command`, which says its address and then, for each line of input, how many pushes it has accepted.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Apple> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the fake Apple")?;
        let input = child.stdin.take().context("its input")?;
        let mut output = BufReader::new(child.stdout.take().context("its output")?);
        let address = line(&mut output)?.parse()?;
        Ok(Apple {
            child,
            input,
            output,
            address,
        })
    }

    /// How many pushes it has accepted since the start.
    pub(crate) fn accepted(&mut self) -> anyhow::Result<u64> {
        self.input.write_all(b"\n")?;
        Ok(line(&mut self.output)?.parse()?)
    }
}

fn line(output: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    anyhow::ensure!(!line.is_empty(), "the fake Apple has ended");
    Ok(line.trim_end().to_owned())
}

impl Drop for Apple {
    fn drop(&mut self) {
        let _ = self.child.kill(); // ended already is as good
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sip_listener_is_the_address() {
        let line = r#"{"level":"INFO","fields":{"message":"listening","listener":"sip","address":"127.0.0.1:7"}}"#;
        assert_eq!(
            sip_address(line),
            Some(SocketAddr::from(([127, 0, 0, 1], 7)))
        );
        assert_eq!(sip_address(&line.replace("\"sip\"", "\"admin\"")), None);
        assert_eq!(sip_address("plain"), None);
    }
}

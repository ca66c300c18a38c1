//! The disk fails, the process dies: nothing that was acknowledged is lost, nothing is acknowledged that was not written.
//!
//! A child process (this test binary again) works on a spool and tells on its standard output what it was told. It is
//! killed, or its system calls are made to fail by `strace`. Then the file is opened again and compared.
//!
//! `EVERY=1` strikes at every system call instead of every seventh; `ROUNDS=1000` kills so often; `SEED` repeats a run.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pushrelay_spool::{Cursor, Entry, Filter, Lane, Options, Settlement, Spool, SpoolError, State};
use uuid::Uuid;

const LANE: Lane = Lane(0);
const HOLD: Duration = Duration::from_secs(3600);
const DEADLINE: Duration = Duration::from_secs(60);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn entry(number: u64) -> Entry {
    Entry {
        id: Uuid::from_u64_pair(1, number),
        lane: LANE,
        owner: "contoso".into(),
        due: now(),
        expiry: None,
        collapse: None,
        came: UNIX_EPOCH,
        said: None,
        counted: 0,
        deferred: 0,
        bytes: number.to_be_bytes().repeat(100),
    }
}

fn number(id: Uuid) -> u64 {
    id.as_u64_pair().1
}

/// What the child says, a line each: an append was acknowledged; a settlement was begun; it was acknowledged.
#[derive(Debug, Default)]
struct Told {
    appended: BTreeSet<u64>,
    begun: BTreeSet<u64>,
    settled: BTreeSet<u64>,
    /// The words of errors, in order.
    errors: Vec<String>,
    /// Whether the script came to its end.
    finished: bool,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "appended" => drop(self.appended.insert(rest.parse().unwrap())),
            "begun" => drop(self.begun.insert(rest.parse().unwrap())),
            "settled" => drop(self.settled.insert(rest.parse().unwrap())),
            "error" => self.errors.push(rest.to_owned()),
            "finished" => self.finished = true,
            _ => {} // the test harness
        }
    }

    /// Opens what is left and compares.
    fn verify(&self, dir: &Path, case: &str) {
        let waiting = block_on(async {
            let spool = Spool::open(dir.join("spool.db"), Options::default()).unwrap();
            assert_eq!(spool.check().await.unwrap(), [] as [String; 0], "{case}");
            let mut waiting = BTreeSet::new();
            let mut cursor = Some(Cursor::default());
            while let Some(after) = cursor {
                let page = spool
                    .list(Filter::default(), after, 1000, now())
                    .await
                    .unwrap();
                waiting.extend(page.list.iter().map(|summary| number(summary.id)));
                assert!(
                    page.list
                        .iter()
                        .all(|summary| summary.state == State::Waiting)
                );
                cursor = page.next;
            }
            spool.close().await;
            waiting
        });
        for n in self.appended.difference(&self.begun) {
            assert!(
                waiting.contains(n),
                "{case}: {n} was acknowledged and is lost"
            );
        }
        for n in &self.settled {
            assert!(!waiting.contains(n), "{case}: {n} was settled and is back");
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn say(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    // The parent may have gone; then nobody listens any more.
    let _ = writeln!(out, "{line}");
}

/// Not a test: what the child process does.
#[test]
#[ignore = "started by the other tests"]
fn child() {
    let Ok(dir) = std::env::var("SPOOL_DIR") else {
        return;
    };
    say(format_args!("")); // the harness has begun a line
    let first: u64 = std::env::var("SPOOL_FIRST").unwrap().parse().unwrap();
    let script = std::env::var("SPOOL_SCRIPT").unwrap();
    block_on(async {
        let mut options = Options::default();
        if script != "plain steps" {
            // The log is folded in beside the steps and begun anew, and ids go to the disk.
            (options.fold_pages, options.log_pages) = (8, 40);
            options.recent_ids = 4;
        }
        let spool = Spool::open(Path::new(&dir).join("spool.db"), options).unwrap();
        match script.as_str() {
            "steps" | "plain steps" => steps(&spool, first).await,
            _ => load(&spool, first).await,
        }
        spool.close().await;
        say(format_args!("finished"));
    });
}

/// Twenty appends, one after the other; every fifth is followed by a settlement. What fails is tried again.
async fn steps(spool: &Spool, first: u64) {
    let deadline = Instant::now() + DEADLINE;
    let again = |error: SpoolError| {
        say(format_args!("error {}", error.label()));
        assert!(Instant::now() < deadline, "no recovery");
        thread::sleep(Duration::from_millis(20)); // nothing else runs in this process
    };
    for n in first..first + 20 {
        while let Err(error) = spool.append(vec![entry(n)], now()).await {
            again(error);
        }
        say(format_args!("appended {n}"));
        if n % 5 == 0 {
            let mut lease = loop {
                match spool.lease(LANE, 1, HOLD, now()).await {
                    Ok(mut leases) => break leases.list.remove(0),
                    Err(error) => again(error),
                }
            };
            let settled = number(lease.id);
            say(format_args!("begun {settled}"));
            while let Err(unsettled) = spool.settle(lease, Settlement::Done, now()).await {
                again(unsettled.error);
                lease = unsettled.lease;
            }
            say(format_args!("settled {settled}"));
        }
    }
}

/// As much at once as there is, for ever.
async fn load(spool: &Spool, first: u64) {
    let mut tasks = Vec::new();
    for worker in 0..32 {
        let spool = spool.clone();
        tasks.push(tokio::spawn(async move {
            for step in 0.. {
                let n = first + worker + 32 * step;
                spool.append(vec![entry(n)], now()).await.unwrap();
                say(format_args!("appended {n}"));
                for lease in spool.lease(LANE, 1, HOLD, now()).await.unwrap().list {
                    let n = number(lease.id);
                    say(format_args!("begun {n}"));
                    spool.settle(lease, Settlement::Done, now()).await.unwrap();
                    say(format_args!("settled {n}"));
                }
                spool
                    .append(vec![entry(n + (1 << 32))], now())
                    .await
                    .unwrap();
                say(format_args!("appended {}", n + (1 << 32)));
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// Starts the child, under `strace` where an expression for it is given: `inject=…` strikes only at the spool's files.
fn start(dir: &Path, script: &str, first: u64, strace: Option<&str>) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = match strace {
        None => Command::new(program),
        Some(expression) => {
            let mut strace = Command::new("strace");
            strace
                .args(["-f", "-y", "-qq", "-o"])
                .arg(dir.join("strace"));
            if expression.starts_with("inject") {
                for name in ["spool.db", "spool.db-wal"] {
                    strace.arg("-P").arg(dir.join(name));
                }
            }
            strace.args(["-e", expression]).arg(program);
            strace
        }
    };
    command
        .args([
            "child",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("SPOOL_DIR", dir)
        .env("SPOOL_FIRST", first.to_string())
        .env("SPOOL_SCRIPT", script)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets the child come to its end and tells what it said.
fn listen(mut child: Child, case: &str) -> Told {
    let mut told = Told::default();
    let mut errors = child.stderr.take().unwrap();
    let stderr = thread::spawn(move || {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text); // only for the message of an assertion
        text
    });
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        told.hear(&line.unwrap());
    }
    child.wait().unwrap();
    let text = stderr.join().unwrap();
    assert!(!text.contains("panicked"), "{case}: {text}");
    told
}

/// A number from the environment, or what is good enough for every day.
fn setting(name: &str, otherwise: u64) -> u64 {
    let value = std::env::var(name).map(|value| value.parse().unwrap());
    let value = value.unwrap_or(otherwise);
    eprintln!("{name}={value}");
    value
}

/// Which calls to strike at, in turn, until there are no more.
fn calls() -> impl Iterator<Item = usize> {
    (1..).step_by(usize::try_from(setting("EVERY", 7)).unwrap())
}

/// `strace` is not everywhere; without it there is nothing to test.
fn has_strace() -> bool {
    let here = Command::new("strace").arg("-V").output().is_ok();
    if !here {
        eprintln!("skipped: no strace here (Debian: apt-get install strace)");
    }
    here
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    // The schema is there before anything fails: an open that fails is an error of its own.
    block_on(async {
        let spool = Spool::open(path.join("spool.db"), Options::default()).unwrap();
        spool.close().await;
    });
    (dir, path)
}

/// Under load, killed at any moment, again and again on the same file.
#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let mut dice = setting("SEED", 0x5eed);
    let rounds = setting("ROUNDS", 8);
    let (_dir, path) = place();
    let mut told = Told::default();
    for round in 0..rounds {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let patience = 1 + (dice >> 33) % 400;
        let mut child = start(&path, "load", round << 40, None);
        let (line, lines) = mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            for text in BufReader::new(stdout).lines() {
                let _ = line.send(text.unwrap()); // the receiver outlives this thread
            }
        });
        // After so many lines, whatever they are: a moment of its own in every round, on every machine.
        let mut heard = 0;
        for text in &lines {
            told.hear(&text);
            heard += u64::from(text.starts_with("appended"));
            if heard == patience {
                child.kill().unwrap();
            }
        }
        reader.join().unwrap();
        child.wait().unwrap();
        told.verify(&path, &format!("round {round}"));
    }
    assert!(told.appended.len() as u64 >= rounds);
}

/// Killed at every write, sync and truncation of the script, one after the other.
#[test]
fn nothing_acknowledged_is_lost_by_a_kill_at_any_system_call() {
    if !has_strace() {
        return;
    }
    let names = "pwrite64,write,fsync,fdatasync,ftruncate,unlink";
    for n in calls() {
        let case = format!("killed at call {n}");
        let (_dir, path) = place();
        let fault = format!("inject={names}:signal=SIGKILL:when={n}");
        let told = listen(start(&path, "steps", 0, Some(&fault)), &case);
        told.verify(&path, &case);
        if told.finished {
            assert!(n > 40, "{n} calls are too few for twenty appends");
            break;
        }
    }
}

/// Promise 1, in the order of system calls: no acknowledgement while the log holds something that was not synced.
#[test]
fn every_acknowledgement_comes_after_its_sync() {
    if !has_strace() {
        return;
    }
    let (_dir, path) = place();
    let traced = "trace=pwrite64,write,fsync,fdatasync";
    // One thread alone: the lines are in the order of the calls.
    let told = listen(start(&path, "plain steps", 0, Some(traced)), traced);
    assert!(told.finished);
    let (mut unsynced, mut seen) = (0, 0);
    for line in std::fs::read_to_string(path.join("strace"))
        .unwrap()
        .lines()
    {
        let at_log = line.contains("spool.db-wal>");
        if at_log && line.contains("write") {
            unsynced += 1;
        } else if at_log && line.contains("sync(") && line.ends_with(" = 0") {
            unsynced = 0;
        } else if line.contains("\"appended ") || line.contains("\"settled ") {
            assert_eq!(unsynced, 0, "{line}");
            seen += 1;
        }
    }
    assert_eq!(seen, 24);
}

/// Each call in turn fails once: the append is refused, and by itself all goes on.
fn each_failing_call_is_survived(call: &str, error: &str, expected: &[&str]) {
    if !has_strace() {
        return;
    }
    let mut struck = 0;
    for n in calls() {
        let case = format!("{call} {n} fails with {error}");
        let (_dir, path) = place();
        let fault = format!("inject={call}:{error}:when={n}");
        let told = listen(start(&path, "steps", 0, Some(&fault)), &case);
        assert!(told.finished, "{case}: {told:?}");
        assert_eq!((told.appended.len(), told.settled.len()), (20, 4), "{case}");
        for label in &told.errors {
            assert!(expected.contains(&label.as_str()), "{case}: {label}");
        }
        told.verify(&path, &case);
        let trace = std::fs::read_to_string(path.join("strace")).unwrap();
        if !trace.contains("(INJECTED)") {
            break;
        }
        struck += 1;
    }
    assert!(struck > 0, "{call} is never called");
}

#[test]
fn each_sync_that_fails_is_survived() {
    each_failing_call_is_survived("fdatasync,fsync", "error=EIO", &["io"]);
}

#[test]
fn each_write_that_fails_is_survived() {
    each_failing_call_is_survived("pwrite64,write", "error=EIO", &["io"]);
}

#[test]
fn each_write_without_room_is_survived() {
    each_failing_call_is_survived("pwrite64,write", "error=ENOSPC", &["disk"]);
}

#[test]
fn each_short_write_is_survived() {
    // Nothing was written, and no error is given: SQLite calls that a full disk.
    each_failing_call_is_survived("pwrite64,write", "retval=0", &["disk", "io"]);
}

/// Every sync from the tenth on fails, for ever: nothing more is acknowledged.
#[test]
fn a_disk_that_syncs_no_more_acknowledges_nothing() {
    if !has_strace() {
        return;
    }
    let (_dir, path) = place();
    let fault = "inject=fdatasync,fsync:error=EIO:when=10+";
    let mut child = start(&path, "steps", 0, Some(fault));
    let mut told = Told::default();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        told.hear(&line.unwrap());
        if told.errors.len() == 10 {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    assert!(told.appended.len() < 10, "{told:?}");
    assert!(told.errors.iter().all(|label| label == "io"), "{told:?}");
    // The tracee may outlive its tracer for a moment.
    let deadline = Instant::now() + DEADLINE;
    while Spool::open(path.join("spool.db"), Options::default()).is_err() {
        assert!(Instant::now() < deadline);
    }
}

//! What a spool costs: `weigh DIR ENTRIES [RATE]` fills it, opens it again, empties it in part, and prints times and
//! memory. With a rate, so many appends a second begin whatever became of those before (open loop, for ten seconds).
//!
//! Not a benchmark of a disk: put DIR on the disk that matters.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use pushrelay_spool::{Entry, Lane, Options, Settlement, Spool, State};
use uuid::Uuid;

const LANE: Lane = Lane(0);
/// Callers at once, and the bytes of an entry: a MESSAGE of one kilobyte.
const CALLERS: u64 = 64;
const BYTES: usize = 1000;
const HOLD: Duration = Duration::from_secs(60);

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(count)) = (arguments.next(), arguments.next()) else {
        return Err("usage: weigh DIR ENTRIES [RATE]".into());
    };
    let rate = arguments.next().map(|rate| rate.parse()).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(weigh(Path::new(&dir), count.parse()?, rate))
}

async fn weigh(dir: &Path, count: u64, rate: Option<u64>) -> Result<(), Failure> {
    let path = dir.join("weigh.db");
    let options = Options {
        lane_entries: u64::MAX,
        lane_bytes: u64::MAX,
        owner_entries: u64::MAX,
        owner_bytes: u64::MAX,
        ..Options::default()
    };
    let spool = Spool::open(&path, options.clone())?;
    println!("empty: resident {} MiB", resident_mib()?);

    let (seconds, latencies) = crowd(&spool, count, append).await?;
    report("append", count, seconds, latencies, &spool);
    // The log is left behind, as after a crash.
    let copy = dir.join("weigh-crashed.db");
    std::fs::copy(&path, &copy)?;
    std::fs::copy(dir.join("weigh.db-wal"), dir.join("weigh-crashed.db-wal"))?;
    spool.close().await;

    let begun = Instant::now();
    let spool = Spool::open(&copy, options)?;
    let waiting = spool
        .stats(SystemTime::now())
        .await?
        .count(LANE, State::Waiting);
    println!(
        "open after a crash: {:.1} ms, {} entries, {} MiB on disk, resident {} MiB",
        begun.elapsed().as_secs_f64() * 1e3,
        waiting.entries,
        std::fs::metadata(&copy)?.len() >> 20,
        resident_mib()?
    );

    if let Some(rate) = rate {
        let (seconds, latencies) = stream(&spool, rate).await?;
        report(
            "append in an open loop",
            10 * rate,
            seconds,
            latencies,
            &spool,
        );
    }
    let (seconds, latencies) = crowd(&spool, count.min(20_000), append_more).await?;
    report(
        "append to a full one",
        count.min(20_000),
        seconds,
        latencies,
        &spool,
    );
    let rounds = count.min(64_000) / 64;
    let (seconds, latencies) = crowd(&spool, rounds, settle_64).await?;
    report(
        "lease 64 and settle them",
        rounds,
        seconds,
        latencies,
        &spool,
    );
    spool.close().await;
    for name in [
        "weigh.db",
        "weigh.db-wal",
        "weigh-crashed.db",
        "weigh-crashed.db-wal",
    ] {
        std::fs::remove_file(dir.join(name))?;
    }
    Ok(())
}

/// Lets all callers work until `count` steps are done; seconds, and the microseconds of each step.
async fn crowd<F>(
    spool: &Spool,
    count: u64,
    step: impl Fn(Spool, u64) -> F + Clone + Send + 'static,
) -> Result<(f64, Vec<u64>), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send,
{
    let begun = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..CALLERS {
        let (spool, next, step) = (spool.clone(), Arc::clone(&next), step.clone());
        tasks.push(tokio::spawn(async move {
            let mut micros = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok::<_, Failure>(micros);
                }
                let begun = Instant::now();
                step(spool.clone(), number).await?;
                micros.push(begun.elapsed().as_micros() as u64);
            }
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    latencies.sort_unstable();
    Ok((begun.elapsed().as_secs_f64(), latencies))
}

/// Begins `rate` appends a second for ten seconds; latency counts from the moment when each was to begin.
async fn stream(spool: &Spool, rate: u64) -> Result<(f64, Vec<u64>), Failure> {
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..10 * rate {
        let due = begun + Duration::from_nanos(number * 1_000_000_000 / rate);
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        let spool = spool.clone();
        tasks.push(tokio::spawn(async move {
            append(spool, number + (1 << 50)).await?;
            Ok::<_, Failure>(due.elapsed().as_micros() as u64)
        }));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.push(task.await??);
    }
    latencies.sort_unstable();
    Ok((begun.elapsed().as_secs_f64(), latencies))
}

async fn append(spool: Spool, number: u64) -> Result<(), Failure> {
    let now = SystemTime::now();
    let entry = Entry {
        // In no order, as derived ids are.
        id: Uuid::from_u64_pair(number.wrapping_mul(0x9E37_79B9_7F4A_7C15), number),
        lane: LANE,
        owner: "contoso".into(),
        due: now + Duration::from_millis(number.wrapping_mul(7919) % 2000),
        expiry: None,
        collapse: None,
        came: now,
        said: None,
        counted: 0,
        deferred: 0,
        bytes: vec![number as u8; BYTES],
    };
    spool.append(vec![entry], now).await?;
    Ok(())
}

async fn append_more(spool: Spool, number: u64) -> Result<(), Failure> {
    append(spool, number + (1 << 40)).await
}

async fn settle_64(spool: Spool, _: u64) -> Result<(), Failure> {
    let leases = spool.lease(LANE, 64, HOLD, SystemTime::now()).await?;
    let settled = leases.list.into_iter().map(|lease| {
        let spool = spool.clone();
        tokio::spawn(async move {
            let settled = spool
                .settle(lease, Settlement::Done, SystemTime::now())
                .await;
            settled.map_err(|unsettled| unsettled.error)
        })
    });
    for task in settled.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(())
}

fn report(what: &str, count: u64, seconds: f64, latencies: Vec<u64>, spool: &Spool) {
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize] as f64 / 1e3;
    println!(
        "{what}: {count} in {seconds:.2} s = {:.0}/s, p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, {} commits so far, resident {} MiB",
        count as f64 / seconds,
        at(0.5),
        at(0.99),
        at(0.999),
        spool.health().commits,
        resident_mib().unwrap_or(0)
    );
}

fn resident_mib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no VmRSS")?.parse::<u64>()? >> 10)
}

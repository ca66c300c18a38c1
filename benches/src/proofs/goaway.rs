//! `goaway`: Apple ends connections and streams at random points, in every way that HTTP/2 has.
//!
//! GOAWAY with the request that brings it about processed or not, with time to answer or without, the warning before it; RST_STREAM that
//! says "not processed" and RST_STREAM that says nothing; connections that just end. Where Apple has accepted a push and
//! its answer is lost, only Apple knows: such pushes may come twice, and no others.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pushrelay_peers::apns::{ApnsCounts, ApnsFault, GoAway, LastStream};
use pushrelay_peers::{ApnsAnswer, WorldOptions};
use serde_json::Value;

use super::dice::Dice;
use super::ground::{Ground, Load, settled};
use super::ledger::{Balance, Ledger};

/// How much, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct GoawayPlan {
    /// Pushes
    #[arg(long, default_value_t = 100_000)]
    pub messages: u64,
    /// Repeats the choices of an earlier run
    #[arg(long)]
    pub seed: Option<u64>,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct GoawayReport {
    /// The seed of the choices.
    pub seed: u64,
    /// What Apple counted.
    pub apple: ApnsCounts,
    /// Pushes that the relay counted ambiguous.
    pub ambiguous: u64,
    /// The books.
    pub balance: Balance,
    /// From the first MESSAGE to the last verdict.
    pub elapsed: Duration,
}

/// HTTP/2 error codes, RFC 9113 7.
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;

/// Carries it out.
pub async fn run(daemon: &Path, plan: &GoawayPlan) -> anyhow::Result<GoawayReport> {
    let mut dice = Dice::new(plan.seed);
    let mut report = GoawayReport {
        seed: dice.seed(),
        ..GoawayReport::default()
    };
    let mut ground = Ground::lay(daemon, WorldOptions::default()).await?;
    ground.new_spool()?;
    ground.set("spool", "in_flight", 64)?;
    let level = "warn,pushrelay::listener=info,pushrelay::run=info,pushrelay::attempt=debug";
    ground.set("log", "level", level)?;
    let faults = Mutex::new(Dice::new(Some(dice.roll())));
    ground.world.apple.decide(move |_| {
        let mut dice = faults.lock().ok()?;
        let delay = dice.shorter_than(Duration::from_millis(5));
        fault(&mut dice).map(|answer| answer.after(delay))
    });
    let mut daemon = ground.start().await?;
    let generator = ground.connect(daemon.sip_addr(), 4).await?;
    let mut ledger = Ledger::default();
    let load = Load {
        connections: 4,
        window: 32,
        messages: plan.messages,
    };
    let start = Instant::now();
    ground.send(generator, &mut ledger, load).await?;
    let open = ledger.open();
    ensure!(open.is_empty(), "not answered 200: {open:?}");
    let samples = settled(&daemon)
        .await
        .with_context(|| format!("seed {}", report.seed))?;
    report.elapsed = start.elapsed();
    report.apple = ground.world.apple.counts();
    report.ambiguous = samples.sum("pushrelay_ambiguous_total", &[("service", "apns")]) as u64;
    let status = daemon.terminate().await?;
    ensure!(status.success(), "{status}: {:#?}", daemon.logs());
    ground.take(&mut ledger).await?;
    let ambiguous = ambiguous(&daemon.logs());
    report.balance = ledger
        .balance(0, &ambiguous)
        .with_context(|| format!("{report}"))?;
    let violations = ground.world.apple.violations();
    ensure!(violations.is_empty(), "{violations:?}");
    ensure!(
        report.apple.goaways > 0 && report.apple.resets > 0,
        "nothing went wrong: {report}"
    );
    Ok(report)
}

/// The ids of the pushes that the relay calls ambiguous.
fn ambiguous(log: &[String]) -> BTreeSet<String> {
    let lines = log
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let said = lines.filter(|line| line["fields"]["message"] == AMBIGUOUS);
    said.filter_map(|line| Some(line["fields"]["push_id"].as_str()?.to_owned()))
        .collect()
}

/// What the relay says of a push whose answer was lost.
const AMBIGUOUS: &str = "the request may have reached the provider, no answer came";

/// What goes wrong with a request, if anything.
fn fault(dice: &mut Dice) -> Option<ApnsAnswer> {
    let accepted_but = |fault| ApnsAnswer {
        fault: Some(fault),
        ..ApnsAnswer::ok()
    };
    Some(match dice.below(2000) {
        0 => ApnsAnswer::go_away(GoAway::graceful()),
        1 => ApnsAnswer::go_away(GoAway::graceful().before_this()),
        2 => ApnsAnswer::go_away(GoAway::abrupt()),
        3 => ApnsAnswer::go_away(GoAway::abrupt().before_this()),
        4 => ApnsAnswer::go_away(GoAway {
            last_stream: LastStream::Unlimited,
            ..GoAway::graceful()
        }),
        5 => accepted_but(ApnsFault::Drop),
        6 => ApnsAnswer::fault(ApnsFault::Drop),
        7..=9 => accepted_but(ApnsFault::Reset(INTERNAL_ERROR)),
        10..=25 => ApnsAnswer::fault(ApnsFault::Reset(REFUSED_STREAM)),
        _ => return None,
    })
}

impl fmt::Display for GoawayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apple = &self.apple;
        write!(
            f,
            "seed {}: {} GOAWAYs, {} RST_STREAMs, {} connections in {:.0} s; Apple lost {} answers to what it had accepted, the \
             relay counts {} ambiguous; {}",
            self.seed,
            apple.goaways,
            apple.resets,
            apple.connections,
            self.elapsed.as_secs_f64(),
            apple.accepted_unanswered,
            self.ambiguous,
            self.balance
        )
    }
}

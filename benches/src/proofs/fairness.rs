//! `fairness`: one partner at twenty times its rate beside another that keeps to its own.
//!
//! The quiet partner keeps a fixed number of MESSAGEs unanswered, and Apple takes a fixed time for each push: so its throughput is what the relay
//! makes of it, while the machine has room. It is measured alone and beside the flood in turn; what counts is the ratio of the two, because other
//! work on the machine meets both. Each sender is a thread of its own, so that neither waits for the other and the CPU of each is known.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pushrelay_peers::apns::Recording;
use pushrelay_peers::world::RELAY_NAME;
use pushrelay_peers::{ApnsAnswer, ApnsOptions, Daemon, WorldOptions};
use tokio::sync::mpsc;
use toml::{Table, Value};

use super::ground::{BODY, Ground, PATIENCE};
use crate::cpu;
use crate::generator::{Generator, Pace, Plan, Tally};
use crate::message::Template;

/// How much, how long.
#[derive(Clone, Debug, clap::Args)]
pub struct FairnessPlan {
    /// MESSAGEs a second that the flooding partner may send; it sends twenty times as many
    #[arg(long, default_value_t = 100)]
    pub rate: u32,
    /// Connections of each partner
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// MESSAGEs that the quiet partner keeps unanswered on each of its connections
    #[arg(long, default_value_t = 4)]
    pub window: u64,
    /// Milliseconds that Apple takes for a push; 0 drives the machine to its limit
    #[arg(long, default_value_t = 20)]
    pub takes: u64,
    /// Seconds alone, and seconds beside the flood, in each round
    #[arg(long, default_value_t = 8)]
    pub seconds: u32,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// The relay logs each MESSAGE, as it does unless told otherwise; the prover has to read it
    #[arg(long)]
    pub log: bool,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct FairnessReport {
    /// The quiet partner's part of each round, alone and beside the flood.
    pub rounds: Vec<(Turn, Turn)>,
    /// MESSAGEs a second that the flooding partner sent.
    pub flood: Vec<f64>,
    /// What it was answered, over all rounds.
    pub statuses: BTreeMap<u16, u64>,
    /// How often which Retry-After was.
    pub retry_after: BTreeMap<u32, u64>,
    /// MESSAGEs of the quiet partner, all answered 200.
    pub quiet: u64,
}

/// The quiet partner for some seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// Answers a second.
    pub throughput: f64,
    /// Half of the answers came within this many microseconds.
    pub p50: u32,
    /// All but one in a hundred did.
    pub p99: u32,
    /// Of one core: the relay.
    pub relay: f64,
    /// Of one core: the quiet partner's sender.
    pub sender: f64,
    /// Of one core: the flooding partner's, where there is a flood.
    pub flooder: f64,
    /// Of one core: the whole process of the prover, with the fake Apple and both senders.
    pub prover: f64,
}

/// So many times its rate.
const TIMES: f64 = 20.0;

/// The partner that floods: its name, its Edge, its domain.
const FLOODING: (&str, &str, &str) = ("fabrikam", "sip.fabrikam.example", "fabrikam.example");

/// Its numbers begin here: no device of its own is one of the other's.
const ITS_NUMBERS: u64 = 1 << 40;

/// The flood goes on this much longer than what is measured beside it: it begins earlier.
const MARGIN: Duration = Duration::from_secs(3);

/// Carries it out.
pub async fn run(daemon: &Path, plan: &FairnessPlan) -> anyhow::Result<FairnessReport> {
    let options = WorldOptions {
        apple: ApnsOptions {
            recording: Recording::Counts,
            ..ApnsOptions::default()
        },
        ..WorldOptions::default()
    };
    let mut ground = Ground::lay(daemon, options).await?;
    ground.new_spool()?;
    if plan.log {
        ground.set("log", "level", "info")?;
    }
    limit(&mut ground.world.config, plan)?;
    let takes = Duration::from_millis(plan.takes);
    ground
        .world
        .apple
        .script_default([ApnsAnswer::ok().after(takes)]);
    let mut daemon = ground.start().await?;

    let (address, world) = (daemon.sip_addr(), &ground.world);
    let mut quiet = Sender::start(
        plan,
        address,
        world.edge_tls()?,
        (ground.template().clone(), 0),
    )?;
    let template = Template::of_domain(FLOODING.2, BODY, ITS_NUMBERS);
    let tls = world.tls_of(FLOODING.1)?;
    let mut flooding = Sender::start(plan, address, tls, (template, ITS_NUMBERS))?;

    let mut report = FairnessReport::default();
    let warm_up = Duration::from_secs(1);
    report.quiet += measure(&daemon, &mut quiet, plan, warm_up).await?.1;
    for round in 0..plan.rounds {
        let span = Duration::from_secs(plan.seconds.into());
        let (alone, beside);
        // Who is first changes, so that what grows over time favours neither.
        if round % 2 == 0 {
            alone = measure(&daemon, &mut quiet, plan, span).await?;
            beside =
                beside_the_flood(&daemon, &mut quiet, &mut flooding, plan, &mut report).await?;
        } else {
            beside =
                beside_the_flood(&daemon, &mut quiet, &mut flooding, plan, &mut report).await?;
            alone = measure(&daemon, &mut quiet, plan, span).await?;
        }
        report.quiet += alone.1 + beside.1;
        report.rounds.push((alone.0, beside.0));
    }
    let samples = daemon.metrics().await?;
    let over = |partner| {
        let labels = [("partner", partner)];
        samples.get("pushrelay_messages_over_rate_total", &labels)
    };
    let refused = report.statuses.get(&503).copied().unwrap_or(0);
    ensure!(refused > 0, "nobody was over its rate: {report}");
    ensure!(
        over(FLOODING.0) == Some(refused as f64) && over("contoso") == Some(0.0),
        "the relay has counted {:?} and {:?}: {report}",
        over(FLOODING.0),
        over("contoso")
    );
    let status = daemon.terminate().await?;
    ensure!(status.success(), "{status}: {:#?}", daemon.logs());
    Ok(report)
}

/// A rate for each: the flooding partner's as planned, the quiet one's above all that it can send.
fn limit(config: &mut Table, plan: &FairnessPlan) -> anyhow::Result<()> {
    let partners = config["partners"].as_array_mut().context("partners")?;
    let quiet = partners[0].as_table_mut().context("a partner")?;
    quiet.insert("rate".to_owned(), 1_000_000.0.into());
    let (name, edge, domain) = FLOODING;
    let rate = plan.rate;
    let flooding =
        format!("name = {name:?}\nedges = [{edge:?}]\ndomains = [{domain:?}]\nrate = {rate}.0");
    partners.push(Value::Table(flooding.parse()?));
    Ok(())
}

/// The quiet partner for so long, and how many MESSAGEs it was: each answered 200.
async fn measure(
    daemon: &Daemon,
    quiet: &mut Sender,
    plan: &FairnessPlan,
    span: Duration,
) -> anyhow::Result<(Turn, u64)> {
    let relay = daemon.pid().context("a daemon that runs")?;
    let (start, ours) = (Instant::now(), std::process::id());
    let before = (cpu::of_process(relay)?, cpu::of_process(ours)?);
    quiet.drive(Plan {
        pace: Pace::Window(plan.window),
        messages: 300_000,
        at_most: span,
    })?;
    let (tally, sender) = quiet.done().await?;
    let elapsed = start.elapsed().as_secs_f64();
    let relay = cpu::of_process(relay)?.saturating_sub(before.0);
    let prover = cpu::of_process(ours)?.saturating_sub(before.1);
    ensure!(
        tally.lost() == 0 && tally.accepted() == tally.sent,
        "the quiet partner was answered {:?}: {:?}",
        tally.statuses(),
        tally.refusals.first()
    );
    let turn = Turn {
        throughput: tally.throughput(),
        p50: tally.latency(0.5),
        p99: tally.latency(0.99),
        relay: relay.as_secs_f64() / elapsed,
        sender: sender.as_secs_f64() / elapsed,
        flooder: 0.0,
        prover: prover.as_secs_f64() / elapsed,
    };
    Ok((turn, tally.sent))
}

/// The same while the other partner floods: from its first refusal until after the last answer.
async fn beside_the_flood(
    daemon: &Daemon,
    quiet: &mut Sender,
    flooding: &mut Sender,
    plan: &FairnessPlan,
    report: &mut FairnessReport,
) -> anyhow::Result<(Turn, u64)> {
    let refused =
        |samples: &pushrelay_peers::Samples| samples.sum("pushrelay_messages_over_rate_total", &[]);
    let (before, begin) = (refused(&daemon.metrics().await?), Instant::now());
    let span = Duration::from_secs(plan.seconds.into());
    let at_most = span + MARGIN;
    let rate = TIMES * f64::from(plan.rate);
    flooding.drive(Plan {
        pace: Pace::Rate(rate),
        messages: (rate * at_most.as_secs_f64()) as u64,
        at_most,
    })?;
    let floods = |samples: &_| refused(samples) > before;
    daemon.wait_metrics(PATIENCE, floods).await?;
    let (mut turn, sent) = measure(daemon, quiet, plan, span).await?;
    ensure!(
        begin.elapsed() < at_most,
        "the flood was over too soon: {:?}",
        begin.elapsed()
    );
    let (tally, flooder) = flooding.done().await?;
    turn.flooder = flooder.as_secs_f64() / tally.elapsed.as_secs_f64();
    // What is saved for a burst, what comes back while it sends, and what was read after the last was sent.
    let allowed = f64::from(plan.rate) * (2.0 + tally.elapsed.as_secs_f64());
    ensure!(
        tally.lost() == 0 && (tally.accepted() as f64) <= allowed,
        "{} of {} were accepted, {} lost, at a rate of {} for {:?}",
        tally.accepted(),
        tally.sent,
        tally.lost(),
        plan.rate,
        tally.elapsed
    );
    for refusal in &tally.refusals {
        let seconds = refusal.retry_after().filter(|seconds| *seconds > 0);
        let seconds = seconds.with_context(|| format!("no Retry-After: {refusal:?}"))?;
        ensure!(refusal.reason().contains(FLOODING.0), "{refusal:?}");
        *report.retry_after.entry(seconds).or_default() += 1;
    }
    for (status, count) in tally.statuses() {
        *report.statuses.entry(status).or_default() += count;
    }
    report.flood.push(tally.sent as f64 / at_most.as_secs_f64());
    Ok((turn, sent))
}

/// A partner's Edge on a thread of its own.
struct Sender {
    plans: mpsc::UnboundedSender<Plan>,
    done: mpsc::UnboundedReceiver<anyhow::Result<(Tally, Duration)>>,
}

impl Sender {
    /// Connects; its first MESSAGE has the number that stands with its template.
    fn start(
        plan: &FairnessPlan,
        address: SocketAddr,
        tls: std::sync::Arc<rustls::ClientConfig>,
        (template, first): (Template, u64),
    ) -> anyhow::Result<Sender> {
        let (plans, mut planned) = mpsc::unbounded_channel(); // one at a time
        let (tallies, done) = mpsc::unbounded_channel();
        let connections = plan.connections;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::spawn(move || {
            let send = async {
                let connect =
                    Generator::connect(address, tls, RELAY_NAME, connections, template, first);
                let mut generator = connect.await?;
                while let Some(plan) = planned.recv().await {
                    let before = cpu::of_this_thread()?;
                    let tally = generator.drive(plan).await?.unbroken()?;
                    let spent = cpu::of_this_thread()?.saturating_sub(before);
                    if tallies.send(Ok((tally, spent))).is_err() {
                        break; // the proof has failed elsewhere
                    }
                }
                Ok(())
            };
            if let Err(error) = runtime.block_on(send) {
                let _ = tallies.send(Err(error)); // the proof may have failed elsewhere
            }
        });
        Ok(Sender { plans, done })
    }

    /// Begins with a plan.
    fn drive(&self, plan: Plan) -> anyhow::Result<()> {
        self.plans.send(plan).context("a sender that has ended")
    }

    /// What came of it, and the CPU time that it took.
    async fn done(&mut self) -> anyhow::Result<(Tally, Duration)> {
        self.done.recv().await.context("a sender that has ended")?
    }
}

impl FairnessReport {
    /// What the quiet partner had left beside the flood, of what it had alone: the median of all rounds.
    pub fn left(&self) -> f64 {
        let ratios = self.rounds.iter();
        median(ratios.map(|(alone, beside)| beside.throughput / alone.throughput))
    }
}

impl fmt::Display for FairnessReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (alone, beside) in &self.rounds {
            let left = 100.0 * beside.throughput / alone.throughput;
            writeln!(
                f,
                "alone {:.1}/s, beside the flood {:.1}/s: {left:.1} %; the relay had {:.0} % and {:.0} % of a core",
                alone.throughput,
                beside.throughput,
                100.0 * alone.relay,
                100.0 * beside.relay
            )?;
        }
        let of = |turn: fn(&(Turn, Turn)) -> f64| median(self.rounds.iter().map(turn));
        writeln!(
            f,
            "medians of {} rounds: {:.1} % of the throughput is left; p50 {:.0} µs alone and {:.0} beside, p99 {:.0} and {:.0}",
            self.rounds.len(),
            100.0 * self.left(),
            of(|round| round.0.p50.into()),
            of(|round| round.1.p50.into()),
            of(|round| round.0.p99.into()),
            of(|round| round.1.p99.into())
        )?;
        writeln!(
            f,
            "of one core: the relay {:.0} % alone and {:.0} % beside; the quiet sender {:.0} and {:.0}; the flooding one {:.0}; \
             the prover in all {:.0} and {:.0}",
            100.0 * of(|round| round.0.relay),
            100.0 * of(|round| round.1.relay),
            100.0 * of(|round| round.0.sender),
            100.0 * of(|round| round.1.sender),
            100.0 * of(|round| round.1.flooder),
            100.0 * of(|round| round.0.prover),
            100.0 * of(|round| round.1.prover)
        )?;
        write!(
            f,
            "the flooding partner sent {:.0}/s and was answered",
            median(self.flood.iter().copied())
        )?;
        for (status, count) in &self.statuses {
            write!(f, " {count} × {status}")?;
        }
        write!(f, ", Retry-After")?;
        for (seconds, count) in &self.retry_after {
            write!(f, " {count} × {seconds}")?;
        }
        write!(
            f,
            "; of the quiet partner's {} MESSAGEs none was refused",
            self.quiet
        )
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

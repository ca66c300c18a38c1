//! `load`: rounds of the same load on each subject in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::process::Subject;
use crate::stage::{Kind, Stage, StageArgs};
use pushrelay_benches::generator::{Pace, Plan, Tally};

/// `load`
#[derive(clap::Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    stage: StageArgs,
    /// Closed loop: MESSAGEs kept unanswered on each connection
    #[arg(long, default_value_t = 16, conflicts_with = "rate", value_parser = clap::value_parser!(u64).range(1..=512))]
    window: u64,
    /// Open loop: MESSAGEs a second over all connections; latency counts from the intended time
    #[arg(long)]
    rate: Option<f64>,
    /// MESSAGEs in a round
    #[arg(long, default_value_t = 100_000)]
    messages: u64,
    /// Sending in a round ends after this, whatever was sent
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Rounds for each subject
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// MESSAGEs before the ones that count: connections open, tables fill, Apple allows its streams.
const WARM_UP: u64 = 2000;

/// What one round has shown.
struct Round {
    tally: Tally,
    cpu: Duration,
    /// MiB, connected and idle.
    idle: f64,
    /// MiB, the most.
    most: f64,
}

pub(crate) async fn run(args: LoadArgs) -> anyhow::Result<()> {
    let stage = Stage::new(args.stage.clone())?;
    let pace = match args.rate {
        Some(rate) => Pace::Rate(rate),
        None => Pace::Window(args.window),
    };
    let plan = Plan {
        pace,
        messages: args.messages,
        at_most: Duration::from_secs(args.seconds),
    };
    println!(
        "{} MESSAGEs a round, {} octets of body, {} connections, {}",
        args.messages,
        args.stage.body,
        args.stage.connections,
        match pace {
            Pace::Window(window) => format!("closed loop with {window} unanswered on each"),
            Pace::Rate(rate) => format!("open loop at {rate} a second"),
        }
    );
    println!("{HEADINGS}");
    let mut rounds: BTreeMap<&str, Vec<Round>> = BTreeMap::new();
    for _ in 0..args.rounds {
        for kind in &args.stage.subjects {
            let round = round(&stage, *kind, plan).await?;
            println!("{}", round.row(kind.name()));
            rounds.entry(kind.name()).or_default().push(round);
        }
    }
    println!();
    for (name, rounds) in &rounds {
        println!(
            "{name}: {:.0} MESSAGE/s and {:.1} µs of CPU a MESSAGE in the median round",
            median(rounds, |round| round.tally.throughput()),
            median(rounds, Round::cpu_micros),
        );
    }
    if let (Some(relay), Some(floor)) = (rounds.get("relay"), rounds.get("floor")) {
        let ratio = median(relay, Round::cpu_micros) / median(floor, Round::cpu_micros);
        println!("relay : floor, CPU a MESSAGE: {ratio:.2}");
    }
    Ok(())
}

/// One load on one subject, from its start to its end.
async fn round(stage: &Stage, kind: Kind, plan: Plan) -> anyhow::Result<Round> {
    let mut apple = stage.apple()?;
    let subject = Subject::start(&mut stage.subject(kind, &apple, &[])?)?;
    let mut generator = stage.connect(subject.address).await?;
    let (idle, _) = subject.memory()?;
    let warm_up = Plan {
        pace: Pace::Window(16),
        messages: WARM_UP,
        ..plan
    };
    let warm_up = generator.drive(warm_up).await?.unbroken()?;
    account(&warm_up, 0, apple.accepted()?)?;

    let accepted = apple.accepted()?;
    let cpu = subject.cpu()?;
    let tally = generator.drive(plan).await?.unbroken()?;
    let cpu = subject.cpu()? - cpu;
    account(&tally, accepted, apple.accepted()?)?;
    let (_, most) = subject.memory()?;
    drop(generator);
    subject.stop()?;
    Ok(Round {
        tally,
        cpu,
        idle,
        most,
    })
}

/// Holds the answers against what Apple got between two of its counts.
fn account(tally: &Tally, before: u64, after: u64) -> anyhow::Result<()> {
    let accepted = tally.accepted();
    let pushed = after - before;
    // Answered otherwise or not at all, a MESSAGE may or may not have reached Apple.
    let most = tally.sent;
    anyhow::ensure!(
        (accepted..=most).contains(&pushed),
        "{accepted} of {most} MESSAGEs were answered 200, and Apple accepted {pushed} pushes"
    );
    Ok(())
}

const HEADINGS: &str = "subject    msgs/s  p50 µs  p99 µs  p99.9 µs   max µs     lost  not 200  CPU µs/msg  \
                        RSS idle MiB  RSS most MiB";

impl Round {
    /// CPU time of the subject for each answer.
    fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.tally.answered() as f64
    }

    fn row(&self, name: &str) -> String {
        let tally = &self.tally;
        format!(
            "{name:7} {:9.0} {:7} {:7} {:9} {:8} {:8} {:8} {:11.1} {:13.1} {:13.1}",
            tally.throughput(),
            tally.latency(0.5),
            tally.latency(0.99),
            tally.latency(0.999),
            tally.latency(1.0),
            tally.lost(),
            tally.answered() - tally.accepted(),
            self.cpu_micros(),
            self.idle,
            self.most,
        )
    }
}

fn median(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

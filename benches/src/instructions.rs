//! `instructions`: user-space instructions per MESSAGE, the figure that repeats on a busy machine.
//!
//! Each subject runs twice under callgrind, with a different number of MESSAGEs; the difference is the MESSAGEs' own,
//! whatever starting, connecting and stopping cost. What the kernel does is not counted.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::process::Subject;
use crate::stage::{Kind, Stage, StageArgs};
use pushrelay_benches::generator::{Pace, Plan};

/// `instructions`
#[derive(clap::Args)]
pub(crate) struct InstructionsArgs {
    #[command(flatten)]
    stage: StageArgs,
    /// MESSAGEs kept unanswered on each connection; may be given more than once
    #[arg(long = "window", default_values_t = [1, 16], value_parser = clap::value_parser!(u64).range(1..=512))]
    windows: Vec<u64>,
    /// MESSAGEs in the longer of the two runs
    #[arg(long, default_value_t = 4400, value_parser = clap::value_parser!(u64).range(2 * SHORT..))]
    messages: u64,
    /// Keep the longer run's profiles here, for callgrind_annotate
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// MESSAGEs in the shorter of the two runs.
const SHORT: u64 = 400;

/// A run that has not sent everything by then is broken.
const AT_MOST: Duration = Duration::from_secs(120);

pub(crate) async fn run(args: InstructionsArgs) -> anyhow::Result<()> {
    let stage = Stage::new(args.stage.clone())?;
    let work = tempfile::tempdir()?;
    let profiles = args.keep.as_deref().unwrap_or(work.path());
    fs::create_dir_all(profiles)?;
    println!(
        "user-space instructions per MESSAGE: {} octets of body, {} connections, ({} - {SHORT}) MESSAGEs",
        args.stage.body, args.stage.connections, args.messages
    );
    for window in &args.windows {
        let mut figures = Vec::new();
        for kind in &args.stage.subjects {
            let file = profiles.join(format!("{}-window-{window}.callgrind", kind.name()));
            let short = count(&stage, *kind, *window, SHORT, &file).await?;
            let long = count(&stage, *kind, *window, args.messages, &file).await?;
            let each = (long as f64 - short as f64) / (args.messages - SHORT) as f64;
            println!("  window {window:3}  {:5}  {each:9.0}", kind.name());
            figures.push((*kind, each));
        }
        let figure = |wanted| figures.iter().find(|(kind, _)| *kind == wanted);
        if let (Some((_, relay)), Some((_, floor))) = (figure(Kind::Relay), figure(Kind::Floor)) {
            println!("  window {window:3}  relay : floor  {:.2}", relay / floor);
        }
    }
    Ok(())
}

/// Instructions of a whole run with this many MESSAGEs.
async fn count(
    stage: &Stage,
    kind: Kind,
    window: u64,
    messages: u64,
    profile: &Path,
) -> anyhow::Result<u64> {
    let mut apple = stage.apple()?;
    let mut file = OsString::from("--callgrind-out-file=");
    file.push(profile);
    let valgrind = ["valgrind".into(), "--tool=callgrind".into(), file];
    let subject = Subject::start(&mut stage.subject(kind, &apple, &valgrind)?)?;
    let mut generator = stage.connect(subject.address).await?;
    let plan = Plan {
        pace: Pace::Window(window),
        messages,
        at_most: AT_MOST,
    };
    let tally = generator.drive(plan).await?.unbroken()?;
    let pushed = apple.accepted()?;
    ensure!(
        tally.accepted() == messages && pushed == messages,
        "of {messages} MESSAGEs {} were answered 200 and {pushed} reached Apple: {:?}",
        tally.accepted(),
        tally.statuses()
    );
    drop(generator);
    subject.stop()?;
    let text = fs::read_to_string(profile).with_context(|| profile.display().to_string())?;
    total(&text).context("a total in callgrind's file")
}

/// The line `totals: 12345`, or `summary:` where a profile has but one part.
fn total(profile: &str) -> Option<u64> {
    let mut lines = profile.lines().rev();
    let line = lines.find_map(|line| {
        line.strip_prefix("totals: ")
            .or_else(|| line.strip_prefix("summary: "))
    })?;
    line.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_last_one() {
        let profile = "version: 1\nsummary: 12\nfn=(1)\n1 2\n\ntotals: 4567\n";
        assert_eq!(total(profile), Some(4567));
        assert_eq!(total("fn=(1)\n"), None);
    }
}

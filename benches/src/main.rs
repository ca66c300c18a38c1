//! What a MESSAGE costs, and whether the relay keeps its promises whatever happens to it.
//!
//! What measures fails when counts do not agree, never because a figure is bad; what proves fails when a promise is broken.
//! The method and the measured figures are in README.md.

// What a bench has to say is its output.
#![allow(clippy::print_stdout)]

mod apple;
mod floor;
mod instructions;
mod load;
mod process;
mod site;
mod stage;

use std::env;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use pushrelay_benches::proofs;
use tokio::runtime::{Builder, Runtime};

#[derive(Parser)]
#[command(about, version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Throughput, latency, loss, CPU and memory under load
    Load(load::LoadArgs),
    /// User-space instructions per MESSAGE, counted by callgrind
    Instructions(instructions::InstructionsArgs),
    /// kill -9 at random moments under load, again and again over the same spool
    Crash(Proof<proofs::crash::CrashPlan>),
    /// A kill at every call that changes a file or sends something
    KillPoints(Proof<proofs::kill_points::KillPointsPlan>),
    /// The least possible relay
    #[command(hide = true)]
    Floor { site: PathBuf, apple: SocketAddr },
    /// The fake Apple in a process of its own
    #[command(hide = true)]
    Apple { site: PathBuf },
}

/// What every proof takes.
#[derive(clap::Args)]
struct Proof<P: clap::Args> {
    #[command(flatten)]
    plan: P,
    /// The daemon [default: `pushrelay` beside this program]
    #[arg(long, value_name = "FILE")]
    relay: Option<PathBuf>,
}

impl<P: clap::Args> Proof<P> {
    /// Carries the proof out, with the fakes and the generator on threads of their own, and says what was seen.
    fn prove<R: Display>(
        self,
        run: impl AsyncFnOnce(&Path, &P) -> anyhow::Result<R>,
    ) -> anyhow::Result<()> {
        let relay = match self.relay {
            Some(relay) => relay,
            None => env::current_exe()?.with_file_name("pushrelay"),
        };
        let runtime = runtime(Builder::new_multi_thread())?;
        println!("{}", runtime.block_on(run(&relay, &self.plan))?);
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        // The generator is one thread, so that the cores are left to what is measured.
        Command::Load(args) => runtime(Builder::new_current_thread())?.block_on(load::run(args)),
        Command::Instructions(args) => {
            runtime(Builder::new_current_thread())?.block_on(instructions::run(args))
        }
        Command::Crash(proof) => proof.prove(proofs::crash::run),
        Command::KillPoints(proof) => proof.prove(proofs::kill_points::run),
        // The daemon's own shape.
        Command::Floor { site, apple } => {
            runtime(Builder::new_multi_thread())?.block_on(floor::serve(&site, apple))
        }
        Command::Apple { site } => {
            runtime(Builder::new_current_thread())?.block_on(apple::serve(&site))
        }
    }
}

fn runtime(mut builder: Builder) -> std::io::Result<Runtime> {
    builder.enable_all().build()
}

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
    /// In the order of system calls, every answer after the sync of its append
    SyncOrder(Proof<proofs::sync_order::SyncOrderPlan>),
    /// The n-th call that changes a file fails, for every n
    IoFaults(Proof<proofs::io_faults::IoFaultsPlan>),
    /// SIGTERM at random moments under load
    Terminations(Proof<proofs::terminations::TerminationsPlan>),
    /// GOAWAY, RST_STREAM and broken connections at random points
    Goaway(Proof<proofs::goaway::GoawayPlan>),
    /// MESSAGEs a second that become durable while Apple is down and the disk is slow
    Durable(Proof<proofs::durable::DurablePlan>),
    /// What a long outage of Apple costs, and how soon a start over a full spool answers
    Outage(Proof<proofs::outage::OutagePlan>),
    /// Twice as many MESSAGEs as can be delivered
    Overload(Proof<proofs::overload::OverloadPlan>),
    /// One partner at twenty times its rate beside another
    Fairness(Proof<proofs::fairness::FairnessPlan>),
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
        Command::SyncOrder(proof) => proof.prove(proofs::sync_order::run),
        Command::IoFaults(proof) => proof.prove(proofs::io_faults::run),
        Command::Terminations(proof) => proof.prove(proofs::terminations::run),
        Command::Goaway(proof) => proof.prove(proofs::goaway::run),
        Command::Durable(proof) => proof.prove(proofs::durable::run),
        Command::Outage(proof) => proof.prove(proofs::outage::run),
        Command::Overload(proof) => proof.prove(proofs::overload::run),
        Command::Fairness(proof) => proof.prove(proofs::fairness::run),
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

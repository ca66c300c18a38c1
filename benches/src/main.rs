//! What a MESSAGE costs: the real relay under load, beside the least possible one on the same crates.
//!
//! Not a test: it fails when counts do not agree, never because a figure is bad. The method and the measured figures are in
//! README.md.

// What a bench has to say is its output.
#![allow(clippy::print_stdout)]

mod apple;
mod floor;
mod generator;
mod instructions;
mod load;
mod process;
mod site;
mod stage;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
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
    /// The least possible relay
    #[command(hide = true)]
    Floor { site: PathBuf, apple: SocketAddr },
    /// The fake Apple in a process of its own
    #[command(hide = true)]
    Apple { site: PathBuf },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        // The generator is one thread, so that the cores are left to what is measured.
        Command::Load(args) => runtime(Builder::new_current_thread())?.block_on(load::run(args)),
        Command::Instructions(args) => {
            runtime(Builder::new_current_thread())?.block_on(instructions::run(args))
        }
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

//! The push relay: accepts federated push MESSAGEs over SIP and TLS and fans them out to Apple and to Windows Phone.

mod accounts;
mod address;
mod admin;
mod apple;
mod attempt;
mod breaker;
mod capture;
mod carrier;
mod certificate;
mod clock;
mod commands;
mod compose;
mod config;
mod delivery;
mod dispatch;
mod domain;
mod gone;
mod identity;
mod intake;
mod listener;
mod log;
mod metrics;
mod operator;
mod page;
mod partners;
mod places;
mod proxy_header;
mod rate;
mod recent;
mod redaction;
mod reload;
mod route;
mod rules;
mod run;
mod service;
mod session;
#[cfg(test)]
mod simulation;
mod srv;
mod tls;
mod trail;
mod validity;
mod verdicts;
mod waiting;
mod windows_phone;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An open, self-hosted push relay for Lync and Skype for Business sites.
#[derive(Parser)]
#[command(name = "pushrelay", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the relay until SIGTERM.
    Serve {
        /// The configuration file, TOML.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Judge a configuration and every file that it names, without opening a socket.
    Check {
        /// The configuration file, TOML.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// See and change what waits on disk.
    Spool(commands::spool::Arguments),
    /// See which devices are refused at the door, and let them in again.
    Devices(commands::devices::Arguments),
    /// Tell what became of a MESSAGE or a push, who must act and what to do.
    Explain(commands::story::Arguments),
    /// Show what each decoder makes of a capture or of a body, or draft a mapping for it.
    Decode(commands::decode::Arguments),
    /// Show the requests to Apple and to Windows Phone that a capture or a body would become, without sending them.
    Preview(commands::preview::Arguments),
    /// Ask a relay as a partner's Access Edge would, and say what is wrong.
    #[command(subcommand)]
    Probe(commands::probe::Probe),
    /// List every metric as a Markdown table.
    Metrics,
    /// Say which version this is.
    Version,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve { config } => run::serve(&config),
        Command::Check { config } => commands::check(&config),
        Command::Spool(arguments) => commands::spool::spool(arguments),
        Command::Devices(arguments) => commands::devices::devices(arguments),
        Command::Explain(arguments) => commands::story::explain(arguments),
        Command::Decode(arguments) => commands::decode::decode(&arguments),
        Command::Preview(arguments) => commands::preview::preview(&arguments),
        Command::Probe(probe) => commands::probe::probe(&probe),
        Command::Metrics => {
            commands::say(format_args!("{}", metrics::markdown().trim_end()));
            ExitCode::SUCCESS
        }
        Command::Version => {
            commands::say(format_args!("pushrelay {}", env!("CARGO_PKG_VERSION")));
            ExitCode::SUCCESS
        }
    }
}

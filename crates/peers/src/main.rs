//! The fakes as commands, for operators who want to see a push relay work, or to try their own against a fake provider.
//!
//! Not here: anything that a relay in production needs.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{apns, certificates, demo, edge, mpns};

/// The other side of every wire of the push relay.
#[derive(Parser)]
#[command(name = "pushrelay-peers", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the real relay between a fake Access Edge, a fake Apple and a fake Windows Phone service, and show what each sees
    Demo(demo::Arguments),
    /// Run a fake Apple Push Notification service
    Apns(apns::Arguments),
    /// Run a fake Microsoft Push Notification Service
    Mpns(mpns::Arguments),
    /// Send SIP requests to a relay as an Access Edge does
    Edge(edge::Arguments),
    /// Make throw-away certificates and a relay configuration to go with the other commands
    Certificates(certificates::Arguments),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Apns(arguments) => apns::run(arguments).await,
        Command::Mpns(arguments) => mpns::run(arguments).await,
        Command::Edge(arguments) => edge::run(arguments).await,
        Command::Certificates(arguments) => certificates::run(&arguments),
    }
}

//! `pushrelay-peers certificates`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use pushrelay_peers::world::{Addresses, Certificates, configuration};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to put them; made if it is not there
    directory: PathBuf,
    /// Where the relay is to listen for SIP over TLS
    #[arg(long, default_value = "127.0.0.1:5061")]
    sip: SocketAddr,
    /// Where the relay's admin endpoint is to be
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
    /// Where the fake Apple will be (`pushrelay-peers apns`)
    #[arg(long, default_value = "127.0.0.1:2197")]
    apns: SocketAddr,
    /// Where the fake Windows Phone service will be (`pushrelay-peers mpns`)
    #[arg(long, default_value = "127.0.0.1:8080")]
    mpns: SocketAddr,
    /// Replace what is there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let directory = &arguments.directory;
    if directory.join("ca.pem").exists() && !arguments.force {
        bail!(
            "{} holds certificates already; --force replaces them",
            directory.display()
        );
    }
    let (certificates, _) = Certificates::new();
    (certificates.write(directory)).with_context(|| directory.display().to_string())?;
    let file = directory.join("pushrelay.toml");
    let text = configuration(&Addresses {
        sip: arguments.sip,
        admin: arguments.admin,
        apple: arguments.apns,
        windows_phone: arguments.mpns,
    });
    std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    let directory = directory.display();
    say!("Throw-away certificates and pushrelay.toml are in {directory}. In four terminals:");
    say!(
        "  pushrelay-peers apns --certificates {directory} --listen {}",
        arguments.apns
    );
    say!("  pushrelay-peers mpns --listen {}", arguments.mpns);
    say!("  pushrelay serve --config {}", file.display());
    say!(
        "  pushrelay-peers edge --certificates {directory} --relay {} --apple 00112233",
        arguments.sip
    );
    Ok(ExitCode::SUCCESS)
}

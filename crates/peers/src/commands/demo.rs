//! `pushrelay-peers demo`

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use pushrelay_peers::daemon::DaemonOptions;
use pushrelay_peers::world::{EDGE_DOMAIN, EDGE_NAME, RELAY_NAME};
use pushrelay_peers::{Daemon, FakeEdge, World};

use super::scenes::{Scene, Seen, scenes};
use super::{interrupted, print, until_interrupted};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The relay's program; `pushrelay` beside this one or in PATH without it
    #[arg(long, value_name = "PATH")]
    relay: Option<PathBuf>,
    /// End after the last message, successfully only if everyone saw what was expected
    #[arg(long)]
    once: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let interrupted = interrupted()?;
    let binary = match arguments.relay {
        Some(path) => path,
        None => find_relay()?,
    };
    let world = World::start().await?;
    let options = DaemonOptions {
        own_process_group: true,
        ..DaemonOptions::default()
    };
    let config = world.config.to_string();
    let starting = Daemon::start_with(&binary, &config, world.dir.path(), options);
    let mut relay = starting.await.context("start the relay")?;
    introduce(&binary, &world, &relay);

    let played = tokio::select! {
        played = play(&world, &relay) => played,
        () = interrupted => bail!("interrupted"),
    };
    let mut failures = played?;
    failures.extend(violations(&world));
    close(&world, &relay, &failures).await?;

    if !arguments.once {
        say!("\nThe relay and the fakes stay up until Ctrl-C. Send more with:");
        say!("  {}", invitation(&world, &relay));
        until_interrupted(|| show_news(&world)).await?;
    }
    let status = relay.terminate().await?;
    say!("The relay has ended: {status}.");
    if !status.success() {
        failures.push(format!("the relay ended with {status}"));
    }
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn introduce(binary: &Path, world: &World, relay: &Daemon) {
    say!(
        "The relay        {} (pid {})",
        binary.display(),
        relay.pid().unwrap_or_default()
    );
    say!("  SIP over TLS   {} as {RELAY_NAME}", relay.sip_addr());
    say!("  configuration  {}", relay.config_path().display());
    say!("Fake Edge        {EDGE_NAME}, domain {EDGE_DOMAIN}, mutual TLS");
    say!("Fake Apple       {}", world.apple.url());
    say!(
        "Fake Windows Phone service  http://{}",
        world.windows_phone.address()
    );
}

/// Plays every scene; what was not as expected comes back.
async fn play(world: &World, relay: &Daemon) -> anyhow::Result<Vec<String>> {
    let edge = world
        .edge(relay)
        .await
        .context("connect as the partner's Edge")?;
    let mut failures = Vec::new();
    for (number, scene) in scenes(world).iter().enumerate() {
        say!("\n{}. {}", number + 1, scene.title);
        let seen = play_one(world, &edge, scene).await?;
        for received in &seen.apple {
            say!("{}", print::apple(received));
        }
        for received in &seen.windows_phone {
            say!("{}", print::windows_phone(received));
        }
        for answer in &seen.answers {
            say!("{}", print::answer(answer));
        }
        if let Err(what) = scene.judge(&seen) {
            say!("NOT AS EXPECTED: {what}");
            failures.push(format!("{}: {what}", scene.title));
        }
    }
    Ok(failures)
}

async fn play_one(world: &World, edge: &FakeEdge, scene: &Scene) -> anyhow::Result<Seen> {
    let request = &scene.request;
    say!(
        "Edge       →   {} {}  From: {}",
        request.method,
        request.uri,
        request.from
    );
    if let Some(content_type) = &request.content_type {
        let body = String::from_utf8_lossy(&request.body);
        say!("               {content_type}\n               {body}");
    }
    let mut answers = vec![edge.exchange(request).await?];
    if scene.repeated {
        answers.push(edge.exchange(request).await?);
    }
    Ok(Seen {
        answers,
        apple: world.apple.take_received(),
        windows_phone: world.windows_phone.take_received(),
    })
}

/// What broke a provider's rules.
fn violations(world: &World) -> Vec<String> {
    let apple = world.apple.violations().into_iter();
    let phone = world.windows_phone.violations().into_iter();
    (apple.map(|breach| format!("against Apple's rules: {breach}")))
        .chain(phone.map(|breach| format!("against Microsoft's rules: {breach}")))
        .collect()
}

async fn close(world: &World, relay: &Daemon, failures: &[String]) -> anyhow::Result<()> {
    let (apple, phone) = (world.apple.counts(), world.windows_phone.counts());
    let metrics = relay.metrics().await?;
    say!(
        "\nApple saw {} pushes over {} connection(s) and accepted {}.",
        apple.requests,
        apple.connections,
        apple.accepted
    );
    say!(
        "The Windows Phone service saw {} and accepted {}.",
        phone.requests,
        phone.accepted
    );
    say!(
        "Metrics ({} samples): http://{}/metrics",
        metrics.iter().count(),
        relay.admin_addr()
    );
    if failures.is_empty() {
        say!("Everything was as expected.");
    }
    for failure in failures {
        say!("NOT AS EXPECTED: {failure}");
    }
    Ok(())
}

fn show_news(world: &World) {
    for received in world.apple.take_received() {
        say!("{}", print::apple(&received));
    }
    for received in world.windows_phone.take_received() {
        say!("{}", print::windows_phone(&received));
    }
}

fn invitation(world: &World, relay: &Daemon) -> String {
    let program = env::current_exe().unwrap_or_else(|_| "pushrelay-peers".into());
    format!(
        "{} edge --certificates {} --relay {} --apple 0011223344556677 --windows-phone {}",
        program.display(),
        world.dir.path().display(),
        relay.sip_addr(),
        world.windows_phone.url_for("phone1"),
    )
}

/// `pushrelay` beside this program, else in PATH.
fn find_relay() -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("our own path")?;
    let beside = own.parent().map(|folder| folder.join("pushrelay"));
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|folder| folder.join("pushrelay"));
    let mut candidates = beside.into_iter().chain(in_path);
    (candidates.find(|candidate| candidate.is_file()))
        .context("no `pushrelay` beside this program or in PATH: build it, or name it with --relay")
}

//! The life of the daemon: bind, serve, drain, end.

use std::path::Path;
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use pushrelay_push::Service as Provider;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::config::{self, Config, Files, Offload};
use crate::listener::{self, Entrance, Gate};
use crate::log::Level;
use crate::operator::socket::Door;
use crate::reload::Reloader;
use crate::service::Service;
use crate::{admin, commands, dispatch, log};

/// `pushrelay serve`: the exit code is 0 after a clean drain, 1 when work was left or nothing could start.
pub(crate) fn serve(path: &Path) -> ExitCode {
    let loaded = config::load(path, SystemTime::now());
    let Some(config) = loaded.config else {
        commands::report(path, &loaded.problems, &loaded.warnings);
        return ExitCode::FAILURE;
    };
    // Dropped last: until then everything is written.
    let (_log, level) = match log::install(&config.log) {
        Ok(installed) => installed,
        Err(error) => {
            commands::complain(format_args!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    for warning in &loaded.warnings {
        warn!(file = %path.display(), key = warning.key, "{}", warning.text);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(run(path, config, loaded.files, level)) {
        Ok(code) => code,
        Err(error) => {
            error!(error = format!("{error:#}"), "cannot serve");
            ExitCode::FAILURE
        }
    };
    // Nothing that matters runs any more; a task that hangs must not hold the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

async fn run(path: &Path, config: Config, files: Files, level: Level) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let (files_needed, may_open) = (config.limits.connections + OTHER_FILES, open_files());
    if let Some(may_open) = may_open.filter(|may_open| *may_open < files_needed) {
        warn!(
            file = %path.display(),
            key = "limits.connections",
            "takes {files_needed} open files with the {OTHER_FILES} for everything else, this process may have {may_open}: raise LimitNOFILE or lower it"
        );
    }
    let reloader = Reloader::new(path.to_owned(), files, &config, level).context("SIGHUP")?;
    let (listen, admin_address) = (config.listen.clone(), config.admin);
    let offload = config.offload.clone();
    let admin_socket = config.admin_socket.clone();
    let service = Arc::new(Service::assemble(config).await?);
    let (drain, draining) = watch::channel(false);
    let gate = Arc::new(Gate::new(service.clone(), draining.clone()));

    let mut listeners = JoinSet::new();
    for address in listen {
        let bound = listener::bind("sip", address)
            .await
            .with_context(|| format!("sip.listen: cannot listen on {address}"))?;
        listeners.spawn(listener::accept(bound, Entrance::Tls, gate.clone()));
    }
    for Offload { listen, trust } in offload {
        let bound = listener::bind("offload", listen)
            .await
            .with_context(|| format!("sip.offload: cannot listen on {listen}"))?;
        let entrance = Entrance::Terminator(trust);
        listeners.spawn(listener::accept(bound, entrance, gate.clone()));
    }
    let admin = TcpListener::bind(admin_address)
        .await
        .with_context(|| format!("admin.listen: cannot listen on {admin_address}"))?;
    info!(listener = "admin", address = %admin.local_addr()?, "listening");
    let admin = tokio::spawn(admin::serve(admin, service.clone()));

    let operators = match admin_socket {
        Some(path) => {
            let door = Door::bind(&path)
                .await
                .with_context(|| format!("admin.socket: cannot listen on {}", path.display()))?;
            Some(tokio::spawn(door.serve(service.clone())))
        }
        None => None,
    };

    let mut dispatchers = JoinSet::new();
    for provider in Provider::ALL {
        dispatchers.spawn(dispatch::run(service.clone(), provider, draining.clone()));
    }

    let reloader = tokio::spawn(reloader.run(service.clone()));
    service.metrics.ready.set(1);
    notify(&[NotifyState::Ready]);
    info!(version = env!("CARGO_PKG_VERSION"), "ready");

    either(&mut terminate, &mut interrupt).await;
    reloader.abort();
    let grace = service.rules.load().drain_grace;
    service.metrics.ready.set(0);
    notify(&[NotifyState::Stopping]);
    info!(
        grace_seconds = grace.as_secs(),
        "draining: what was read is finished, nothing new is taken"
    );
    // The receivers live as long as the gate does.
    let _ = drain.send(true);
    let mut drained = pin!(async {
        while listeners.join_next().await.is_some() {}
        while dispatchers.join_next().await.is_some() {}
        service.afterwork_done().await;
    });
    let mut asked_again = pin!(either(&mut terminate, &mut interrupt));
    let mut end = within(grace, drained.as_mut(), asked_again.as_mut()).await;
    let under_way = || service.metrics.messages_in_flight.get();
    if end == End::Late {
        // Peers that do not take their answers, or never stop asking, hold it up no longer. Work does.
        service.end_grace();
        end = within(CUT, drained, asked_again.as_mut()).await;
    }
    let code = match end {
        End::Drained => {
            let closed = pin!(service.clone().close());
            if within(CLOSE, closed, asked_again).await != End::Drained {
                warn!(
                    "a provider or the disk does not let go: ending all the same, nothing is left to do"
                );
            }
            info!("drained");
            ExitCode::SUCCESS
        }
        End::Late => {
            warn!(messages_in_flight = under_way(), "the grace time is over");
            ExitCode::FAILURE
        }
        End::AskedAgain => {
            warn!(messages_in_flight = under_way(), "asked again, ending now");
            ExitCode::FAILURE
        }
    };
    admin.abort();
    if let Some(operators) = operators {
        operators.abort();
        // Its file goes with it.
        let _ = operators.await;
    }
    Ok(code)
}

/// How long connections that are cut off at the end of the grace time may take to end: the goodbye of one that is not deaf is a second.
const CUT: Duration = Duration::from_secs(2);

/// How long the goodbyes to the providers and the folding in of the spool's log may take: neither is needed, a start after a crash does
/// without.
const CLOSE: Duration = Duration::from_secs(5);

/// How waiting for a drain has ended.
#[derive(PartialEq, Eq)]
enum End {
    /// Nothing is left.
    Drained,
    /// Something is, and the time is over.
    Late,
    /// A second signal has come.
    AskedAgain,
}

async fn within(
    time: Duration,
    drained: Pin<&mut impl Future<Output = ()>>,
    asked_again: Pin<&mut impl Future<Output = ()>>,
) -> End {
    tokio::select! {
        () = drained => End::Drained,
        () = tokio::time::sleep(time) => End::Late,
        () = asked_again => End::AskedAgain,
    }
}

/// Files beside the connections of SIP: connections to Apple and to hosts of Windows Phones (320 at most), the admin endpoint's (32),
/// the spool, libraries.
const OTHER_FILES: usize = 500;

/// How many files the system lets this process open; `None` where it does not say, or sets no limit.
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let mut lines = limits.lines();
    let limit = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    limit.split_whitespace().next()?.parse().ok()
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Tells systemd.
pub(crate) fn notify(state: &[NotifyState<'_>]) {
    // Without a supervisor there is nobody to tell.
    let _ = sd_notify::notify(state);
}

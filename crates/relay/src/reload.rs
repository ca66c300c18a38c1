//! Reload: reads the configuration again, after SIGHUP or when a file has changed, and puts the new rules into the place of the old.
//!
//! All or nothing: a configuration with a problem changes nothing, and says so in the log, in the metrics and to systemd.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::config::{self, Config, Files, Fixed, Loaded};
use crate::log::Level;
use crate::metrics::ReloadResult;
use crate::rules::Rules;
use crate::run::notify;
use crate::service::Service;

/// Waits for a reason to reload.
pub(crate) struct Reloader {
    hangup: Signal,
    path: PathBuf,
    /// As they were when they were last read.
    files: Files,
    /// How often to look at them; zero is never.
    every: Duration,
    /// What this process has started with.
    fixed: Fixed,
    level: Level,
}

impl Reloader {
    /// For a process that was started with `config`, read from `path` and `files`. From now on SIGHUP no longer ends the process.
    pub(crate) fn new(
        path: PathBuf,
        files: Files,
        config: &Config,
        level: Level,
    ) -> std::io::Result<Reloader> {
        Ok(Reloader {
            hangup: signal(SignalKind::hangup())?,
            path,
            files,
            every: config.watch_files,
            fixed: config.fixed.clone(),
            level,
        })
    }

    /// Reloads `service` whenever there is a reason, one reload after the other.
    pub(crate) async fn run(mut self, service: Arc<Service>) {
        loop {
            let cause = tokio::select! {
                signal = self.hangup.recv() => match signal {
                    Some(()) => "SIGHUP",
                    // No signal can come any more.
                    None => return,
                },
                () = changed(&self.files, self.every) => "a file has changed",
            };
            self.reload(&service, cause).await;
        }
    }

    async fn reload(&mut self, service: &Service, cause: &str) {
        let mut states = vec![NotifyState::Reloading];
        // By it systemd tells this reload from one before its signal.
        states.extend(NotifyState::monotonic_usec_now());
        notify(&states);
        info!(cause, "reloading");
        let loaded = self.load().await;
        for warning in &loaded.warnings {
            warn!(file = %self.path.display(), key = warning.key, "{}", warning.text);
        }
        let mut problems = loaded.problems;
        if let Some(config) = loaded.config
            && let Err(error) = self.take_up(service, config)
        {
            problems.push(config::Problem {
                key: String::new(),
                text: format!("{error:#}"),
            });
        }
        let Some(first) = problems.first() else {
            service.metrics.reloaded(ReloadResult::Applied);
            return notify(&[NotifyState::Ready, NotifyState::Status("Reloaded.")]);
        };
        for problem in &problems {
            error!(file = %self.path.display(), key = problem.key, "not reloaded, the rules of before stay: {}", problem.text);
        }
        service.metrics.reloaded(ReloadResult::Refused);
        let status = format!("Not reloaded: {}: {first}", self.path.display());
        // A line break would end the status.
        let status = status.replace('\n', " ");
        notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// Reads everything again, off the threads that serve.
    async fn load(&mut self) -> Loaded {
        let (path, known) = (self.path.clone(), self.files.clone());
        let before = tokio::task::spawn_blocking(move || known.again()).await;
        let load = move || config::load(&path, SystemTime::now());
        let mut loaded = tokio::task::spawn_blocking(load)
            .await
            .unwrap_or_else(|error| {
                Loaded::broken(format!("cannot be judged: {error}"), Files::default())
            });
        // Of what has a problem not all was read, and what was read before is of interest all the same.
        self.files = match before {
            Ok(before) if loaded.config.is_none() => before,
            _ => Files::default(),
        };
        self.files.extend(std::mem::take(&mut loaded.files));
        loaded
    }

    /// Puts a configuration into force.
    fn take_up(&mut self, service: &Service, config: Config) -> anyhow::Result<()> {
        for (key, runs, says) in self.fixed.differences(&config.fixed) {
            warn!(file = %self.path.display(), key, "takes a restart: {says} is in the file, {runs} is in force");
        }
        let (every, filter) = (config.watch_files, config.log.filter.clone());
        let before = service.rules.load_full();
        let rules = Rules::new(config, Some(&before))?;
        let partners = rules.partners.iter().count();
        let apps = rules.apple_apps().len();
        let apps_kept = rules.kept_apps(&before);
        self.level.set(&filter)?;
        self.every = every;
        service.replace(rules);
        info!(partners, apps, apps_kept, "reloaded");
        Ok(())
    }
}

/// Waits until `files` are no longer what they were, and then still for one look: whoever writes several has time to finish.
async fn changed(files: &Files, every: Duration) {
    if every.is_zero() {
        return std::future::pending().await;
    }
    let mut last = None;
    loop {
        tokio::time::sleep(every).await;
        let known = files.clone();
        // A look that fails sees nothing; the next one may.
        let Ok(now) = tokio::task::spawn_blocking(move || known.again()).await else {
            continue;
        };
        if now == *files {
            last = None;
        } else if last.as_ref() == Some(&now) {
            return;
        } else {
            last = Some(now);
        }
    }
}

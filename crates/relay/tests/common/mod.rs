//! What the tests of the daemon share: a running relay in its world, and an end that checks the books.

#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod haproxy;
pub(crate) mod operator;

use std::path::{Path, PathBuf};
use std::process::Command;

use pushrelay_peers::books::{conservation, waiting_is_on_disk};
use pushrelay_peers::daemon::DaemonOptions;
use pushrelay_peers::world::World;
use pushrelay_peers::{Daemon, FakeEdge, Samples};
use toml::{Table, Value};

/// An iPhone.
pub(crate) const APPLE: &str = r#"{"service":"apns","token":"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff","app":"com.example.chat"}"#;

/// The content type of the relay's own format.
pub(crate) fn json() -> &'static str {
    "application/vnd.pushrelay+json; v=1"
}

/// A body for these targets.
pub(crate) fn body(targets: &[&str]) -> String {
    format!(
        r#"{{"v":1,"event":"im.message","targets":[{}],"from":{{"uri":"sip:kima@contoso.example","name":"Kim Akers"}},"alert":{{"title":"Kim Akers","body":"Are you there?"}},"badge":3,"sound":"default"}}"#,
        targets.join(",")
    )
}

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// How to start a daemon that sees `file` where everybody else sees a file of the system; `None` where that cannot be had, which takes root.
/// What is written into `file` in its place, the daemon sees.
pub(crate) fn with_own(system_file: &str, file: &Path) -> Option<DaemonOptions> {
    let may = Command::new("unshare").args(["--mount", "true"]).status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a mount namespace cannot be made here");
        return None;
    }
    let mount = r#"mount --bind "$0" "$1" && shift && exec "$@""#;
    let behind = ["unshare", "--mount", "sh", "-c", mount].map(Into::into);
    let files = [file.into(), system_file.into()];
    Some(DaemonOptions {
        behind: behind.into_iter().chain(files).collect(),
        ..DaemonOptions::default()
    })
}

/// The real daemon between the fakes.
pub(crate) struct Relay {
    pub(crate) world: World,
    pub(crate) daemon: Daemon,
}

/// The daemon's executable.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_pushrelay"))
}

impl Relay {
    /// With the world's own configuration.
    pub(crate) async fn start() -> Relay {
        Relay::configured(|_| {}).await
    }

    /// With a changed configuration.
    pub(crate) async fn configured(change: impl FnOnce(&mut Table)) -> Relay {
        let mut world = World::start().await.unwrap();
        change(&mut world.config);
        Relay::in_world(world).await
    }

    /// With what `text` changes in the configuration.
    pub(crate) async fn with(text: &str) -> Relay {
        Relay::configured(|config| merge(config, text.parse().unwrap())).await
    }

    /// In a world of one's own making.
    pub(crate) async fn in_world(world: World) -> Relay {
        let daemon = world.daemon(binary()).await.unwrap();
        Relay { world, daemon }
    }

    /// In a world of one's own making, with options.
    pub(crate) async fn launched(world: World, options: DaemonOptions) -> Relay {
        let mut daemon = world.launch(binary(), options).unwrap();
        daemon.ready().await.unwrap();
        Relay { world, daemon }
    }

    /// A connection of the partner's Edge.
    pub(crate) async fn edge(&self) -> FakeEdge {
        self.world.edge(&self.daemon).await.unwrap()
    }

    /// Sends it MESSAGEs of these bodies, one after the other, over one connection; each is answered 200.
    pub(crate) async fn accepts(&self, bodies: impl IntoIterator<Item = String>) {
        let edge = self.edge().await;
        for body in bodies {
            let answer = edge.message(json(), body).await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }

    /// Kills the daemon as a power cut would, and starts it again on the same folder.
    pub(crate) async fn crash(&mut self) {
        self.daemon.kill().await.unwrap();
        self.daemon = self.world.daemon(binary()).await.unwrap();
    }

    /// Waits until nothing is in flight and `waiting` targets wait; the books must balance then.
    pub(crate) async fn settled(&self, waiting: f64) -> Samples {
        let samples = self
            .daemon
            .wait_metrics(PATIENCE, |samples| {
                samples.sum("pushrelay_targets_in_flight", &[]) == 0.0
                    && samples.sum("pushrelay_targets_waiting", &[]) == waiting
                    // Asked a moment before the books are read: both must have heard of the last settlement.
                    && samples.sum("pushrelay_spool_entries", &[("state", "waiting")]) == waiting
            })
            .await
            .unwrap();
        conservation(&samples).unwrap();
        waiting_is_on_disk(&samples).unwrap();
        samples
    }

    /// The one request that it has kept in its folder `captures`.
    pub(crate) async fn captured(&self) -> PathBuf {
        self.daemon
            .wait_metrics(PATIENCE, |samples| {
                samples.get("pushrelay_captures_total", &[("result", "kept")]) == Some(1.0)
            })
            .await
            .unwrap();
        let folder = std::fs::read_dir(self.world.dir.path().join("captures")).unwrap();
        let files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    /// A Windows Phone as a target.
    pub(crate) fn windows_phone(&self, token: &str) -> String {
        format!(
            r#"{{"service":"mpns","uri":"{}"}}"#,
            self.world.windows_phone.url_for(token)
        )
    }

    /// Ends the daemon as an operator would, which looks at its books; nobody may have complained.
    pub(crate) async fn end(mut self) {
        assert_eq!(self.world.apple.violations(), Vec::<String>::new());
        assert_eq!(self.world.windows_phone.violations(), Vec::<String>::new());
        let status = self.daemon.terminate().await.unwrap();
        assert_eq!(status.code(), Some(0), "{:#?}", self.daemon.logs());
    }
}

/// Adds what `from` says to the configuration: tables to tables, the first of a list to the first that is there.
pub(crate) fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (Some(Value::Array(into)), Value::Array(mut from)) => {
                match (&mut into[0], from.remove(0)) {
                    (Value::Table(into), Value::Table(from)) => merge(into, from),
                    (into, from) => *into = from,
                }
            }
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

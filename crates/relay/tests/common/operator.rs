//! The operator's commands, run for a relay.

use std::path::Path;
use std::process::Output;

use pushrelay_peers::{MpnsAnswer, SipRequest};
use serde_json::Value;

use super::{Relay, binary, body, json};

/// What a command says, and its exit code.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// What `--json` printed.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// The lines of a table, split into words, without its head.
    pub(crate) fn rows(&self) -> Vec<Vec<&str>> {
        assert_eq!(self.code, 0, "{}", self.err);
        let lines = self.out.lines().skip(1);
        lines
            .map(|line| line.split_whitespace().collect())
            .collect()
    }
}

/// Runs `pushrelay …` for the relay in this folder.
pub(crate) async fn pushrelay(dir: &Path, arguments: &[&str]) -> Said {
    let config = dir.join("pushrelay.toml");
    let mut command = tokio::process::Command::new(binary());
    command.args(arguments).arg("--config").arg(config);
    said(command.output().await.unwrap())
}

/// What it has said.
pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Relay {
    /// Runs `pushrelay …` for this relay.
    pub(crate) async fn asked(&self, arguments: &[&str]) -> Said {
        pushrelay(self.world.dir.path(), arguments).await
    }

    /// Sends a MESSAGE to each of these phones, which are all inactive: each waits for an hour at least.
    pub(crate) async fn leave_waiting(&self, names: &[&str]) -> Vec<SipRequest> {
        let phones = &self.world.windows_phone;
        phones.script_default([MpnsAnswer::inactive()]);
        let edge = self.edge().await;
        let mut sent = Vec::new();
        for name in names {
            let request = edge.request(json(), body(&[&self.windows_phone(name)]));
            assert_eq!(edge.exchange(&request).await.unwrap().status, 200);
            sent.push(request);
        }
        sent
    }
}

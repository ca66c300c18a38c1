//! Script files: what a fake is to answer, as TOML.
//!
//! A file is a list of `[[answer]]`. Those with the same `token` are given in turn, the last one stays; those without a
//! token are for all other devices.

use std::path::Path;

use anyhow::Context;
use pushrelay_peers::apns::{ApnsAnswer, ApnsFault};
use pushrelay_peers::mpns::{MpnsAnswer, MpnsFault};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptFile<A> {
    #[serde(default = "Vec::new")]
    answer: Vec<A>,
}

/// One `[[answer]]` of a fake Apple.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApnsLine {
    pub(crate) token: Option<String>,
    #[serde(default = "ok")]
    status: u16,
    reason: Option<String>,
    timestamp_ms: Option<u64>,
    #[serde(default)]
    delay_ms: u64,
    date_skew_seconds: Option<i64>,
    retry_after: Option<u32>,
    fault: Option<ApnsFault>,
}

impl ApnsLine {
    pub(crate) fn answer(self) -> ApnsAnswer {
        ApnsAnswer {
            status: self.status,
            reason: self.reason.map(Into::into),
            timestamp_ms: self.timestamp_ms,
            delay: Duration::from_millis(self.delay_ms),
            date_skew_seconds: self.date_skew_seconds,
            retry_after: self.retry_after,
            fault: self.fault,
        }
    }
}

/// One `[[answer]]` of a fake Windows Phone service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MpnsLine {
    pub(crate) token: Option<String>,
    #[serde(default = "ok")]
    status: u16,
    notification: Option<String>,
    device: Option<String>,
    subscription: Option<String>,
    location: Option<String>,
    retry_after: Option<u32>,
    #[serde(default)]
    delay_ms: u64,
    fault: Option<MpnsFault>,
}

impl MpnsLine {
    pub(crate) fn answer(self) -> MpnsAnswer {
        MpnsAnswer {
            status: self.status,
            notification: self.notification.map(Into::into),
            device: self.device.map(Into::into),
            subscription: self.subscription.map(Into::into),
            location: self.location,
            retry_after: self.retry_after,
            delay: Duration::from_millis(self.delay_ms),
            fault: self.fault,
        }
    }
}

/// Reads a script file.
pub(crate) fn read<A: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<A>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let file: ScriptFile<A> = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(file.answer)
}

fn ok() -> u16 {
    200
}

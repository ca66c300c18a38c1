//! Where the log goes and how it looks: standard error, plain for people or JSON for machines.

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Installs the log for the life of the process.
pub(crate) fn install(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).context("log.level")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let result = match log.format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Plain => builder.with_ansi(false).try_init(),
    };
    result.map_err(|error| anyhow::anyhow!("the log cannot be installed: {error}"))
}

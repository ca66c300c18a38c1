//! `pushrelay-peers apns`

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use pushrelay_peers::apns::Recording;
use pushrelay_peers::world::Certificates;
use pushrelay_peers::{ApnsAnswer, ApnsOptions, FakeApns};

use super::script_file::{self, ApnsLine};
use super::{print, until_interrupted};

#[derive(clap::Args)]
#[command(after_long_help = SCRIPT_HELP)]
pub(crate) struct Arguments {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:2197")]
    listen: SocketAddr,
    /// Certificates and key made by `pushrelay-peers certificates`; without them throw-away ones are made
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Answers as TOML: a list of `[[answer]]` with token, status, reason, timestamp_ms, delay_ms, fault
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// What to answer where the script says nothing
    #[arg(long, default_value_t = 200)]
    status: u16,
    /// Apple's reason along with --status
    #[arg(long)]
    reason: Option<String>,
    /// How long to wait before each answer to which the script says nothing
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// SETTINGS_MAX_CONCURRENT_STREAMS
    #[arg(long, default_value_t = 1000)]
    max_concurrent_streams: u32,
    /// Take every bearer token, not only those signed by AuthKey.p8
    #[arg(long)]
    any_token: bool,
    /// Only count: for load
    #[arg(long)]
    quiet: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut options = ApnsOptions {
        listen: arguments.listen,
        max_concurrent_streams: arguments.max_concurrent_streams,
        ..ApnsOptions::default()
    };
    if arguments.quiet {
        options.recording = Recording::Counts;
    }
    if let Some(directory) = &arguments.certificates {
        let certificates = Certificates::read(directory)?;
        options.identity = Some((certificates.apple, certificates.root_pem));
        if !arguments.any_token {
            options.keys.push(certificates.provider_key);
        }
    }
    let apple = FakeApns::start(options).await?;
    set_script(&apple, &arguments)?;
    say!("fake Apple at {}; Ctrl-C ends it", apple.url());
    if arguments.certificates.is_none() {
        say!("trust this root:\n{}", apple.root_pem());
    }
    let mut violations = 0;
    until_interrupted(|| {
        for received in apple.take_received() {
            say!("{}", print::apple(&received));
        }
        let all = apple.violations();
        for violation in &all[violations..] {
            say!("against Apple's rules: {violation}");
        }
        violations = all.len();
    })
    .await?;
    say!("{:#?}", apple.counts());
    Ok(ExitCode::SUCCESS)
}

fn set_script(apple: &FakeApns, arguments: &Arguments) -> anyhow::Result<()> {
    let mut by_token: HashMap<String, Vec<ApnsAnswer>> = HashMap::new();
    let mut default = Vec::new();
    if let Some(path) = &arguments.script {
        for line in script_file::read::<ApnsLine>(path)? {
            match line.token.clone() {
                Some(token) => by_token.entry(token).or_default().push(line.answer()),
                None => default.push(line.answer()),
            }
        }
    }
    if default.is_empty() && (arguments.status != 200 || arguments.delay_ms > 0) {
        default.push(ApnsAnswer {
            status: arguments.status,
            reason: arguments.reason.clone().map(Into::into),
            delay: Duration::from_millis(arguments.delay_ms),
            ..ApnsAnswer::ok()
        });
    }
    for (token, answers) in by_token {
        apple.script(&token, answers);
    }
    if !default.is_empty() {
        apple.script_default(default);
    }
    Ok(())
}

const SCRIPT_HELP: &str = r#"A script file lists answers. Those of one token are given in turn and the last one stays; those
without a token are for all other devices.

  [[answer]]
  token = "00fc13adff785122b4ad28809a342098"
  status = 410
  reason = "Unregistered"
  timestamp_ms = 1750000000000

  [[answer]]
  status = 429
  reason = "TooManyRequests"
  delay_ms = 50
  retry_after = 5
  date_skew_seconds = -7200

  [[answer]]
  status = 200
  fault = "drop"

Faults: "stall", "stall-body", "malformed-body", "endless-body", "drop", "stall-connection", { reset = 7 },
{ header-flood = 1000 }, { go-away = { last_stream = "this" | "before" | "unlimited", code = 0, debug = "…",
then = "finish" | "close" | "stay" } }. With status 200 the push counts as accepted although the client may not hear of it."#;

//! `pushrelay-peers mpns`

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use pushrelay_peers::world::Certificates;
use pushrelay_peers::{FakeMpns, MpnsAnswer, MpnsOptions};

use super::script_file::{self, MpnsLine};
use super::{print, until_interrupted};

#[derive(clap::Args)]
#[command(after_long_help = SCRIPT_HELP)]
pub(crate) struct Arguments {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Speak HTTPS with the certificate made by `pushrelay-peers certificates`
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Answers as TOML: a list of `[[answer]]` with token, status, notification, device, subscription, delay_ms, fault
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// How long to wait before each answer to which the script says nothing
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Only count: for load
    #[arg(long)]
    quiet: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut options = MpnsOptions {
        listen: arguments.listen,
        keep_requests: !arguments.quiet,
        ..MpnsOptions::default()
    };
    if let Some(directory) = &arguments.certificates {
        options.identity = Some(Certificates::read(directory)?.windows_phone);
    }
    let service = FakeMpns::start(options).await?;
    set_script(&service, &arguments)?;
    say!(
        "fake Windows Phone service; Ctrl-C ends it. A channel: {}",
        service.url_for("phone1")
    );
    let mut violations = 0;
    until_interrupted(|| {
        for received in service.take_received() {
            say!("{}", print::windows_phone(&received));
        }
        let all = service.violations();
        for violation in &all[violations..] {
            say!("against Microsoft's rules: {violation}");
        }
        violations = all.len();
    })
    .await?;
    say!("{:#?}", service.counts());
    Ok(ExitCode::SUCCESS)
}

fn set_script(service: &FakeMpns, arguments: &Arguments) -> anyhow::Result<()> {
    let mut by_token: HashMap<String, Vec<MpnsAnswer>> = HashMap::new();
    let mut default = Vec::new();
    if let Some(path) = &arguments.script {
        for line in script_file::read::<MpnsLine>(path)? {
            match line.token.clone() {
                Some(token) => by_token.entry(token).or_default().push(line.answer()),
                None => default.push(line.answer()),
            }
        }
    }
    if default.is_empty() && arguments.delay_ms > 0 {
        default.push(MpnsAnswer::received().after(Duration::from_millis(arguments.delay_ms)));
    }
    for (token, answers) in by_token {
        service.script(&token, answers);
    }
    if !default.is_empty() {
        service.script_default(default);
    }
    Ok(())
}

const SCRIPT_HELP: &str = r#"A script file lists answers. Those of one token (the last part of the channel URI) are given in
turn and the last one stays; those without a token are for all other devices.

  [[answer]]
  token = "phone1"
  status = 404
  notification = "Dropped"
  device = "Connected"
  subscription = "Expired"

  [[answer]]
  status = 503
  delay_ms = 50
  retry_after = 5

Faults: "stall", "stall-body", "endless-body", "drop", { header-flood = 1000 }. `location` makes a redirect of a 302."#;

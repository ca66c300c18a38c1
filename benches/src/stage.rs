//! What every bench sets up: a site, a fake Apple, a subject, and connections to it.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use pushrelay_peers::world::RELAY_NAME;
use tempfile::TempDir;

use crate::process::Apple;
use crate::site::Site;
use pushrelay_benches::generator::Generator;
use pushrelay_benches::message::Template;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// The daemon
    Relay,
    /// The least possible relay on the same crates
    Floor,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Relay => "relay",
            Kind::Floor => "floor",
        }
    }
}

/// What every bench takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StageArgs {
    /// What to measure, one beside the other
    #[arg(value_enum, default_values = ["relay", "floor"])]
    pub(crate) subjects: Vec<Kind>,
    /// The daemon [default: `pushrelay` beside this program]
    #[arg(long, value_name = "FILE")]
    relay: Option<PathBuf>,
    /// SIP connections
    #[arg(long, default_value_t = 4)]
    pub(crate) connections: usize,
    /// Octets in the body of a MESSAGE
    #[arg(long, default_value_t = 1024)]
    pub(crate) body: usize,
}

/// Certificates and programs.
pub(crate) struct Stage {
    folder: TempDir,
    site: Site,
    args: StageArgs,
}

impl Stage {
    pub(crate) fn new(args: StageArgs) -> anyhow::Result<Stage> {
        let folder = tempfile::tempdir()?;
        let site = Site::create(folder.path())?;
        let stage = Stage { folder, site, args };
        if stage.args.subjects.contains(&Kind::Relay) {
            let relay = stage.relay()?;
            anyhow::ensure!(
                relay.is_file(),
                "there is no {}: build it with the same profile, `cargo build --profile dist -p pushrelay`",
                relay.display()
            );
        }
        Ok(stage)
    }

    pub(crate) fn apple(&self) -> anyhow::Result<Apple> {
        let mut command = Command::new(env::current_exe()?);
        Apple::start(command.arg("apple").arg(self.folder.path()))
    }

    /// The program and arguments of a subject that sends to `apple`, behind `wrapper`.
    pub(crate) fn subject(
        &self,
        kind: Kind,
        apple: &Apple,
        wrapper: &[OsString],
    ) -> anyhow::Result<Command> {
        let mut words = wrapper.to_vec();
        match kind {
            Kind::Relay => {
                let configuration = self.site.write_configuration(apple.address)?;
                words.push(self.relay()?.into());
                words.extend(["serve".into(), "--config".into(), configuration.into()]);
            }
            Kind::Floor => {
                words.push(env::current_exe()?.into());
                words.extend(["floor".into(), self.folder.path().into()]);
                words.push(apple.address.to_string().into());
            }
        }
        let (program, arguments) = words.split_first().context("a program")?;
        let mut command = Command::new(program);
        command.args(arguments);
        Ok(command)
    }

    /// Connects to a subject.
    pub(crate) async fn connect(&self, address: std::net::SocketAddr) -> anyhow::Result<Generator> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let run = u64::try_from(since_1970.as_nanos())?;
        let template = Template::new(self.args.body, run);
        let tls = self.site.edge_tls()?;
        Generator::connect(address, tls, RELAY_NAME, self.args.connections, template, 0).await
    }

    fn relay(&self) -> anyhow::Result<PathBuf> {
        match &self.args.relay {
            Some(relay) => Ok(relay.clone()),
            None => Ok(env::current_exe()?.with_file_name("pushrelay")),
        }
    }
}

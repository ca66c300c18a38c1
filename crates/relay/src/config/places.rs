//! Where a command finds the daemon, and what it works on in its place while none runs. No key or certificate is looked at: the
//! caller may not be able to read them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pushrelay_push::ChannelPolicy;

use super::{Files, Problem, Resolver, SpoolConfig, file};
use crate::operator::socket::PATH_BYTES;

/// The folders that `deploy/pushrelay.service` has systemd make.
const UNIT_STATE: &str = "/var/lib/pushrelay";
const UNIT_RUNTIME: &str = "/run/pushrelay";

/// What a command needs of the configuration.
pub(crate) struct Places {
    /// Where a daemon answers operators.
    pub(crate) socket: Option<PathBuf>,
    /// What waits.
    pub(crate) spool: Option<SpoolConfig>,
    /// What channel URIs are held to.
    pub(crate) channels: ChannelPolicy,
}

/// Reads them out of the file at `path`.
pub(crate) fn places(path: &Path) -> Result<Places, Vec<Problem>> {
    let broken = |text: String| {
        let key = String::new();
        vec![Problem { key, text }]
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| broken(format!("cannot be read: {error}")))?;
    let file: file::File =
        toml::from_str(&text).map_err(|error| broken(error.to_string().trim_end().to_owned()))?;
    let mut resolver = Resolver::new(path, SystemTime::now(), Files::default());
    // Called by hand, a command has not the environment that the unit has.
    resolver.state.get_or_insert_with(|| UNIT_STATE.into());
    resolver.runtime.get_or_insert_with(|| UNIT_RUNTIME.into());
    let spool = resolver.spool(&file.spool, file.reply_within);
    let socket = resolver.socket(&file.admin);
    if resolver.problems.is_empty() {
        let channels = file.windows_phone.channels();
        Ok(Places {
            socket,
            spool,
            channels,
        })
    } else {
        Err(resolver.problems)
    }
}

impl Resolver {
    /// Where operators are answered.
    pub(super) fn socket(&mut self, admin: &file::Admin) -> Option<PathBuf> {
        let configured = admin.socket.as_deref().map(|path| self.path(path));
        let runtime = self.runtime.as_ref();
        let path = configured.or_else(|| runtime.map(|folder| folder.join("admin.sock")))?;
        if path.as_os_str().len() > PATH_BYTES {
            self.problem(
                "admin.socket",
                format!(
                    "got {:?}, expected a path of at most {PATH_BYTES} bytes, as the system can bind",
                    path.display()
                ),
            );
        }
        Some(path)
    }
}

//! The configuration, resolved: every file read, every key and certificate judged, before a socket opens.
//!
//! All problems are collected and told at once, each with file, key, value and what was expected.

mod app_name;
mod bodies;
mod bounds;
mod certificates;
mod crls;
mod file;
mod files;
mod fixed;
mod mapping;
mod offload;
mod places;
mod presentation;
mod providers;
mod sip;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pushrelay_providers::apns::{ApnsApp, Credential, Endpoint};
use pushrelay_providers::mpns::MpnsOptions;
use pushrelay_push::body::{Decoders, Mapping};
use pushrelay_push::{ChannelPolicy, Environment};
use rustls::{RootCertStore, ServerConfig};

use crate::address::Addresses;
use crate::partners::{Partner, Partners};

pub(crate) use app_name::AppName;
pub(crate) use bodies::{Bodies, CaptureConfig};
pub(crate) use certificates::ConfiguredCertificate;
pub(crate) use file::{Limits, LogFormat, UnknownBody};
pub(crate) use files::Files;
pub(crate) use fixed::Fixed;
pub(crate) use offload::Offload;
pub(crate) use places::places;
pub(crate) use presentation::Presentation;

/// What the daemon runs on.
pub(crate) struct Config {
    pub(crate) reply_within: Duration,
    pub(crate) default_ttl: Duration,
    pub(crate) max_ttl: Duration,
    pub(crate) drain_grace: Duration,
    pub(crate) presentation: Presentation,
    /// How often to look whether a file has changed; zero is never.
    pub(crate) watch_files: Duration,
    pub(crate) listen: Vec<SocketAddr>,
    /// Where TLS terminators on this machine hand connections over.
    pub(crate) offload: Vec<Offload>,
    pub(crate) addresses: Addresses,
    pub(crate) accepted_status: u16,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) partners: Partners,
    /// Who is asked which hosts a domain publishes; empty where no partner is known by them.
    pub(crate) dns_servers: Vec<SocketAddr>,
    /// `None` while the platform is switched off.
    pub(crate) apple: Option<Vec<App>>,
    /// `None` while the platform is switched off.
    pub(crate) windows_phone: Option<Vec<PhoneApp>>,
    pub(crate) bodies: Bodies,
    /// `None` where nothing can wait.
    pub(crate) spool: Option<SpoolConfig>,
    pub(crate) dispatch_in_flight: usize,
    pub(crate) gone_devices: usize,
    pub(crate) gone_for: Duration,
    pub(crate) admin: SocketAddr,
    /// Where operators are answered; `None` where nobody can be.
    pub(crate) admin_socket: Option<PathBuf>,
    /// How many MESSAGEs are remembered for them.
    pub(crate) trail: usize,
    pub(crate) log: Log,
    pub(crate) limits: Limits,
    /// Every certificate that ends one day.
    pub(crate) certificates: Vec<ConfiguredCertificate>,
    /// What a reload leaves as it is.
    pub(crate) fixed: Fixed,
}

/// What something was made of: a hash of its keys and of the contents of the files that they name. Equal sources make equal
/// things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source(u64);

/// An app on Apple's side.
pub(crate) struct App {
    pub(crate) source: Source,
    /// Of its provider token alone, which other apps may share.
    pub(crate) token: Option<Source>,
    pub(crate) id: Box<str>,
    pub(crate) name: AppName,
    pub(crate) app: ApnsApp,
    pub(crate) environment: Option<Environment>,
    pub(crate) endpoint: Endpoint,
    pub(crate) credential: Credential,
    pub(crate) connections: usize,
    pub(crate) hide_content: bool,
}

/// What a partner has where its own table says nothing.
struct PartnerDefaults {
    apple: bool,
    windows_phone: bool,
}

/// An app on Windows Phones, or all of them.
pub(crate) struct PhoneApp {
    pub(crate) source: Source,
    pub(crate) name: AppName,
    pub(crate) hide_content: bool,
    pub(crate) options: MpnsOptions,
}

/// Where what waits is kept.
pub(crate) struct SpoolConfig {
    pub(crate) path: PathBuf,
    pub(crate) options: pushrelay_spool::Options,
}

/// How the log is written.
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
}

/// Something in the configuration that an operator must see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The key, such as `apple.apps[0].token.key`; empty where the whole file is meant.
    pub(crate) key: String,
    /// What is there, and what was expected.
    pub(crate) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}", self.text)
        } else {
            write!(f, "{}: {}", self.key, self.text)
        }
    }
}

/// What came of reading the file.
pub(crate) struct Loaded {
    /// `None` where there is a problem.
    pub(crate) config: Option<Config>,
    /// What must be mended.
    pub(crate) problems: Vec<Problem>,
    /// What should be looked at.
    pub(crate) warnings: Vec<Problem>,
    /// What was read, or should have been.
    pub(crate) files: Files,
}

impl Loaded {
    /// Nothing came of it, and this is why.
    pub(crate) fn broken(text: String, files: Files) -> Loaded {
        Loaded {
            config: None,
            problems: vec![Problem {
                key: String::new(),
                text,
            }],
            warnings: Vec::new(),
            files,
        }
    }
}

/// Reads `path` and everything that it names. `now` judges the certificates.
pub(crate) fn load(path: &Path, now: SystemTime) -> Loaded {
    let mut files = Files::default();
    files.note(path);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Loaded::broken(format!("cannot be read: {error}"), files),
    };
    match toml::from_str::<file::File>(&text) {
        Ok(file) => Resolver::new(path, now, files).resolve(file),
        Err(error) => Loaded::broken(error.to_string().trim_end().to_owned(), files),
    }
}

/// The roots that `text` names, for whoever was given them on the command line.
pub(crate) fn roots(text: &str) -> Result<Arc<RootCertStore>, String> {
    let mut resolver = Resolver::new(Path::new("./."), SystemTime::UNIX_EPOCH, Files::default());
    let found = resolver.roots("--roots", &[text.to_owned()]);
    found.ok_or_else(|| {
        let problem = resolver.problems.first();
        problem.map(ToString::to_string).unwrap_or_default()
    })
}

/// Only what bodies are read by, for whoever may not read the keys: the decoders of `path`, and the channels that it allows.
pub(crate) fn decoders(path: &Path) -> Result<(Decoders, ChannelPolicy), Vec<Problem>> {
    let broken = |text| Loaded::broken(text, Files::default()).problems;
    let text = std::fs::read_to_string(path)
        .map_err(|error| broken(format!("cannot be read: {error}")))?;
    let file = toml::from_str::<file::File>(&text)
        .map_err(|error| broken(error.to_string().trim_end().to_owned()))?;
    let mut resolver = Resolver::new(path, SystemTime::UNIX_EPOCH, Files::default());
    let channels = file.windows_phone.channels();
    let decoders = resolver.decoders(&file.bodies, channels.clone());
    if resolver.problems.is_empty() {
        Ok((decoders, channels))
    } else {
        Err(resolver.problems)
    }
}

/// A mapping that is not yet a file; the error is the first of its problems.
pub(crate) fn mapping(name: &str, text: &str) -> Result<Option<Mapping>, String> {
    mapping::read(name, text).map_err(|problems| {
        let first = problems.first().map(ToString::to_string);
        first.unwrap_or_default()
    })
}

struct Resolver {
    directory: PathBuf,
    credentials: Option<PathBuf>,
    /// Where systemd has the service keep what must last.
    state: Option<PathBuf>,
    /// Where systemd has the service keep what lasts as long as it runs.
    runtime: Option<PathBuf>,
    now: SystemTime,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    certificates: Vec<ConfiguredCertificate>,
    files: Files,
    /// Of what is being resolved.
    source: DefaultHasher,
}

impl Resolver {
    fn new(path: &Path, now: SystemTime, files: Files) -> Resolver {
        let folder = |variable| std::env::var_os(variable).map(PathBuf::from);
        Resolver {
            directory: path.parent().map(Path::to_path_buf).unwrap_or_default(),
            credentials: folder("CREDENTIALS_DIRECTORY"),
            state: folder("STATE_DIRECTORY"),
            runtime: folder("RUNTIME_DIRECTORY"),
            now,
            problems: Vec::new(),
            warnings: Vec::new(),
            certificates: Vec::new(),
            files,
            source: DefaultHasher::new(),
        }
    }

    fn resolve(mut self, mut file: file::File) -> Loaded {
        let fixed = Fixed::of(&file);
        self.bounds(&file);
        let addresses = self.addresses(&file.sip);
        let tls = self.server_tls(&file.sip);
        let offload = self.offload(&file.sip.offload);
        let defaults = PartnerDefaults {
            apple: file.apple.enabled,
            windows_phone: file.windows_phone.enabled,
        };
        let partners = self.partners(file.partners, &defaults);
        let dns_servers = self.dns_servers(&file.sip.dns, &partners);
        let anybody = |on: bool, has: fn(&Partner) -> bool| on || partners.iter().any(|p| has(p));
        let apple_on = anybody(file.apple.enabled, |partner| partner.apple);
        let phone_on = anybody(file.windows_phone.enabled, |partner| partner.windows_phone);
        let presentation = Presentation {
            hide_content: file.hide_content,
            apple: self.apple_templates(file.apple.templates),
            phone: self.phone_templates(std::mem::take(&mut file.windows_phone.templates)),
        };
        let apple = apple_on.then(|| self.apps(file.apple.apps));
        let channels = file.windows_phone.channels();
        let bodies = self.bodies(&file.bodies, channels);
        let windows_phone = if phone_on {
            self.windows_phone(file.windows_phone)
        } else {
            None
        };
        if apple.is_none() && windows_phone.is_none() {
            self.warn(
                "apple.enabled",
                "no platform is switched on: every push will be refused with 403",
            );
        }
        let filter = self.filter(&file.log.level);
        let spool = self.spool(&file.spool, file.reply_within);
        let admin_socket = self.socket(&file.admin);
        let config = match (addresses, tls, self.problems.is_empty()) {
            (Some(addresses), Some(tls), true) => Some(Config {
                reply_within: file.reply_within,
                default_ttl: file.default_ttl,
                max_ttl: file.max_ttl,
                drain_grace: file.drain_grace,
                presentation,
                watch_files: file.watch_files,
                listen: file.sip.listen,
                offload,
                addresses,
                accepted_status: file.sip.accepted_status,
                tls,
                partners,
                dns_servers,
                apple,
                windows_phone,
                bodies,
                spool,
                dispatch_in_flight: file.spool.in_flight.max(1),
                gone_devices: file.spool.gone_devices,
                gone_for: file.spool.gone_for,
                admin: file.admin.listen,
                admin_socket,
                trail: file.admin.trail,
                log: Log {
                    format: file.log.format,
                    filter,
                },
                limits: file.limits,
                certificates: self.certificates,
                fixed,
            }),
            _ => None,
        };
        Loaded {
            config,
            problems: self.problems,
            warnings: self.warnings,
            files: self.files,
        }
    }

    fn problem(&mut self, key: impl Into<String>, text: impl fmt::Display) {
        self.problems.push(Problem {
            key: key.into(),
            text: text.to_string(),
        });
    }

    fn warn(&mut self, key: impl Into<String>, text: impl fmt::Display) {
        self.warnings.push(Problem {
            key: key.into(),
            text: text.to_string(),
        });
    }

    fn spool(&mut self, file: &file::Spool, reply_within: Duration) -> Option<SpoolConfig> {
        let state = self.state.as_ref();
        let Some(path) = file
            .path
            .as_deref()
            .map(|path| self.path(path))
            .or_else(|| state.map(|folder| folder.join("spool.sqlite")))
        else {
            if reply_within.is_zero() {
                self.problem(
                    "reply_within",
                    "got 0s, which means that all goes through the spool; expected spool.path",
                );
            }
            self.warn(
                "spool.path",
                "no spool: what a provider does not take within reply_within is answered 503",
            );
            return None;
        };
        if !path.parent().is_some_and(std::path::Path::is_dir) {
            self.problem(
                "spool.path",
                format!(
                    "got {:?}, expected a file in a folder that is there",
                    path.display()
                ),
            );
        }
        let options = pushrelay_spool::Options {
            lane_entries: file.entries,
            lane_bytes: file.bytes,
            owner_entries: file.partner_entries,
            owner_bytes: file.partner_bytes,
            disk_reserve: file.disk_reserve,
            gone_for: file.gone_for,
            gone_entries: file.gone_devices as u64,
            ..pushrelay_spool::Options::default()
        };
        Some(SpoolConfig { path, options })
    }

    fn filter(&mut self, level: &str) -> String {
        if tracing_subscriber::EnvFilter::try_new(level).is_err() {
            self.problem(
                "log.level",
                format!("got {level:?}, expected error, warn, info, debug or trace"),
            );
        }
        level.to_owned()
    }

    fn read(&mut self, key: &str, path: &Path) -> Option<Vec<u8>> {
        let path = self.path(path);
        self.files.note(&path);
        match std::fs::read(&path) {
            Ok(bytes) => {
                bytes.hash(&mut self.source);
                Some(bytes)
            }
            Err(error) => {
                self.problem(
                    key,
                    format!(
                        "got {:?}, expected a file that can be read: {error}",
                        path.display()
                    ),
                );
                None
            }
        }
    }

    /// Begins the source of something that these keys describe.
    fn begin_source(&mut self, keys: &impl fmt::Debug) {
        self.source = DefaultHasher::new();
        format!("{keys:?}").hash(&mut self.source);
    }

    /// The source of all that was read since.
    fn source(&self) -> Source {
        Source(self.source.finish())
    }

    /// `credential:NAME` is what systemd's `LoadCredential=NAME:…` has put into place; any other path is taken from the
    /// folder of the configuration file.
    fn path(&self, path: &Path) -> PathBuf {
        match path
            .to_str()
            .and_then(|text| text.strip_prefix("credential:"))
        {
            Some(name) => self.credentials.clone().unwrap_or_default().join(name),
            None => self.directory.join(path),
        }
    }
}

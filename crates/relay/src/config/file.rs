//! The configuration file as it is written: TOML tables and keys, nothing resolved.
//!
//! Every key of every table is in `config/README.md`; a test holds the two equal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pushrelay_sip as sip;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::presentation::{AppleFile as AppleTemplate, PhoneFile as PhoneTemplate};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default = "reply_within", deserialize_with = "duration")]
    pub(crate) reply_within: Duration,
    #[serde(default = "default_ttl", deserialize_with = "duration")]
    pub(crate) default_ttl: Duration,
    #[serde(default = "max_ttl", deserialize_with = "duration")]
    pub(crate) max_ttl: Duration,
    #[serde(default = "drain_grace", deserialize_with = "duration")]
    pub(crate) drain_grace: Duration,
    #[serde(default)]
    pub(crate) hide_content: bool,
    #[serde(default = "watch_files", deserialize_with = "duration")]
    pub(crate) watch_files: Duration,
    pub(crate) sip: Sip,
    #[serde(default)]
    pub(crate) partners: Vec<Partner>,
    #[serde(default)]
    pub(crate) apple: Apple,
    #[serde(default)]
    pub(crate) windows_phone: WindowsPhone,
    #[serde(default)]
    pub(crate) bodies: Bodies,
    #[serde(default)]
    pub(crate) spool: Spool,
    #[serde(default)]
    pub(crate) admin: Admin,
    #[serde(default)]
    pub(crate) log: Log,
    #[serde(default)]
    pub(crate) limits: Limits,
}

/// `[sip]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sip {
    #[serde(default = "sip_listen")]
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) addresses: Vec<String>,
    pub(crate) certificates: Vec<CertificateFiles>,
    #[serde(default)]
    pub(crate) names: Vec<String>,
    #[serde(default = "system_only", deserialize_with = "one_or_many")]
    pub(crate) client_roots: Vec<String>,
    #[serde(default)]
    pub(crate) crls: Vec<PathBuf>,
    #[serde(default)]
    pub(crate) overdue_crl: OverdueCrl,
    #[serde(default = "system_only", deserialize_with = "one_or_many")]
    pub(crate) dns: Vec<String>,
    #[serde(default = "accepted_status")]
    pub(crate) accepted_status: u16,
    #[serde(default)]
    pub(crate) offload: Vec<Offload>,
}

/// `[[sip.offload]]`: where a TLS terminator on this machine hands connections over.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Offload {
    pub(crate) listen: SocketAddr,
    #[serde(default)]
    pub(crate) accept_any_purpose: bool,
    pub(crate) certificate_type: Option<u8>,
}

/// `overdue_crl`: what a revocation list is worth whose next one should have come.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OverdueCrl {
    #[default]
    Refuse,
    Accept,
}

/// A certificate chain and its key, PEM.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateFiles {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

/// `[[partners]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Partner {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) known_by: KnownBy,
    #[serde(default)]
    pub(crate) edges: Vec<String>,
    #[serde(default)]
    pub(crate) common_name: bool,
    pub(crate) domains: Vec<String>,
    pub(crate) apple: Option<bool>,
    pub(crate) windows_phone: Option<bool>,
    #[serde(default)]
    pub(crate) hide_content: bool,
    pub(crate) rate: Option<f64>,
    pub(crate) burst: Option<u32>,
}

/// `known_by` of a partner.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KnownBy {
    #[default]
    Edge,
    Domain,
    Srv,
}

/// `[apple]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Apple {
    pub(crate) enabled: bool,
    pub(crate) apps: Vec<App>,
    pub(crate) templates: Vec<AppleTemplate>,
}

/// `[[apple.apps]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct App {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) default: bool,
    pub(crate) topic: Option<String>,
    pub(crate) environment: Option<AppEnvironment>,
    pub(crate) url: Option<String>,
    pub(crate) port: Option<u16>,
    #[serde(default = "system")]
    pub(crate) roots: String,
    pub(crate) token: Option<TokenFiles>,
    pub(crate) certificate: Option<AppCertificate>,
    #[serde(default = "app_connections")]
    pub(crate) connections: usize,
    #[serde(default)]
    pub(crate) hide_content: bool,
}

/// `environment` of an app.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AppEnvironment {
    Production,
    Sandbox,
}

/// `token` of an app: Apple's .p8 key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenFiles {
    pub(crate) key: PathBuf,
    pub(crate) key_id: String,
    pub(crate) team_id: String,
}

/// `certificate` of an app, or of the Windows Phone service: PEM files or one PKCS#12 file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppCertificate {
    pub(crate) chain: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) pkcs12: Option<PathBuf>,
    pub(crate) password_file: Option<PathBuf>,
}

/// `[windows_phone]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WindowsPhone {
    pub(crate) enabled: bool,
    pub(crate) hosts: Vec<String>,
    pub(crate) ports: Vec<u16>,
    pub(crate) path_prefixes: Vec<String>,
    pub(crate) allow_private_addresses: bool,
    pub(crate) roots: String,
    pub(crate) certificate: Option<AppCertificate>,
    pub(crate) hide_content: bool,
    pub(crate) apps: Vec<PhoneApp>,
    pub(crate) templates: Vec<PhoneTemplate>,
}

impl WindowsPhone {
    /// What its channel URIs are held to.
    pub(crate) fn channels(&self) -> pushrelay_push::ChannelPolicy {
        let hosts = self.hosts.iter().map(|host| host.to_ascii_lowercase());
        pushrelay_push::ChannelPolicy {
            hosts: hosts.collect(),
            ports: self.ports.clone(),
            path_prefixes: self.path_prefixes.clone(),
        }
    }
}

impl Default for WindowsPhone {
    fn default() -> Self {
        let policy = pushrelay_push::ChannelPolicy::default();
        WindowsPhone {
            enabled: false,
            hosts: policy.hosts,
            ports: policy.ports,
            path_prefixes: policy.path_prefixes,
            allow_private_addresses: false,
            roots: system(),
            certificate: None,
            hide_content: false,
            apps: Vec::new(),
            templates: Vec::new(),
        }
    }
}

/// `[bodies]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bodies {
    pub(crate) decoders: Vec<DecoderName>,
    pub(crate) mappings: Option<PathBuf>,
    pub(crate) unknown_body: UnknownBody,
    pub(crate) capture: CaptureMode,
    pub(crate) capture_folder: Option<PathBuf>,
    pub(crate) capture_files: usize,
    pub(crate) capture_bytes: u64,
    #[serde(deserialize_with = "duration")]
    pub(crate) capture_age: Duration,
    pub(crate) capture_redact: bool,
}

impl Default for Bodies {
    fn default() -> Self {
        Bodies {
            decoders: vec![DecoderName::Json, DecoderName::Xml, DecoderName::Mappings],
            mappings: None,
            unknown_body: UnknownBody::Reject,
            capture: CaptureMode::Off,
            capture_folder: None,
            capture_files: 1000,
            capture_bytes: 64 * 1024 * 1024,
            capture_age: Duration::from_secs(7 * 24 * 3600),
            capture_redact: true,
        }
    }
}

/// An element of `decoders`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DecoderName {
    Json,
    Xml,
    Mappings,
}

/// `unknown_body`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UnknownBody {
    Reject,
    AcceptCaptured,
}

/// `capture`
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CaptureMode {
    Off,
    Undecodable,
    All,
}

/// `[[windows_phone.apps]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PhoneApp {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) default: bool,
    #[serde(default)]
    pub(crate) hide_content: bool,
    pub(crate) certificate: Option<AppCertificate>,
}

/// `[spool]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Spool {
    pub(crate) path: Option<PathBuf>,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) partner_entries: u64,
    pub(crate) partner_bytes: u64,
    pub(crate) disk_reserve: u64,
    pub(crate) in_flight: usize,
    pub(crate) gone_devices: usize,
    #[serde(deserialize_with = "duration", serialize_with = "written")]
    pub(crate) gone_for: Duration,
}

impl Default for Spool {
    fn default() -> Self {
        let options = pushrelay_spool::Options::default();
        Spool {
            path: None,
            entries: options.lane_entries,
            bytes: options.lane_bytes,
            partner_entries: options.owner_entries,
            partner_bytes: options.owner_bytes,
            disk_reserve: options.disk_reserve,
            in_flight: 64,
            gone_devices: 200_000,
            gone_for: options.gone_for,
        }
    }
}

/// `[admin]`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    pub(crate) listen: SocketAddr,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) trail: usize,
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            socket: None,
            trail: 32_768,
        }
    }
}

/// `[log]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: String,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            format: LogFormat::Plain,
            level: "info".into(),
        }
    }
}

/// `format` of the log.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Plain,
    Json,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) connections_per_partner: usize,
    pub(crate) connections_per_address: usize,
    pub(crate) handshakes: usize,
    pub(crate) handshakes_per_address: usize,
    #[serde(deserialize_with = "duration", serialize_with = "written")]
    pub(crate) handshake_timeout: Duration,
    #[serde(deserialize_with = "duration", serialize_with = "written")]
    pub(crate) message_timeout: Duration,
    #[serde(deserialize_with = "duration", serialize_with = "written")]
    pub(crate) idle_timeout: Duration,
    #[serde(deserialize_with = "duration", serialize_with = "written")]
    pub(crate) write_timeout: Duration,
    pub(crate) requests_in_flight: usize,
    pub(crate) stranger_connections: usize,
    pub(crate) head_bytes: usize,
    pub(crate) head_lines: usize,
    pub(crate) body_bytes: usize,
}

impl Limits {
    /// What a SIP connection may cost.
    pub(crate) fn sip(&self) -> sip::Limits {
        sip::Limits {
            head_bytes: self.head_bytes,
            head_lines: self.head_lines,
            body_bytes: self.body_bytes,
            message_life: self.message_timeout,
            ..sip::Limits::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 1000,
            connections_per_partner: 200,
            connections_per_address: 200,
            handshakes: 64,
            handshakes_per_address: 32,
            handshake_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(32),
            idle_timeout: Duration::from_secs(2 * 3600),
            write_timeout: Duration::from_secs(30),
            requests_in_flight: 256,
            stranger_connections: 8,
            head_bytes: 64 * 1024,
            head_lines: 256,
            body_bytes: 64 * 1024,
        }
    }
}

fn reply_within() -> Duration {
    Duration::from_millis(1500)
}

fn default_ttl() -> Duration {
    Duration::from_secs(24 * 3600)
}

fn max_ttl() -> Duration {
    // Apple keeps a notification for 30 days at most.
    Duration::from_secs(30 * 24 * 3600)
}

fn drain_grace() -> Duration {
    Duration::from_secs(20)
}

fn watch_files() -> Duration {
    Duration::from_secs(2)
}

fn sip_listen() -> Vec<SocketAddr> {
    vec![SocketAddr::from(([0u16; 8], 5061))]
}

fn accepted_status() -> u16 {
    200
}

fn app_connections() -> usize {
    4
}

fn system_only() -> Vec<String> {
    vec![system()]
}

fn system() -> String {
    "system".into()
}

/// A text, or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a text, or a list of texts")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}

/// `"1500ms"`, `"20s"`, `"1h 30m"`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| {
        serde::de::Error::custom("expected a duration such as \"1500ms\", \"20s\" or \"1h 30m\"")
    })
}

/// The same, the other way.
fn written<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

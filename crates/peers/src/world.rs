//! Everything around one relay, ready-made: certificates in a folder, a fake Apple, a fake Windows Phone service, and the
//! configuration that ties the relay to them.
//!
//! Not here: the relay. [`World::daemon`] runs whatever binary it is given.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use tempfile::TempDir;
use toml::{Table, Value};

use crate::apns::{ApnsOptions, FakeApns};
use crate::daemon::{Daemon, DaemonOptions};
use crate::edge::FakeEdge;
use crate::mpns::{FakeMpns, MpnsOptions};
use crate::pki::{ApnsKey, Authority, Eku, Issued, Key, Leaf};
use crate::tls;

/// The name in the relay's certificate.
pub const RELAY_NAME: &str = "relay.push.example.org";
/// The name in the partner's certificate: its Access Edge.
pub const EDGE_NAME: &str = "sip.contoso.example";
/// The partner's SIP domain.
pub const EDGE_DOMAIN: &str = "contoso.example";
/// The app's id and APNs topic.
pub const TOPIC: &str = "com.example.chat";

/// All certificates and keys of a world, under one throw-away authority.
#[derive(Clone)]
pub struct Certificates {
    /// The authority's certificate, PEM.
    pub root_pem: String,
    /// The relay's own, ECDSA, for [`RELAY_NAME`] and 127.0.0.1.
    pub relay: Issued,
    /// The partner's, for [`EDGE_NAME`] with serverAuth only, as Access Edges have it.
    pub edge: Issued,
    /// The fake Apple's, for `localhost` and 127.0.0.1.
    pub apple: Issued,
    /// The fake Windows Phone service's, for `localhost` and 127.0.0.1.
    pub windows_phone: Issued,
    /// The key that signs provider tokens.
    pub provider_key: ApnsKey,
}

impl Certificates {
    /// Makes an authority and what it has to issue.
    pub fn new() -> (Certificates, Authority) {
        let authority = Authority::new("Throw-away CA of pushrelay-peers");
        let certificates = Certificates {
            root_pem: authority.root_pem().to_owned(),
            relay: authority.issue(&Leaf::server(RELAY_NAME).distribution_point(CRL_URL)),
            edge: authority.issue(&Leaf::named(EDGE_NAME).eku(Eku::Server)),
            apple: authority.issue(&Leaf::server("localhost")),
            windows_phone: authority.issue(&Leaf::server("localhost")),
            provider_key: ApnsKey::new(KEY_ID, TEAM_ID),
        };
        (certificates, authority)
    }

    /// Writes `ca.pem`, `relay`, `edge`, `apple`, `windows-phone` (each `.pem` and `.key`) and `AuthKey.p8` with `AuthKey.pub`.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("ca.pem"), &self.root_pem)?;
        for (stem, issued) in self.issued() {
            issued.write(dir, stem)?;
        }
        crate::pki::write_secret(&dir.join("AuthKey.p8"), self.provider_key.p8_pem.as_bytes())?;
        fs::write(dir.join("AuthKey.pub"), &self.provider_key.public_pem)
    }

    /// Reads what [`write`](Certificates::write) wrote.
    pub fn read(dir: &Path) -> io::Result<Certificates> {
        let text = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path)
                .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
        };
        let issued = |stem: &str| {
            io::Result::Ok(Issued {
                chain_pem: text(&format!("{stem}.pem"))?,
                key_pem: text(&format!("{stem}.key"))?,
            })
        };
        Ok(Certificates {
            root_pem: text("ca.pem")?,
            relay: issued("relay")?,
            edge: issued("edge")?,
            apple: issued("apple")?,
            windows_phone: issued("windows-phone")?,
            provider_key: ApnsKey {
                p8_pem: text("AuthKey.p8")?,
                public_pem: text("AuthKey.pub")?,
                ..ApnsKey::new(KEY_ID, TEAM_ID)
            },
        })
    }

    fn issued(&self) -> [(&'static str, &Issued); 4] {
        [
            ("relay", &self.relay),
            ("edge", &self.edge),
            ("apple", &self.apple),
            ("windows-phone", &self.windows_phone),
        ]
    }
}

/// The addresses at which the parts of a world are to be found.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Where the relay listens for SIP over TLS.
    pub sip: SocketAddr,
    /// Where its admin endpoint is.
    pub admin: SocketAddr,
    /// The fake Apple.
    pub apple: SocketAddr,
    /// The fake Windows Phone service.
    pub windows_phone: SocketAddr,
}

/// The configuration of a relay that stands between one partner and the two fakes, as a file beside the certificates.
pub fn configuration(addresses: &Addresses) -> String {
    let Addresses {
        sip,
        admin,
        apple,
        windows_phone,
    } = addresses;
    format!(
        r#"# A relay between one partner and the fakes of pushrelay-peers.
reply_within = "1500ms"

[sip]
listen = ["{sip}"]
addresses = ["sip:push@push.example.org"]
certificates = [{{ chain = "relay.pem", key = "relay.key" }}]
client_roots = "ca.pem"

[[partners]]
name = "contoso"
edges = ["{EDGE_NAME}"]
domains = ["{EDGE_DOMAIN}"]

[apple]
enabled = true

[[apple.apps]]
id = "{TOPIC}"
topic = "{TOPIC}"
url = "https://{apple}"
roots = "ca.pem"
token = {{ key = "AuthKey.p8", key_id = "{KEY_ID}", team_id = "{TEAM_ID}" }}

[windows_phone]
enabled = true
hosts = ["{host}"]
ports = [{port}]
path_prefixes = ["/throttledthirdparty/", "/unthrottledthirdparty/"]
# The fake stands on this host; the real service never would.
allow_private_addresses = true
roots = "ca.pem"

[spool]
path = "spool.sqlite"
# A test's disk may be small.
disk_reserve = 1048576

[admin]
listen = "{admin}"
socket = "admin.sock"

[log]
format = "json"
level = "info"
"#,
        host = windows_phone.ip(),
        port = windows_phone.port(),
    )
}

/// How a world is to be. What the relay's configuration says is changed in [`World::config`].
#[derive(Clone, Default)]
pub struct WorldOptions {
    /// The fake Apple; its certificate and the provider key are filled in.
    pub apple: ApnsOptions,
    /// The fake Windows Phone service.
    pub windows_phone: MpnsOptions,
    /// Whether the fake Windows Phone service speaks HTTPS.
    pub windows_phone_https: bool,
    /// Whether Apple is to be spoken to with a client certificate instead of provider tokens.
    pub apple_by_certificate: bool,
    /// Whether the relay has an RSA certificate beside the ECDSA one.
    pub relay_rsa: bool,
}

/// A relay's surroundings, running. The folder and the fakes go when this value is dropped.
pub struct World {
    /// The folder with certificates, keys and the relay's configuration.
    pub dir: TempDir,
    /// The authority behind all certificates, to issue more.
    pub authority: Authority,
    /// The certificates that are there.
    pub certificates: Certificates,
    /// The fake Apple.
    pub apple: FakeApns,
    /// The fake Windows Phone service.
    pub windows_phone: FakeMpns,
    /// The relay's configuration: change it before [`daemon`](World::daemon).
    pub config: Table,
}

impl World {
    /// Makes everything and starts the fakes.
    pub async fn start() -> io::Result<World> {
        World::start_with(WorldOptions::default()).await
    }

    /// The same with options.
    pub async fn start_with(options: WorldOptions) -> io::Result<World> {
        let dir = tempfile::tempdir()?;
        let (certificates, authority) = Certificates::new();
        certificates.write(dir.path())?;

        let mut apple = options.apple;
        apple.identity = Some((certificates.apple.clone(), certificates.root_pem.clone()));
        if options.apple_by_certificate {
            apple.client_roots_pem = Some(certificates.root_pem.clone());
        } else {
            apple.keys.push(certificates.provider_key.clone());
        }
        let apple = FakeApns::start(apple).await?;
        let mut windows_phone = options.windows_phone;
        if options.windows_phone_https {
            windows_phone.identity = Some(certificates.windows_phone.clone());
        }
        let windows_phone = FakeMpns::start(windows_phone).await?;

        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let text = configuration(&Addresses {
            sip: anywhere,
            admin: anywhere,
            apple: apple.address(),
            windows_phone: windows_phone.address(),
        });
        let mut config: Table = text.parse().map_err(io::Error::other)?;
        if options.apple_by_certificate {
            let leaf = Leaf::named(TOPIC).eku(Eku::Client);
            authority.issue(&leaf).write(dir.path(), "apple-client")?;
            let app = config["apple"]["apps"][0].as_table_mut();
            let app = app.expect("the configuration has an app");
            app.remove("token");
            app.insert("certificate".to_owned(), pair("apple-client"));
        }
        if options.relay_rsa {
            let leaf = Leaf::server(RELAY_NAME)
                .key(Key::Rsa)
                .distribution_point(CRL_URL);
            authority.issue(&leaf).write(dir.path(), "relay-rsa")?;
            let pairs = config["sip"]["certificates"].as_array_mut();
            pairs
                .expect("the configuration has certificates")
                .push(pair("relay-rsa"));
        }
        Ok(World {
            dir,
            authority,
            certificates,
            apple,
            windows_phone,
            config,
        })
    }

    /// Runs the relay with the configuration as it is now.
    pub async fn daemon(&self, binary: &Path) -> io::Result<Daemon> {
        Daemon::start(binary, &self.config.to_string(), self.dir.path()).await
    }

    /// The same with options, without waiting until it is ready.
    pub fn launch(&self, binary: &Path, options: DaemonOptions) -> io::Result<Daemon> {
        Daemon::launch(binary, &self.config.to_string(), self.dir.path(), options)
    }

    /// How the partner's Access Edge does TLS, for a sender of one's own.
    pub fn edge_tls(&self) -> io::Result<Arc<ClientConfig>> {
        let roots = tls::roots(&self.certificates.root_pem)?;
        tls::client(Some(&self.certificates.edge), roots)
    }

    /// The same for an Access Edge of another name, with a certificate of the same authority.
    pub fn tls_of(&self, edge: &str) -> io::Result<Arc<ClientConfig>> {
        let identity = self.authority.issue(&Leaf::named(edge).eku(Eku::Server));
        let roots = tls::roots(&self.certificates.root_pem)?;
        tls::client(Some(&identity), roots)
    }

    /// Connects as the partner's Access Edge.
    pub async fn edge(&self, relay: &Daemon) -> io::Result<FakeEdge> {
        let identity = &self.certificates.edge;
        let roots = &self.certificates.root_pem;
        FakeEdge::connect(relay.sip_addr(), RELAY_NAME, identity, roots, EDGE_DOMAIN).await
    }

    /// Connects as an Access Edge of another name and domain, with a certificate of the same authority.
    pub async fn edge_of(&self, relay: &Daemon, edge: &str, domain: &str) -> io::Result<FakeEdge> {
        let identity = self.authority.issue(&Leaf::named(edge).eku(Eku::Server));
        let roots = &self.certificates.root_pem;
        FakeEdge::connect(relay.sip_addr(), RELAY_NAME, &identity, roots, domain).await
    }
}

/// A device token of 64 digits that belongs to `number`, always the same, and looks like any other.
pub fn device_token(number: u64) -> String {
    let words = (0..4).map(|word| scattered(number.wrapping_mul(4).wrapping_add(word)));
    words.map(|word| format!("{word:016x}")).collect()
}

/// A permutation of all numbers under which neighbours are far apart (the finalizer of SplitMix64).
fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn pair(stem: &str) -> Value {
    let pair = [("chain", "pem"), ("key", "key")]
        .map(|(member, suffix)| (member.to_owned(), format!("{stem}.{suffix}").into()));
    Value::Table(pair.into_iter().collect())
}

/// Where the relay's certificate says that its revocation list is: nothing is there.
const CRL_URL: &str = "http://crl.example.invalid/ca.crl";
const KEY_ID: &str = "ABCDEFGHIJ";
const TEAM_ID: &str = "TEAM123456";

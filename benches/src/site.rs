//! A throw-away site: certificates, keys and the relay's configuration in one folder, for processes that meet there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use pushrelay_peers::pki::{ApnsKey, Authority, Leaf};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use pushrelay_benches::message::{ADDRESS, APP, DOMAIN};

/// The folder.
pub(crate) struct Site {
    folder: PathBuf,
}

/// The name in the relay's certificate.
pub(crate) const RELAY: &str = "push.example.org";
/// The name in our own certificate.
const EDGE: &str = "sip.contoso.example";

impl Site {
    /// Makes certificates and keys.
    pub(crate) fn create(folder: &Path) -> anyhow::Result<Site> {
        let authority = Authority::new("pushrelay benches");
        fs::write(folder.join(ROOTS), authority.root_pem())?;
        authority
            .issue(&Leaf::server(RELAY))
            .write(folder, "relay")?;
        authority.issue(&Leaf::named(EDGE)).write(folder, "edge")?;
        ApnsKey::new(KEY_ID, TEAM_ID).write(folder)?;
        Ok(Site::open(folder))
    }

    /// A folder that [`Site::create`] has filled.
    pub(crate) fn open(folder: &Path) -> Site {
        Site {
            folder: folder.to_owned(),
        }
    }

    /// Where the fake Apple puts the root that it is to be trusted by.
    pub(crate) fn apple_roots(&self) -> PathBuf {
        self.folder.join(APPLE_ROOTS)
    }

    /// Writes a configuration for the relay that sends to this fake Apple.
    pub(crate) fn write_configuration(&self, apple: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join("pushrelay.toml");
        // reply_within: under valgrind a first push with its handshake takes seconds.
        let text = format!(
            r#"reply_within = "30s"

[sip]
listen = ["127.0.0.1:0"]
addresses = ["{ADDRESS}"]
certificates = [{{ chain = "relay.pem", key = "relay.key" }}]
client_roots = "{ROOTS}"

[[partners]]
name = "contoso"
edges = ["{EDGE}"]
domains = ["{DOMAIN}"]

[apple]
enabled = true

[[apple.apps]]
id = "{APP}"
topic = "{APP}"
url = "{apple}"
roots = "{APPLE_ROOTS}"
token = {{ key = "AuthKey_{KEY_ID}.p8", key_id = "{KEY_ID}", team_id = "{TEAM_ID}" }}

[admin]
listen = "127.0.0.1:0"

[log]
format = "json"
level = "info"
"#
        );
        fs::write(&path, text)?;
        Ok(path)
    }

    /// The relay's side of the SIP connection, as the floor needs it.
    pub(crate) fn server_tls(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let roots = Arc::new(roots(&self.folder.join(ROOTS))?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
        let (chain, key) = self.identity("relay")?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }

    /// The Edge's side of the SIP connection.
    pub(crate) fn edge_tls(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let (chain, key) = self.identity("edge")?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(&self.folder.join(ROOTS))?)
            .with_client_auth_cert(chain, key)?;
        Ok(Arc::new(config))
    }

    /// The relay's side of the connection to Apple, as the floor needs it.
    pub(crate) fn apple_tls(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(&self.apple_roots())?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn identity(
        &self,
        stem: &str,
    ) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let path = self.folder.join(format!("{stem}.pem"));
        let chain = CertificateDer::pem_file_iter(&path)
            .and_then(Iterator::collect)
            .with_context(|| path.display().to_string())?;
        let key = PrivateKeyDer::from_pem_file(self.folder.join(format!("{stem}.key")))?;
        Ok((chain, key))
    }
}

/// Who has issued the relay's certificate and ours.
const ROOTS: &str = "ca.pem";
/// Who has issued the fake Apple's certificate.
const APPLE_ROOTS: &str = "apple.pem";
const KEY_ID: &str = "ABCDEFGHIJ";
const TEAM_ID: &str = "TEAM123456";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(file);
    roots.add(root.with_context(|| file.display().to_string())?)?;
    Ok(roots)
}

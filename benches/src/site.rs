//! A throw-away site: certificates, keys and the relay's configuration in one folder, where the processes of a run meet.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pushrelay_peers::ApnsOptions;
use pushrelay_peers::pki::{Issued, Leaf};
use pushrelay_peers::world::{self, Addresses, Certificates, EDGE_NAME};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The folder.
pub(crate) struct Site {
    folder: PathBuf,
    certificates: Certificates,
}

impl Site {
    /// Makes certificates and keys.
    pub(crate) fn create(folder: &Path) -> anyhow::Result<Site> {
        let (mut certificates, authority) = Certificates::new();
        // With clientAuth too: the floor's verifier is rustls' own, which wants it.
        certificates.edge = authority.issue(&Leaf::named(EDGE_NAME));
        certificates.write(folder)?;
        Site::open(folder)
    }

    /// A folder that [`Site::create`] has filled.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Site> {
        Ok(Site {
            folder: folder.to_owned(),
            certificates: Certificates::read(folder)?,
        })
    }

    /// A fake Apple of this site.
    pub(crate) fn apple(&self) -> ApnsOptions {
        let Certificates {
            apple, root_pem, ..
        } = &self.certificates;
        ApnsOptions {
            identity: Some((apple.clone(), root_pem.clone())),
            ..ApnsOptions::default()
        }
    }

    /// Writes a configuration for the relay that sends to this fake Apple.
    pub(crate) fn write_configuration(&self, apple: SocketAddr) -> anyhow::Result<PathBuf> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9)); // no target of a run is a Windows Phone
        let text = world::configuration(&Addresses {
            sip: anywhere,
            admin: anywhere,
            apple,
            windows_phone: nowhere,
        });
        // Under valgrind a first push with its handshake takes seconds.
        let usual = "reply_within = \"1500ms\"";
        anyhow::ensure!(text.contains(usual), "the configuration has no {usual}");
        let path = self.folder.join("pushrelay.toml");
        fs::write(&path, text.replace(usual, "reply_within = \"30s\""))?;
        Ok(path)
    }

    /// The relay's side of the SIP connection, as the floor needs it.
    pub(crate) fn server_tls(&self) -> anyhow::Result<Arc<ServerConfig>> {
        let roots = Arc::new(self.roots()?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
        let (chain, key) = identity(&self.certificates.relay)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)?;
        Ok(Arc::new(config))
    }

    /// The Edge's side of the SIP connection.
    pub(crate) fn edge_tls(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let (chain, key) = identity(&self.certificates.edge)?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(chain, key)?;
        Ok(Arc::new(config))
    }

    /// The relay's side of the connection to Apple, as the floor needs it.
    pub(crate) fn apple_tls(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let root = self.certificates.root_pem.as_bytes();
        roots.add(CertificateDer::from_pem_slice(root)?)?;
        Ok(roots)
    }
}

fn identity(
    issued: &Issued,
) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes())?;
    Ok((chain.collect::<Result<_, _>>()?, key))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

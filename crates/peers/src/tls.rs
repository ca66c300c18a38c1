//! rustls configurations for the fakes, all on aws-lc.

use std::io;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::pki::Issued;

/// The one cryptographic provider.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A server that presents `identity`, and asks for a client certificate under `client_roots` where there are some.
pub(crate) fn server(
    identity: &Issued,
    client_roots: Option<Arc<RootCertStore>>,
    alpn: &[&[u8]],
) -> io::Result<Arc<ServerConfig>> {
    let (chain, key) = identity_der(identity)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = match client_roots {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(io::Error::other)?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// A client that trusts `roots` and presents `identity`, where there is one.
pub(crate) fn client(
    identity: Option<&Issued>,
    roots: Arc<RootCertStore>,
) -> io::Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let config = match identity {
        Some(identity) => {
            let (chain, key) = identity_der(identity)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(io::Error::other)?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// The certificates of a PEM text as trust anchors.
pub(crate) fn roots(pem: &str) -> io::Result<Arc<RootCertStore>> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        store
            .add(certificate.map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
    }
    Ok(Arc::new(store))
}

fn identity_der(
    identity: &Issued,
) -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(io::Error::other)?;
    let key =
        PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(io::Error::other)?;
    Ok((chain, key))
}

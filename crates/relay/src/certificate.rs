//! A certificate and its key as they stand in files, and what a certificate says that an Edge looks at.
//!
//! Not here: whose chain is taken (`tls`), and who a peer is by its certificate (`partners`).

use std::time::Duration;

use rustls::Error;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;
use x509_parser::oid_registry::{OID_PKCS1_RSAENCRYPTION, OID_X509_EXT_CRL_DISTRIBUTION_POINTS};

use crate::tls;

/// How long before its end a certificate is worth a warning.
pub(crate) const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Which of the two files is of no use, and why.
#[derive(Debug)]
pub(crate) enum Unusable {
    /// The one with the certificates.
    Chain(String),
    /// The one with the key.
    Key(String),
}

/// Reads a chain, our own certificate first, and the key that belongs to it, both PEM.
pub(crate) fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, Unusable> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| Unusable::Chain(format!("expected PEM certificates: {error}")))?;
    if chain.is_empty() {
        let text = "got no certificate, expected PEM, our own first, then its issuers";
        return Err(Unusable::Chain(text.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        Unusable::Key(format!(
            "expected an unencrypted PEM private key (PKCS#8, SEC1 or PKCS#1): {error}"
        ))
    })?;
    let provider = tls::provider();
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| {
        Unusable::Key(format!(
            "expected an ECDSA P-256 or P-384, RSA or Ed25519 key: {error}"
        ))
    })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(Unusable::Key(
            "this key does not belong to the certificate".to_owned(),
        )),
        Err(error) => Err(Unusable::Chain(format!(
            "expected X.509 certificates that can be read: {error}"
        ))),
    }
}

/// What an Edge looks at in a certificate, beside its chain.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Its dNSNames.
    pub(crate) names: Vec<String>,
    /// Whether its key is RSA.
    pub(crate) rsa: bool,
    /// Whether it says where its issuer's revocation list is.
    pub(crate) names_list: bool,
    /// When it ends, in UNIX seconds.
    pub(crate) not_after: u64,
}

impl Facts {
    /// `None` for what is no X.509 certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Facts> {
        let names = EndEntityCert::try_from(certificate).ok()?;
        let names = names.valid_dns_names().map(str::to_owned).collect();
        let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let mut extensions = read.extensions().iter();
        Some(Facts {
            names,
            rsa: read.public_key().algorithm.algorithm == OID_PKCS1_RSAENCRYPTION,
            names_list: extensions.any(|one| one.oid == OID_X509_EXT_CRL_DISTRIBUTION_POINTS),
            not_after: u64::try_from(read.validity().not_after.timestamp()).unwrap_or_default(),
        })
    }
}

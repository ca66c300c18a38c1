//! A client certificate with its private key, by which a provider knows us.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use p12_keystore::KeyStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{pem, tls};

/// A client certificate chain and the key that belongs to it. The key never leaves it: there is no accessor and `Debug` shows
/// only the expiry.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Why bytes are no client certificate with its key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The chain file has no certificate.
    #[error("expected a PEM file with a CERTIFICATE section, got {0}")]
    NoCertificate(String),
    /// The key file has no key that can be used.
    #[error(
        "expected a PEM file with a PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY section, got {0}"
    )]
    NoKey(String),
    /// The key is encrypted.
    #[error(
        "expected a private key without a passphrase, got an ENCRYPTED PRIVATE KEY (decrypt it, or use a PKCS#12 file)"
    )]
    EncryptedKey,
    /// A certificate cannot be read.
    #[error("expected an X.509 certificate, got something else: {0}")]
    Certificate(String),
    /// The key is of a kind that TLS cannot use.
    #[error("expected an RSA, P-256, P-384 or Ed25519 key, got something else: {0}")]
    Key(String),
    /// Certificate and key do not belong together.
    #[error(
        "expected the private key of the first certificate of the chain, got another certificate's"
    )]
    Mismatch,
    /// No PKCS#12, or the password is another.
    #[error("expected a PKCS#12 file and its password: {0}")]
    Pkcs12(String),
    /// A PKCS#12 file that holds certificates only.
    #[error("expected a PKCS#12 file with a private key and its certificate, got no private key")]
    Pkcs12WithoutKey,
}

impl Identity {
    /// From PEM: `chain` with the leaf first, `key` as PKCS#8, PKCS#1 or SEC1. Both may be the same file.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Identity, IdentityError> {
        let certificates = pem::certificates(chain)
            .filter(|list| !list.is_empty())
            .ok_or_else(|| IdentityError::NoCertificate(pem::labels(chain)))?;
        let labels = pem::labels(key);
        let key = match pem::private_key(key) {
            Some(key) => key,
            None if labels.contains("ENCRYPTED PRIVATE KEY") => {
                return Err(IdentityError::EncryptedKey);
            }
            None => return Err(IdentityError::NoKey(labels)),
        };
        Identity::new(certificates, key)
    }

    /// From a PKCS#12 file (`.p12`, `.pfx`) as Apple's Keychain exports it.
    pub fn from_pkcs12(bytes: &[u8], password: &str) -> Result<Identity, IdentityError> {
        let store = KeyStore::from_pkcs12(bytes, password)
            .map_err(|error| IdentityError::Pkcs12(error.to_string()))?;
        let (_, entry) = store
            .private_key_chain()
            .ok_or(IdentityError::Pkcs12WithoutKey)?;
        let certificates = entry
            .chain()
            .iter()
            .map(|certificate| CertificateDer::from(certificate.as_der().to_vec()))
            .collect();
        let key = PrivateKeyDer::try_from(entry.key().to_vec())
            .map_err(|error| IdentityError::Key(error.to_owned()))?;
        Identity::new(certificates, key)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Identity, IdentityError> {
        let leaf = chain
            .first()
            .ok_or(IdentityError::Pkcs12WithoutKey)?
            .clone();
        let (_, parsed) = X509Certificate::from_der(&leaf)
            .map_err(|error| IdentityError::Certificate(error.to_string()))?;
        let validity = parsed.validity();
        let (not_before, not_after) = (
            moment(validity.not_before.timestamp()),
            moment(validity.not_after.timestamp()),
        );
        let key = tls::provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| IdentityError::Key(error.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A signer that cannot tell its public key is given the benefit of the doubt: the handshake will tell.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(IdentityError::Mismatch),
            Err(error) => return Err(IdentityError::Certificate(error.to_string())),
        }
        Ok(Identity {
            certified: Arc::new(certified),
            not_before,
            not_after,
        })
    }

    /// Until when the leaf certificate is valid; Apple's live a year.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Since when the leaf certificate is valid.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// UNIX seconds, which a certificate may well have before 1970.
fn moment(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance).unwrap_or(UNIX_EPOCH)
    } else {
        UNIX_EPOCH.checked_add(distance).unwrap_or(UNIX_EPOCH)
    }
}

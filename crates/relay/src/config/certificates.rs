//! What the configuration's certificates are worth: kind of key, names, end.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::{Resolver, file};
use crate::tls;

/// A certificate that ends one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfiguredCertificate {
    /// `sip`, `apple` or `windows_phone`.
    pub(crate) usage: &'static str,
    /// Its first name, or the app's id.
    pub(crate) name: String,
    /// When it ends, in UNIX seconds.
    pub(crate) not_after: u64,
}

/// How long before its end a certificate is worth a warning.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

impl Resolver {
    /// Our own certificate for the listener.
    pub(super) fn server_certificate(
        &mut self,
        key: &str,
        files: &file::CertificateFiles,
    ) -> Option<CertifiedKey> {
        let chain_bytes = self.read(&format!("{key}.chain"), &files.chain);
        let key_bytes = self.read(&format!("{key}.key"), &files.key);
        let (chain_bytes, key_bytes) = (chain_bytes?, key_bytes?);
        let chain: Vec<CertificateDer<'static>> =
            match CertificateDer::pem_slice_iter(&chain_bytes).collect::<Result<_, _>>() {
                Ok(chain) => chain,
                Err(error) => {
                    self.problem(
                        format!("{key}.chain"),
                        format!("expected PEM certificates: {error}"),
                    );
                    return None;
                }
            };
        let Some(leaf) = chain.first().cloned() else {
            self.problem(
                format!("{key}.chain"),
                "got no certificate, expected PEM, our own first, then its issuers",
            );
            return None;
        };
        let private = match PrivateKeyDer::from_pem_slice(&key_bytes) {
            Ok(private) => private,
            Err(error) => {
                self.problem(
                    format!("{key}.key"),
                    format!(
                        "expected an unencrypted PEM private key (PKCS#8, SEC1 or PKCS#1): {error}"
                    ),
                );
                return None;
            }
        };
        let signing = match tls::provider().key_provider.load_private_key(private) {
            Ok(signing) => signing,
            Err(error) => {
                self.problem(
                    format!("{key}.key"),
                    format!("expected an ECDSA P-256 or P-384, RSA or Ed25519 key: {error}"),
                );
                return None;
            }
        };
        let certified = CertifiedKey::new(chain, signing);
        if certified.keys_match().is_err() {
            self.problem(
                format!("{key}.key"),
                "this key does not belong to the certificate in `chain`",
            );
            return None;
        }
        let name = self.name_of(key, &leaf);
        match end_of(&leaf) {
            Some(not_after) => self.judge_expiry(&format!("{key}.chain"), "sip", &name, not_after),
            None => self.problem(
                format!("{key}.chain"),
                "expected an X.509 certificate that can be read",
            ),
        }
        Some(certified)
    }

    fn name_of(&mut self, key: &str, leaf: &CertificateDer<'_>) -> String {
        let Ok(parsed) = EndEntityCert::try_from(leaf) else {
            return String::new();
        };
        let names: Vec<&str> = parsed.valid_dns_names().collect();
        if names.iter().any(|name| name.starts_with("*.")) {
            self.warn(
                format!("{key}.chain"),
                "has a wildcard name: an Edge does not take it",
            );
        }
        match names.first() {
            Some(name) => (*name).to_owned(),
            None => {
                self.warn(
                    format!("{key}.chain"),
                    "has no dNSName in its subjectAltName: an Edge does not take it",
                );
                String::new()
            }
        }
    }

    /// Remembers a certificate's end, and complains when it has come or is near.
    pub(super) fn judge_expiry(
        &mut self,
        key: &str,
        usage: &'static str,
        name: &str,
        not_after: SystemTime,
    ) {
        let seconds = not_after
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        match not_after.duration_since(self.now) {
            Err(_) => self.problem(
                key,
                format!("the certificate {name:?} has expired (UNIX time {seconds})"),
            ),
            Ok(left) if left < SOON => {
                self.warn(
                    key,
                    format!(
                        "the certificate {name:?} expires in {} days",
                        left.as_secs() / 86_400
                    ),
                );
            }
            Ok(_) => {}
        }
        self.certificates.push(ConfiguredCertificate {
            usage,
            name: name.to_owned(),
            not_after: seconds,
        });
    }
}

fn end_of(leaf: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Every certificate of a PEM file, or of every file in a directory.
pub(super) fn read_all(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let mut certificates = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let path = entry?.path();
            if path.is_file() {
                certificates.extend(read_file(&path)?);
            }
        }
    } else {
        certificates = read_file(path)?;
    }
    Ok(certificates)
}

fn read_file(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let bytes = std::fs::read(path)?;
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

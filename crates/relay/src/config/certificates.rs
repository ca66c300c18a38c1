//! What the configuration's certificates are worth: kind of key, names, end.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;

use super::{Resolver, file};
use crate::certificate::{self, Facts, SOON, Unusable};
use crate::domain::DomainName;

/// A certificate that ends one day, or a revocation list that must be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfiguredCertificate {
    /// `sip`, `apple`, `windows_phone` or `crl`.
    pub(crate) usage: &'static str,
    /// Its first name, the app's id, or the list's issuer.
    pub(crate) name: String,
    /// When it ends or is due, in UNIX seconds.
    pub(crate) not_after: u64,
}

/// The names by which Edges know us.
pub(super) struct ExpectedNames {
    /// Those that they connect to, where the operator has said so.
    pub(super) names: Vec<DomainName>,
    /// The hosts of our SIP addresses: a host that their SRV records name must be in one of them.
    pub(super) hosts: Vec<DomainName>,
}

impl ExpectedNames {
    fn within_hosts(&self, name: &str) -> bool {
        DomainName::parse(name)
            .is_some_and(|name| self.hosts.iter().any(|host| name.is_within(host)))
    }
}

impl Resolver {
    /// Our own certificate for the listener.
    pub(super) fn server_certificate(
        &mut self,
        key: &str,
        files: &file::CertificateFiles,
        expected: &ExpectedNames,
    ) -> Option<CertifiedKey> {
        let chain_bytes = self.read(&format!("{key}.chain"), &files.chain);
        let key_bytes = self.read(&format!("{key}.key"), &files.key);
        let (chain_bytes, key_bytes) = (chain_bytes?, key_bytes?);
        let certified = match certificate::certified(&chain_bytes, &key_bytes) {
            Ok(certified) => certified,
            Err(unusable) => {
                let (file, text) = match unusable {
                    Unusable::Chain(text) => ("chain", text),
                    Unusable::Key(text) => ("key", text),
                };
                self.problem(format!("{key}.{file}"), text);
                return None;
            }
        };
        self.judge_leaf(&format!("{key}.chain"), certified.cert.first()?, expected);
        Some(certified)
    }

    /// What an Edge would make of our certificate.
    fn judge_leaf(&mut self, key: &str, leaf: &CertificateDer<'_>, expected: &ExpectedNames) {
        let Some(facts) = Facts::of(leaf) else {
            self.problem(key, "expected an X.509 certificate that can be read");
            return;
        };
        self.judge_names(key, &facts.names, expected);
        if !facts.names_list {
            self.warn(
                key,
                "has no CRL distribution point: an Edge cannot look up whether it is revoked, and may not take it",
            );
        }
        let end = UNIX_EPOCH.checked_add(Duration::from_secs(facts.not_after));
        let name = facts.names.first().map_or("", String::as_str);
        // A time that this machine cannot hold is far enough away.
        if let Some(end) = end {
            self.judge_expiry(key, "sip", name, end);
        }
    }

    fn judge_names(&mut self, key: &str, names: &[String], expected: &ExpectedNames) {
        if names.is_empty() {
            self.warn(
                key,
                "has no dNSName in its subjectAltName: an Edge does not take it",
            );
            return;
        }
        if names.iter().any(|name| name.starts_with("*.")) {
            self.warn(key, "has a wildcard name: an Edge does not take it");
        }
        let shown = names.join(", ");
        for wanted in &expected.names {
            if !names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(wanted.as_str()))
            {
                self.warn(
                    key,
                    format!(
                        "is for {shown}; expected {} among its names, because of sip.names: an Edge that connects to that name does not take it",
                        wanted.as_str()
                    ),
                );
            }
        }
        if expected.names.is_empty() && !names.iter().any(|name| expected.within_hosts(name)) {
            self.warn(
                key,
                format!(
                    "is for {shown}; expected a name in the domain of an address in sip.addresses: an Edge that finds this relay by its SRV record refuses another (error 1009); if Edges are told its name, write that into sip.names"
                ),
            );
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

/// Every certificate of a PEM file, or of every file in a folder.
pub(super) fn read_all(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let mut certificates = Vec::new();
    for file in files_in(path)? {
        let bytes = std::fs::read(file)?;
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            certificates.push(certificate.map_err(|error| io::Error::other(error.to_string()))?);
        }
    }
    Ok(certificates)
}

/// The files of a folder in the order of their names, or the one file that `path` is.
pub(super) fn files_in(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

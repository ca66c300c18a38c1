//! Certificate revocation lists: read, the newest first, and judged by when the next one is due.
//!
//! Not here: whether a list is signed by whom it names (`tls` asks that with each chain).

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use webpki::{CertRevocationList, ExpirationPolicy, OwnedCertRevocationList};

use super::certificates::{ConfiguredCertificate, files_in};
use super::file::OverdueCrl;
use super::{Resolver, file};
use crate::tls::Revocation;

/// The longest file: the largest lists of public authorities are some 10 MiB long.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// How long before it is due a list that nobody has replaced is worth a warning: most are due after a week.
const SOON: Duration = Duration::from_secs(24 * 3600);

impl Resolver {
    /// All lists of `sip.crls`.
    pub(super) fn revocation(&mut self, sip: &file::Sip) -> Revocation {
        let mut lists = Vec::new();
        for (index, path) in sip.crls.iter().enumerate() {
            self.crl_files(&format!("sip.crls[{index}]"), path, &mut lists);
        }
        // The first list of an issuer decides; a newer one knows all that an older one knew.
        lists.sort_by_key(|list| std::cmp::Reverse(list.issued));
        let mut seen = HashSet::new();
        lists.retain(|list| seen.insert(list.scope()));
        for list in &lists {
            self.judge_due(list, sip.overdue_crl);
        }
        Revocation {
            lists: lists.into_iter().map(|list| list.list).collect(),
            expiration: match sip.overdue_crl {
                OverdueCrl::Refuse => ExpirationPolicy::Enforce,
                OverdueCrl::Accept => ExpirationPolicy::Ignore,
            },
        }
    }

    fn crl_files(&mut self, key: &str, path: &Path, lists: &mut Vec<List>) {
        let path = self.path(path);
        self.files.note(&path);
        let files = match files_in(&path) {
            Ok(files) => files,
            Err(error) => {
                self.problem(
                    key,
                    format!("got {:?}, expected a revocation list, PEM or DER, or a folder of them: {error}", path.display()),
                );
                return;
            }
        };
        for file in files {
            match read_lists(key, &file) {
                Ok(read) => lists.extend(read),
                Err(error) => self.problem(
                    key,
                    format!(
                        "got {:?}, expected a revocation list, PEM or DER: {error}",
                        file.display()
                    ),
                ),
            }
        }
    }

    fn judge_due(&mut self, list: &List, policy: OverdueCrl) {
        let consequence = match policy {
            OverdueCrl::Refuse => "every certificate of this issuer is refused then",
            OverdueCrl::Accept => "it is used all the same, because of sip.overdue_crl",
        };
        let about = format!("{:?}, the list of {}", list.file.display(), list.issuer);
        let due = list.due.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.certificates.push(ConfiguredCertificate {
            usage: "crl",
            name: list.issuer.clone(),
            not_after: due.as_secs(),
        });
        match list.due.duration_since(self.now) {
            Err(_) => self.warn(
                &*list.key,
                format!(
                    "{about}, should have been replaced (UNIX time {}): {consequence}",
                    due.as_secs()
                ),
            ),
            Ok(left) if left < SOON => self.warn(
                &*list.key,
                format!(
                    "{about}, should be replaced within {} hours: {consequence}",
                    left.as_secs() / 3600
                ),
            ),
            Ok(_) => {}
        }
    }
}

/// One list, and what is said of it.
struct List {
    key: String,
    file: PathBuf,
    issuer: String,
    issued: SystemTime,
    due: SystemTime,
    list: CertRevocationList<'static>,
}

impl List {
    /// For whom it speaks: its issuer, and the part of the issuer's certificates that it is for.
    fn scope(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let part = self.list.issuing_distribution_point();
        (self.list.issuer().to_vec(), part.map(<[u8]>::to_vec))
    }
}

/// Every list of one file.
fn read_lists(key: &str, path: &Path) -> io::Result<Vec<List>> {
    if fs::metadata(path)?.len() > FILE_BYTES {
        return Err(io::Error::other(format!(
            "it is longer than {FILE_BYTES} bytes"
        )));
    }
    let bytes = fs::read(path)?;
    // A SEQUENCE begins like no text.
    let ders = if bytes.first() == Some(&0x30) {
        vec![CertificateRevocationListDer::from(bytes)]
    } else {
        CertificateRevocationListDer::pem_slice_iter(&bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| io::Error::other(error.to_string()))?
    };
    if ders.is_empty() {
        return Err(io::Error::other("it holds none"));
    }
    ders.iter()
        .map(|der| contained(|| read_list(key, path, der)).map_err(io::Error::other))
        .collect()
}

/// Runs a parser that has had panics (RUSTSEC-2026-0104); a panic becomes an error, so that a list from elsewhere cannot end
/// the daemon when it reloads.
fn contained<T>(parse: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Nothing that the closure touches outlives a panic: it makes a new value of borrowed bytes.
    catch_unwind(AssertUnwindSafe(parse)).unwrap_or_else(|_| Err("its parser gave up".to_owned()))
}

fn read_list(key: &str, path: &Path, der: &[u8]) -> Result<List, String> {
    let list = OwnedCertRevocationList::from_der(der).map_err(|error| error.to_string())?;
    let (_, parsed) = x509_parser::parse_x509_crl(der).map_err(|error| error.to_string())?;
    let time = |time: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
        UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let due = parsed
        .next_update()
        .ok_or("it does not say when the next one is due")?;
    Ok(List {
        key: key.to_owned(),
        file: path.to_owned(),
        issuer: parsed.issuer().to_string(),
        issued: time(parsed.last_update()),
        due: time(due),
        list: list.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_the_parser_is_an_error() {
        let outcome: Result<(), String> = contained(|| panic!("an empty BIT STRING"));
        assert_eq!(outcome, Err("its parser gave up".to_owned()));
    }
}

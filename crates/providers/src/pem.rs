//! Which sections a PEM text has: so that an error can name what came instead of what was expected.

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The labels of all sections, in order: `CERTIFICATE, EC PRIVATE KEY`; or that there are none.
pub(crate) fn labels(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let labels: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("-----BEGIN ")?
                .strip_suffix("-----")
        })
        // A label is a few words; anything longer is no PEM and could be anybody's secret.
        .filter(|label| label.len() <= 40)
        .take(8)
        .collect();
    if labels.is_empty() {
        "no PEM section".to_owned()
    } else {
        labels.join(", ")
    }
}

/// Every `CERTIFICATE` section; `None` where one cannot be decoded.
pub(crate) fn certificates(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .ok()
}

/// The first private key: PKCS#8, PKCS#1 or SEC1.
pub(crate) fn private_key(text: &[u8]) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(text).ok()
}

/// The first section of exactly this kind.
pub(crate) fn section(text: &[u8], kind: SectionKind) -> Option<Vec<u8>> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text)
        .filter_map(Result::ok)
        .find(|(found, _)| *found == kind)
        .map(|(_, der)| der)
}

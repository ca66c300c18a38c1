//! The handshake, and the relay's certificate as an Edge would judge it.
//!
//! Chain and name are judged after the handshake, not in it: so a certificate that is wrong is still shown.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CipherSuite, ClientConfig, Error, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use webpki::{EndEntityCert, KeyUsage};

use super::Own;
use super::fault::Fault;
use super::report::Report;
use crate::certificate::{Facts, SOON};
use crate::tls;

/// What the relay has shown.
pub(super) struct Seen {
    chain: Vec<CertificateDer<'static>>,
    legacy: bool,
}

/// The dNSNames of the certificate that stands first.
pub(super) fn names(chain: &[CertificateDer<'_>]) -> Vec<String> {
    let facts = chain.first().and_then(Facts::of);
    facts.map(|facts| facts.names).unwrap_or_default()
}

/// Connects; what goes wrong is named.
pub(super) async fn handshake(
    stream: TcpStream,
    name: &str,
    own: &Own,
    legacy: bool,
    patience: Duration,
    report: &mut Report,
) -> Result<(TlsStream<TcpStream>, Seen), Fault> {
    let tried = match legacy {
        true => "TLS 1.2 as Windows Server 2012 R2 speaks it, with our certificate",
        false => "TLS 1.2 or 1.3 with our certificate",
    };
    let unusable = |error: Error| Fault::OwnFiles(error.to_string());
    let recorder = Arc::new(Recorder::new());
    let provider = Arc::new(if legacy {
        old_windows()
    } else {
        aws_lc_rs::default_provider()
    });
    let versions: &[_] = match legacy {
        true => &[&rustls::version::TLS12],
        false => rustls::ALL_VERSIONS,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(recorder.clone())
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.key.clone())));
    let server = ServerName::try_from(name.to_owned())
        .map_err(|_| Fault::OwnFiles(format!("--name: got {name:?}, expected a host name")))?;
    let connected = timeout(
        patience,
        TlsConnector::from(Arc::new(config)).connect(server, stream),
    )
    .await;
    match connected {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let version = session.protocol_version().map_or("TLS", version_name);
            let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
            let chain = recorder.take();
            let shown = names(&chain).join(", ");
            report.good(
                "tls",
                tried.to_owned(),
                format!(
                    "{version}, {}; the relay shows {shown}",
                    suite.map_or("", suite_name)
                ),
            );
            Ok((stream, Seen { chain, legacy }))
        }
        Ok(Err(error)) => {
            report.bad("tls", tried.to_owned(), error.to_string());
            Err(match fault_of(&error) {
                Some(Fault::NoCommonSuite) if legacy => Fault::RsaOnly,
                Some(fault) => fault,
                None => Fault::NotTls(error.to_string()),
            })
        }
        Err(_) => {
            report.bad(
                "tls",
                tried.to_owned(),
                format!("nothing for {} s", patience.as_secs()),
            );
            Err(Fault::TlsSilent)
        }
    }
}

/// What a failed handshake means, or one that fails later because the relay judged our certificate late (TLS 1.3).
pub(super) fn fault_of(error: &io::Error) -> Option<Fault> {
    use AlertDescription as A;
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(
            A::HandshakeFailure | A::ProtocolVersion | A::InsufficientSecurity,
        ) => Some(Fault::NoCommonSuite),
        Error::AlertReceived(
            alert @ (A::BadCertificate
            | A::UnsupportedCertificate
            | A::CertificateRevoked
            | A::CertificateExpired
            | A::CertificateUnknown
            | A::UnknownCA
            | A::AccessDenied
            | A::CertificateRequired),
        ) => Some(Fault::CertificateRefused(format!("{alert:?}"))),
        Error::AlertReceived(alert) => Some(Fault::NotTls(format!("TLS alert {alert:?}"))),
        Error::InvalidMessage(what) => Some(Fault::NotTls(format!("{what:?}"))),
        Error::PeerIncompatible(_) => Some(Fault::NoCommonSuite),
        _ => None,
    }
}

/// Judges the relay's certificate as an Edge would.
pub(super) fn judge(
    seen: &Seen,
    name: &str,
    roots: &RootCertStore,
    report: &mut Report,
) -> Result<(), Fault> {
    let tried = format!("the relay's certificate for {name}");
    let result = judge_chain(seen, roots).and_then(|()| judge_name(seen, name));
    if let Err(fault) = result {
        report.bad("certificate", tried, fault.means());
        return Err(fault);
    }
    report.good("certificate", tried, "an Edge takes it".to_owned());
    let Some(leaf) = seen.chain.first() else {
        return Ok(());
    };
    for doubt in doubts(leaf, seen.legacy) {
        report.doubtful("certificate", "as other Edges see it".to_owned(), doubt);
    }
    Ok(())
}

fn judge_chain(seen: &Seen, roots: &RootCertStore) -> Result<(), Fault> {
    let (leaf, intermediates) = seen
        .chain
        .split_first()
        .ok_or_else(|| Fault::Unusable("none was shown".to_owned()))?;
    let unusable = |error: webpki::Error| Fault::Unusable(error.to_string());
    let algorithms = tls::provider().signature_verification_algorithms;
    let parsed = EndEntityCert::try_from(leaf).map_err(unusable)?;
    let verified = parsed.verify_for_usage(
        algorithms.all,
        &roots.roots,
        intermediates,
        UnixTime::now(),
        KeyUsage::server_auth(),
        None,
        None,
    );
    match verified {
        Ok(_) => Ok(()),
        Err(webpki::Error::CertExpired { .. }) => Err(Fault::Expired),
        Err(webpki::Error::CertNotValidYet { .. }) => Err(Fault::NotYetValid),
        Err(webpki::Error::UnknownIssuer) => Err(Fault::UnknownIssuer),
        Err(error) => Err(unusable(error)),
    }
}

fn judge_name(seen: &Seen, name: &str) -> Result<(), Fault> {
    let names = names(&seen.chain);
    if names.iter().any(|have| have.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let parent = name
        .split_once('.')
        .map(|(_, parent)| parent)
        .unwrap_or_default();
    let wildcard = names.iter().find(|have| {
        let suffix = have.strip_prefix("*.");
        suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(parent))
    });
    Err(match wildcard {
        Some(wildcard) => Fault::Wildcard(wildcard.clone()),
        None => Fault::WrongName(names.join(", ")),
    })
}

/// What is no fault today.
fn doubts(leaf: &CertificateDer<'_>, legacy: bool) -> Vec<String> {
    let Some(facts) = Facts::of(leaf) else {
        return Vec::new();
    };
    let mut doubts = Vec::new();
    if facts.rsa && !legacy {
        doubts.push("it is RSA although ECDSA was offered first: Edges on Windows Server 2012 R2 and older need an ECDSA one (try --legacy)".to_owned());
    }
    if !facts.names_list {
        doubts.push(
            "it has no CRL distribution point: an Edge that looks up revocation may not take it"
                .to_owned(),
        );
    }
    let end = UNIX_EPOCH + Duration::from_secs(facts.not_after);
    let left = end.duration_since(SystemTime::now());
    if let Ok(left) = left
        && left < SOON
    {
        doubts.push(format!("it ends in {} days", left.as_secs() / 86_400));
    }
    doubts
}

/// What Windows Server 2012 R2 and older have in common with us: ECDHE_ECDSA with GCM, on P-256 and P-384.
fn old_windows() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| {
        matches!(
            suite.suite(),
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        )
    });
    provider.kx_groups.retain(|group| {
        matches!(
            group.name(),
            rustls::NamedGroup::secp256r1 | rustls::NamedGroup::secp384r1
        )
    });
    provider
}

fn version_name(version: rustls::ProtocolVersion) -> &'static str {
    match version {
        rustls::ProtocolVersion::TLSv1_2 => "TLS 1.2",
        _ => "TLS 1.3",
    }
}

fn suite_name(suite: CipherSuite) -> &'static str {
    suite.as_str().unwrap_or_default()
}

/// Takes every chain and remembers it; signatures are verified all the same.
struct Recorder {
    chain: Mutex<Vec<CertificateDer<'static>>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Recorder {
    fn new() -> Recorder {
        Recorder {
            chain: Mutex::default(),
            algorithms: tls::provider().signature_verification_algorithms,
        }
    }

    fn take(&self) -> Vec<CertificateDer<'static>> {
        std::mem::take(&mut self.chain.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = [end_entity].into_iter().chain(intermediates);
        let chain = chain
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Ok(ServerCertVerified::assertion())
    }

    tls::signature_methods!();
}

//! The TLS side of the listener: which certificate we show, and whose chain we take.
//!
//! Not here: who the peer is (`partners`). A good chain ends the handshake well; the name decides later.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureAlgorithm,
};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, ExtendedKeyUsageValidator,
    KeyPurposeIdIter, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};

/// The one cryptography provider of this program.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The configuration of the federation listener: mutual TLS 1.2 and 1.3.
pub(crate) fn server_config(
    certificates: Vec<CertifiedKey>,
    roots: Arc<RootCertStore>,
    revocation: Revocation,
) -> Result<ServerConfig, Error> {
    let provider = provider();
    let verifier = PeerVerifier {
        roots,
        revocation,
        algorithms: provider.signature_verification_algorithms,
    };
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(Certificates::new(certificates)));
    Ok(config)
}

/// Our certificates; ECDSA is offered first, RSA to who cannot read it.
///
/// Windows Server 2012 R2 and older have no ECDHE_RSA suite with GCM: they need the ECDSA one.
#[derive(Debug)]
struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
}

impl Certificates {
    fn new(certificates: Vec<CertifiedKey>) -> Certificates {
        let mut keys: Vec<_> = certificates.into_iter().map(Arc::new).collect();
        keys.sort_by_key(|key| key.key.algorithm() != SignatureAlgorithm::ECDSA);
        Certificates { keys }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has already left out the schemes for which the client offers no cipher suite.
        self.keys
            .iter()
            .find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some())
            .cloned()
    }
}

/// The revocation lists that the operator has put into place.
pub(crate) struct Revocation {
    /// The newest first: the first list of an issuer decides.
    pub(crate) lists: Vec<CertRevocationList<'static>>,
    /// What a list says whose next one is overdue.
    pub(crate) expiration: ExpirationPolicy,
}

/// Takes a chain that ends at one of our roots, of which no list says that it is revoked, and whose leaf may be used as a TLS server or client.
///
/// Access Edges present the certificate that they also serve with, often with serverAuth as its only extended key usage;
/// rustls' own verifier would refuse it.
struct PeerVerifier {
    roots: Arc<RootCertStore>,
    revocation: Revocation,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerVerifier")
            .field("roots", &self.roots.len())
            .field("revocation_lists", &self.revocation.lists.len())
            .finish()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // SChannel picks its certificate by this list and gives up on a long one: send none.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let leaf = EndEntityCert::try_from(end_entity).map_err(certificate_error)?;
        let lists: Vec<_> = self.revocation.lists.iter().collect();
        // Without lists nothing can be checked. With some, an issuer that has none is not asked about: the system's roots
        // are many, and an operator has the lists of few.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(self.revocation.expiration)
                .build()
        });
        leaf.verify_for_usage(
            self.algorithms.all,
            &self.roots.roots,
            intermediates,
            now,
            TlsPeer,
            revocation,
            None,
        )
        .map_err(certificate_error)?;
        Ok(ClientCertVerified::assertion())
    }

    signature_methods!();
}

/// How either side's verifier looks at signatures: by its own `algorithms`.
macro_rules! signature_methods {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &::rustls::pki_types::CertificateDer<'_>,
            dss: &::rustls::DigitallySignedStruct,
        ) -> Result<::rustls::client::danger::HandshakeSignatureValid, ::rustls::Error> {
            ::rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &::rustls::pki_types::CertificateDer<'_>,
            dss: &::rustls::DigitallySignedStruct,
        ) -> Result<::rustls::client::danger::HandshakeSignatureValid, ::rustls::Error> {
            ::rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<::rustls::SignatureScheme> {
            self.algorithms.supported_schemes()
        }
    };
}
pub(crate) use signature_methods;

/// serverAuth or clientAuth, or no extended key usage at all (RFC 5280 4.2.1.12).
struct TlsPeer;

const SERVER_AUTH: [usize; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: [usize; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 2];

impl ExtendedKeyUsageValidator for TlsPeer {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut none = true;
        for usage in usages {
            none = false;
            let usage = usage?.to_decoded_oid();
            if usage == SERVER_AUTH || usage == CLIENT_AUTH {
                return Ok(());
            }
        }
        if none {
            Ok(())
        } else {
            Err(webpki::Error::UnsupportedCriticalExtension)
        }
    }
}

/// The TLS alert that fits, with the reason kept for the log.
fn certificate_error(error: webpki::Error) -> Error {
    use webpki::Error as E;
    let error = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertRevoked => CertificateError::Revoked,
        E::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }
        }
        E::UnsupportedCriticalExtension => CertificateError::InvalidPurpose,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(error)
}

//! Throw-away authorities, certificates and keys.
//!
//! Not a certificate authority for real use: serial numbers are random, lists are made on demand, keys lie in memory.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RevokedCertParams, SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A certificate authority: a root, or one below another.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    /// The certificates between this authority (included) and its root (excluded), which a leaf has to send along.
    path_pem: String,
    root_pem: String,
    root: CertificateDer<'static>,
}

impl Authority {
    /// A root with an ECDSA P-256 key, valid from an hour ago for ten years.
    pub fn new(common_name: &str) -> Authority {
        Authority::root(common_name, Key::Ecdsa)
    }

    /// A root with a key of this kind.
    pub fn root(common_name: &str, key: Key) -> Authority {
        let key = key.generate();
        let params = authority_params(common_name);
        let certificate = params
            .self_signed(&key)
            .expect("a generated key signs its own certificate");
        let pem = certificate.pem();
        Authority {
            certificate: certificate.der().clone(),
            root: certificate.der().clone(),
            certificate_pem: pem.clone(),
            path_pem: String::new(),
            root_pem: pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// An authority below this one: its leaves carry it in their chain.
    pub fn intermediate(&self, common_name: &str) -> Authority {
        let key = Key::Ecdsa.generate();
        let params = authority_params(common_name);
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a generated key signs a certificate");
        let pem = certificate.pem();
        Authority {
            certificate: certificate.der().clone(),
            root: self.root.clone(),
            path_pem: format!("{pem}{}", self.path_pem),
            certificate_pem: pem,
            root_pem: self.root_pem.clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// This authority's own certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// This authority's own certificate, DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The root that this authority's leaves lead to: what a peer has to trust.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root as a store for a rustls configuration.
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        store
            .add(self.root.clone())
            .expect("a certificate that was just made parses");
        Arc::new(store)
    }

    /// Issues a leaf.
    ///
    /// # Panics
    /// When a name or URI of the leaf is not ASCII.
    pub fn issue(&self, leaf: &Leaf) -> Issued {
        let key = leaf.key.generate();
        let certificate = leaf
            .params()
            .signed_by(&key, &self.issuer)
            .expect("a generated key signs a certificate");
        Issued {
            chain_pem: format!("{}{}", certificate.pem(), self.path_pem),
            key_pem: key.serialize_pem(),
        }
    }

    /// A list that says of these certificates of this authority that they are revoked, since an hour, to be replaced at
    /// `next_update`.
    ///
    /// # Panics
    /// When one of them cannot be read.
    pub fn revoke(&self, revoked: &[&Issued], next_update: SystemTime) -> RevocationList {
        let since = next_update.min(SystemTime::now()) - HOUR;
        let entry = |issued: &&Issued| RevokedCertParams {
            serial_number: issued.serial(),
            revocation_time: since.into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: since.into(),
            next_update: next_update.into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params
            .signed_by(&self.issuer)
            .expect("a generated key signs a list");
        RevocationList {
            pem: list.pem().expect("a list is written as PEM"),
            der: list.der().to_vec(),
        }
    }
}

/// A certificate revocation list.
#[derive(Clone, Debug)]
pub struct RevocationList {
    /// As text.
    pub pem: String,
    /// As octets.
    pub der: Vec<u8>,
}

/// A leaf that signs itself: nobody trusts it.
///
/// # Panics
/// When a name or URI of the leaf is not ASCII.
pub fn self_signed(leaf: &Leaf) -> Issued {
    let key = leaf.key.generate();
    let certificate = leaf
        .params()
        .self_signed(&key)
        .expect("a generated key signs its own certificate");
    Issued {
        chain_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    }
}

/// What a leaf certificate is to say.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The subject's common name; `None` leaves the subject empty.
    pub common_name: Option<String>,
    /// `dNSName` entries of the subject alternative name.
    pub names: Vec<String>,
    /// URI entries of the subject alternative name, such as `sip:contoso.example`.
    pub uris: Vec<String>,
    /// IP address entries of the subject alternative name.
    pub addresses: Vec<IpAddr>,
    /// Where its revocation list would be had, a URL; `None` leaves the extension out.
    pub distribution_point: Option<String>,
    /// The extended key usage.
    pub eku: Eku,
    /// The kind of key.
    pub key: Key,
    /// First moment of validity; an hour ago.
    pub not_before: SystemTime,
    /// Last moment of validity; in a year.
    pub not_after: SystemTime,
}

impl Default for Leaf {
    fn default() -> Leaf {
        let now = SystemTime::now();
        Leaf {
            common_name: None,
            names: Vec::new(),
            uris: Vec::new(),
            addresses: Vec::new(),
            distribution_point: None,
            eku: Eku::Both,
            key: Key::Ecdsa,
            not_before: now - HOUR,
            not_after: now + 365 * 24 * HOUR,
        }
    }
}

impl Leaf {
    /// A leaf with this name as `dNSName` and common name, for both usages.
    pub fn named(name: &str) -> Leaf {
        Leaf {
            common_name: Some(name.to_owned()),
            names: vec![name.to_owned()],
            ..Leaf::default()
        }
    }

    /// A server's leaf for this name and for 127.0.0.1.
    pub fn server(name: &str) -> Leaf {
        Leaf {
            addresses: vec![IpAddr::from([127, 0, 0, 1])],
            eku: Eku::Server,
            ..Leaf::named(name)
        }
    }

    /// The same with another extended key usage.
    pub fn eku(self, eku: Eku) -> Leaf {
        Leaf { eku, ..self }
    }

    /// The same with another kind of key.
    pub fn key(self, key: Key) -> Leaf {
        Leaf { key, ..self }
    }

    /// The same with one more URI in the subject alternative name.
    pub fn uri(mut self, uri: &str) -> Leaf {
        self.uris.push(uri.to_owned());
        self
    }

    /// The same with a place where its revocation list would be had.
    pub fn distribution_point(mut self, url: &str) -> Leaf {
        self.distribution_point = Some(url.to_owned());
        self
    }

    /// The same, expired an hour ago.
    pub fn expired(self) -> Leaf {
        let now = SystemTime::now();
        Leaf {
            not_before: now - 48 * HOUR,
            not_after: now - HOUR,
            ..self
        }
    }

    /// The same, valid from tomorrow.
    pub fn not_yet_valid(self) -> Leaf {
        let now = SystemTime::now();
        Leaf {
            not_before: now + 24 * HOUR,
            ..self
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = &self.common_name {
            params
                .distinguished_name
                .push(DnType::CommonName, name.as_str());
        }
        let ascii = |text: &String| text.as_str().try_into().expect("names are ASCII");
        params.subject_alt_names = (self.names.iter().map(|n| SanType::DnsName(ascii(n))))
            .chain(self.uris.iter().map(|u| SanType::URI(ascii(u))))
            .chain(self.addresses.iter().map(|a| SanType::IpAddress(*a)))
            .collect();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = self.eku.purposes();
        params.not_before = self.not_before.into();
        params.not_after = self.not_after.into();
        params.use_authority_key_identifier_extension = true;
        params.crl_distribution_points = (self.distribution_point.iter())
            .map(|url| CrlDistributionPoint {
                uris: vec![url.clone()],
            })
            .collect();
        params
    }
}

/// The extended key usage of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eku {
    /// `serverAuth` only, as most Access Edges present it even when they are the TLS client.
    Server,
    /// `clientAuth` only.
    Client,
    /// Both.
    Both,
    /// No such extension: good for anything.
    None,
}

impl Eku {
    fn purposes(self) -> Vec<ExtendedKeyUsagePurpose> {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        match self {
            Eku::Server => vec![ServerAuth],
            Eku::Client => vec![ClientAuth],
            Eku::Both => vec![ServerAuth, ClientAuth],
            Eku::None => Vec::new(),
        }
    }
}

/// The kind of key of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// ECDSA on P-256.
    Ecdsa,
    /// RSA with 2048 bits; takes a noticeable fraction of a second to make.
    Rsa,
}

impl Key {
    fn generate(self) -> KeyPair {
        let algorithm = match self {
            Key::Ecdsa => &PKCS_ECDSA_P256_SHA256,
            Key::Rsa => &PKCS_RSA_SHA256,
        };
        KeyPair::generate_for(algorithm).expect("aws-lc makes keys of both kinds")
    }
}

/// A certificate with its chain (without the root) and its private key.
#[derive(Clone)]
pub struct Issued {
    /// The leaf, then its intermediates.
    pub chain_pem: String,
    /// PKCS#8, or PKCS#1 for RSA.
    pub key_pem: String,
}

impl Issued {
    fn serial(&self) -> SerialNumber {
        let leaf = CertificateDer::from_pem_slice(self.chain_pem.as_bytes());
        let leaf = leaf.expect("a chain begins with its leaf");
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).expect("a leaf that was issued");
        SerialNumber::from_slice(leaf.raw_serial())
    }

    /// Writes `STEM.pem` and `STEM.key` (0600) into `dir`.
    pub fn write(&self, dir: &Path, stem: &str) -> io::Result<IssuedFiles> {
        let files = IssuedFiles {
            chain: dir.join(format!("{stem}.pem")),
            key: dir.join(format!("{stem}.key")),
        };
        fs::write(&files.chain, &self.chain_pem)?;
        write_secret(&files.key, self.key_pem.as_bytes())?;
        Ok(files)
    }

    /// Writes `STEM.p12` (0600) into `dir`, sealed with `password`, by the `openssl` command.
    pub fn write_pkcs12(&self, dir: &Path, stem: &str, password: &str) -> io::Result<PathBuf> {
        let files = self.write(dir, stem)?;
        let bundle = dir.join(format!("{stem}.p12"));
        write_secret(&bundle, b"")?;
        let output = Command::new("openssl")
            .args(["pkcs12", "-export", "-passout"])
            .arg(format!("pass:{password}"))
            .arg("-in")
            .arg(&files.chain)
            .arg("-inkey")
            .arg(&files.key)
            .arg("-out")
            .arg(&bundle)
            .output()
            .map_err(|e| io::Error::new(e.kind(), format!("openssl (package openssl): {e}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(format!("openssl pkcs12: {said}")));
        }
        Ok(bundle)
    }
}

/// Where an [`Issued`] was written.
#[derive(Clone, Debug)]
pub struct IssuedFiles {
    /// The chain, PEM.
    pub chain: PathBuf,
    /// The private key, PEM, 0600.
    pub key: PathBuf,
}

/// A provider's signing key for APNs token authentication, and what Apple would know of it.
#[derive(Clone)]
pub struct ApnsKey {
    /// The content of the `.p8` file: PKCS#8, P-256.
    pub p8_pem: String,
    /// The public half, `SubjectPublicKeyInfo`, PEM.
    pub public_pem: String,
    /// The `kid`: ten characters.
    pub key_id: String,
    /// The `iss`: ten characters.
    pub team_id: String,
}

impl ApnsKey {
    /// Makes a key under these ids.
    pub fn new(key_id: &str, team_id: &str) -> ApnsKey {
        let key = Key::Ecdsa.generate();
        ApnsKey {
            p8_pem: key.serialize_pem(),
            public_pem: key.public_key_pem(),
            key_id: key_id.to_owned(),
            team_id: team_id.to_owned(),
        }
    }

    /// Writes `AuthKey_KEYID.p8` (0600) into `dir`.
    pub fn write(&self, dir: &Path) -> io::Result<PathBuf> {
        let path = dir.join(format!("AuthKey_{}.p8", self.key_id));
        write_secret(&path, self.p8_pem.as_bytes())?;
        Ok(path)
    }
}

/// Writes a file that only its owner may read (0600), replacing what was there.
pub fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)
}

fn authority_params(common_name: &str) -> CertificateParams {
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.not_before = (now - HOUR).into();
    params.not_after = (now + 3650 * 24 * HOUR).into();
    params.use_authority_key_identifier_extension = true;
    params
}

const HOUR: Duration = Duration::from_secs(3600);

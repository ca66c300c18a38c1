//! `[sip]` and `[[partners]]`: where pushes arrive, what we show, whom we believe, and who may send.

use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{RootCertStore, ServerConfig};

use super::{PartnerDefaults, Resolver, certificates, file};
use crate::address::{Address, Addresses};
use crate::domain::DomainName;
use crate::partners::{KnownBy, Partner, Partners};
use crate::rate::Rate;
use crate::{srv, tls};

/// Where this system says which DNS servers it asks.
const RESOLV_CONF: &str = "/etc/resolv.conf";

const DNS_PORT: u16 = 53;

impl Resolver {
    pub(super) fn addresses(&mut self, sip: &file::Sip) -> Option<Addresses> {
        let mut list = Vec::new();
        for (index, text) in sip.addresses.iter().enumerate() {
            match Address::parse(text) {
                Some(address) => list.push(address),
                None => self.problem(
                    format!("sip.addresses[{index}]"),
                    format!(
                        "got {text:?}, expected a SIP URI such as \"sip:push@push.example.org\""
                    ),
                ),
            }
        }
        if sip.addresses.is_empty() {
            self.problem(
                "sip.addresses",
                "got an empty list, expected the SIP URIs that pushes are sent to",
            );
            return None;
        }
        Some(Addresses::new(list))
    }

    pub(super) fn partners(
        &mut self,
        files: Vec<file::Partner>,
        defaults: &PartnerDefaults,
    ) -> Partners {
        let mut list: Vec<Partner> = Vec::new();
        if files.is_empty() {
            self.warn(
                "partners",
                "nobody may send: every request will be refused with 403",
            );
        }
        for (index, partner) in files.into_iter().enumerate() {
            let key = format!("partners[{index}]");
            let valid = !partner.name.is_empty()
                && partner.name.len() <= 64
                && partner
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            if !valid {
                self.problem(
                    format!("{key}.name"),
                    format!(
                        "got {:?}, expected 1 to 64 letters, digits, - _ .",
                        partner.name
                    ),
                );
            }
            if list.iter().any(|other| *other.name == *partner.name) {
                self.problem(
                    format!("{key}.name"),
                    format!("{:?} names two partners", partner.name),
                );
            }
            let known_by = self.known_by(&key, &partner);
            let domains = self.names(&format!("{key}.domains"), &partner.domains);
            let rate = self.rate(&key, partner.rate, partner.burst);
            list.push(Partner {
                name: partner.name.into_boxed_str(),
                known_by,
                common_name: partner.common_name,
                domains,
                apple: partner.apple.unwrap_or(defaults.apple),
                windows_phone: partner.windows_phone.unwrap_or(defaults.windows_phone),
                hide_content: partner.hide_content,
                rate,
            });
        }
        let partners = Partners::new(list).unwrap_or_else(|name| {
            self.problem(
                "partners",
                format!(
                    "two partners are known by {:?}, expected one",
                    name.as_str()
                ),
            );
            Partners::default()
        });
        let srv_domains = partners.srv_domains().count();
        if srv_domains > srv::DOMAINS {
            self.problem(
                "partners",
                format!(
                    "got {srv_domains} domains with known_by = \"srv\", expected at most {}",
                    srv::DOMAINS
                ),
            );
        }
        partners
    }

    fn known_by(&mut self, key: &str, partner: &file::Partner) -> KnownBy {
        let known_by = match partner.known_by {
            file::KnownBy::Edge => {
                return KnownBy::Edge(self.names(&format!("{key}.edges"), &partner.edges));
            }
            file::KnownBy::Domain => KnownBy::Domain,
            file::KnownBy::Srv => KnownBy::Srv,
        };
        if !partner.edges.is_empty() {
            self.problem(
                format!("{key}.edges"),
                format!(
                    "got {:?}, expected none: with known_by = \"domain\" or \"srv\" nobody looks at them",
                    partner.edges
                ),
            );
        }
        known_by
    }

    /// The DNS servers to ask; the system's are only read where somebody is to be asked.
    pub(super) fn dns_servers(&mut self, texts: &[String], partners: &Partners) -> Vec<SocketAddr> {
        let needed = partners.srv_domains().next().is_some();
        let mut servers = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            if text == "system" {
                if needed {
                    servers.extend(self.system_dns_servers());
                }
            } else if let Ok(address) = text.parse::<SocketAddr>() {
                servers.push(address);
            } else if let Ok(address) = text.parse::<IpAddr>() {
                servers.push((address, DNS_PORT).into());
            } else {
                self.problem(
                    format!("sip.dns[{index}]"),
                    format!(
                        "got {text:?}, expected \"system\" or an address such as \"192.0.2.53\" or \"[2001:db8::53]:53\""
                    ),
                );
            }
        }
        if texts.is_empty() {
            self.problem(
                "sip.dns",
                "got an empty list, expected \"system\" or an address",
            );
        }
        if needed { servers } else { Vec::new() }
    }

    fn system_dns_servers(&mut self) -> Vec<SocketAddr> {
        let read = self.read("sip.dns", Path::new(RESOLV_CONF));
        let Some(bytes) = read else {
            return Vec::new();
        };
        // What else stands there, and what cannot be read, is of no interest.
        let (parsed, _) = resolv_conf::Config::parse_with_errors(&bytes);
        let servers = parsed.nameservers.into_iter();
        let servers: Vec<_> = servers
            .map(|server| SocketAddr::new(server.into(), DNS_PORT))
            .collect();
        if servers.is_empty() {
            self.problem(
                "sip.dns",
                format!("got \"system\", but {RESOLV_CONF} names no nameserver"),
            );
        }
        servers
    }

    fn rate(&mut self, key: &str, rate: Option<f64>, burst: Option<u32>) -> Option<Rate> {
        let Some(per_second) = rate else {
            if burst.is_some() {
                self.problem(format!("{key}.burst"), "has no meaning without `rate`");
            }
            return None;
        };
        let limit = Rate::new(per_second, burst);
        if limit.is_none() {
            let at_once = burst.map_or(String::new(), |burst| format!(" and burst {burst}"));
            self.problem(
                format!("{key}.rate"),
                format!("got {per_second}{at_once}, expected MESSAGEs a second, from one a day (0.0000116) to 1000000, and a burst of at least 1"),
            );
        }
        limit
    }

    fn names(&mut self, key: &str, texts: &[String]) -> Vec<DomainName> {
        if texts.is_empty() {
            self.problem(key, "got an empty list, expected at least one name");
        }
        let mut names = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match DomainName::parse(text) {
                Some(name) => names.push(name),
                None => self.problem(
                    format!("{key}[{index}]"),
                    format!("got {text:?}, expected a full name such as \"sip.contoso.com\", without wildcard or port"),
                ),
            }
        }
        names
    }

    /// The names that our certificates ought to have. What is no name among the addresses is told elsewhere.
    fn expected_names(&mut self, sip: &file::Sip) -> certificates::ExpectedNames {
        let mut expected = certificates::ExpectedNames {
            names: Vec::new(),
            hosts: sip
                .addresses
                .iter()
                .filter_map(|text| Address::parse(text))
                .map(|address| address.host().clone())
                .collect(),
        };
        if !sip.names.is_empty() {
            expected.names = self.names("sip.names", &sip.names);
        }
        expected
    }

    pub(super) fn server_tls(&mut self, sip: &file::Sip) -> Option<Arc<ServerConfig>> {
        let mut keys = Vec::new();
        if sip.certificates.is_empty() {
            self.problem(
                "sip.certificates",
                "got an empty list, expected at least one { chain, key }",
            );
        }
        let expected = self.expected_names(sip);
        for (index, files) in sip.certificates.iter().enumerate() {
            let key = format!("sip.certificates[{index}]");
            keys.extend(self.server_certificate(&key, files, &expected));
        }
        let only_rsa = keys
            .iter()
            .all(|key| key.key.algorithm() == rustls::SignatureAlgorithm::RSA);
        if !keys.is_empty() && only_rsa {
            self.warn(
                "sip.certificates",
                "only RSA: Edges on Windows Server 2012 R2 and older need an ECDSA (P-256) certificate beside it",
            );
        }
        let revocation = self.revocation(sip);
        let roots = self.roots("sip.client_roots", &sip.client_roots)?;
        if keys.is_empty() {
            return None;
        }
        match tls::server_config(keys, roots, revocation) {
            Ok(config) => Some(Arc::new(config)),
            Err(error) => {
                self.problem("sip.certificates", error);
                None
            }
        }
    }

    pub(super) fn roots(&mut self, key: &str, texts: &[String]) -> Option<Arc<RootCertStore>> {
        let mut store = RootCertStore::empty();
        if texts.is_empty() {
            self.problem(
                key,
                "got an empty list, expected \"system\", a PEM file or a folder of them",
            );
        }
        for text in texts {
            let certificates = self.root_certificates(key, text)?;
            certificates.hash(&mut self.source);
            let (added, _) = store.add_parsable_certificates(certificates);
            if added == 0 {
                self.problem(
                    key,
                    format!("got {text:?}, expected at least one usable root certificate"),
                );
            }
        }
        (!store.is_empty()).then(|| Arc::new(store))
    }

    fn root_certificates(&mut self, key: &str, text: &str) -> Option<Vec<CertificateDer<'static>>> {
        if text == "system" {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                self.problem(key, "got \"system\", but this system has no root certificates (Debian: ca-certificates)");
                return None;
            }
            return Some(found.certs);
        }
        let path = self.path(Path::new(text));
        self.files.note(&path);
        match certificates::read_all(&path) {
            Ok(certificates) => Some(certificates),
            Err(error) => {
                self.problem(
                    key,
                    format!(
                        "got {text:?}, expected \"system\", a PEM file or a folder of them: {error}"
                    ),
                );
                None
            }
        }
    }
}

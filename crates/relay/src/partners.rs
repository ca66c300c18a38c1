//! Who may speak: which partner a certificate belongs to, and for which of its SIP domains this peer may send.
//!
//! Not here: whether a certificate's chain is good (`tls`), what DNS says (`srv`), and what a request says of itself.

use std::collections::HashMap;
use std::sync::Arc;

use pushrelay_sip::SipUri;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::domain::{self, DomainName};
use crate::rate::Rate;
use crate::srv::{Listed, Published, SrvBook};

/// A site that may send pushes.
#[derive(Clone, Debug)]
pub(crate) struct Partner {
    /// What logs and metrics call it.
    pub(crate) name: Box<str>,
    /// What in a certificate makes a peer this partner.
    pub(crate) known_by: KnownBy,
    /// Whether the common name of a certificate without subjectAltName counts.
    pub(crate) common_name: bool,
    /// The SIP domains that it may speak for.
    pub(crate) domains: Vec<DomainName>,
    /// Whether its pushes go to Apple.
    pub(crate) apple: bool,
    /// Whether its pushes go to Windows Phones.
    pub(crate) windows_phone: bool,
    /// Whether what its users write is kept off the screens.
    pub(crate) hide_content: bool,
    /// How fast it may send; `None` where nobody has said.
    pub(crate) rate: Option<Rate>,
}

/// How a partner is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KnownBy {
    /// By the names of its Access Edges: their certificates name the edge and not the domains.
    Edge(Vec<DomainName>),
    /// By a domain that its certificate asserts, RFC 5922 7.1.
    Domain,
    /// By the hosts that its domains publish for federation.
    Srv,
}

/// All partners, by what they are known by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partners {
    list: Vec<Arc<Partner>>,
    by_edge: HashMap<DomainName, usize>,
    by_domain: HashMap<DomainName, usize>,
    by_srv: HashMap<DomainName, usize>,
}

impl Partners {
    /// Collects the partners; an edge or domain by which two are known is given back as an error.
    pub(crate) fn new(list: Vec<Partner>) -> Result<Partners, DomainName> {
        let mut partners = Partners::default();
        for (index, partner) in list.iter().enumerate() {
            let (names, book) = match &partner.known_by {
                KnownBy::Edge(edges) => (edges, &mut partners.by_edge),
                KnownBy::Domain => (&partner.domains, &mut partners.by_domain),
                KnownBy::Srv => (&partner.domains, &mut partners.by_srv),
            };
            for name in names {
                let other = book.insert(name.clone(), index);
                if other.is_some_and(|other| other != index) {
                    return Err(name.clone());
                }
            }
        }
        partners.list = list.into_iter().map(Arc::new).collect();
        Ok(partners)
    }

    /// All, in the order of the file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Partner>> {
        self.list.iter()
    }

    /// The partner of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Partner>> {
        self.list.iter().find(|partner| *partner.name == *name)
    }

    /// The domains whose published hosts somebody is known by.
    pub(crate) fn srv_domains(&self) -> impl Iterator<Item = &DomainName> {
        self.by_srv.keys()
    }

    /// Whose certificate this is: what the operator has named comes before what a certificate asserts, and that before what DNS
    /// says.
    pub(crate) fn identify(&self, presented: &Presented, book: &SrvBook) -> Option<Identified<'_>> {
        self.by_edge(presented)
            .or_else(|| self.by_domain(presented))
            .or_else(|| self.by_srv(presented, book))
    }

    fn by_edge(&self, presented: &Presented) -> Option<Identified<'_>> {
        let partner = self.first(presented.hosts(), |name| {
            self.by_edge.get(name).copied().into_iter()
        })?;
        Some(Identified {
            partner,
            voice: Voice::Partner,
        })
    }

    fn by_domain(&self, presented: &Presented) -> Option<Identified<'_>> {
        let partner = self.first(presented.domains(), |name| {
            self.by_domain.get(name).copied().into_iter()
        })?;
        let asserted = |domain: &&DomainName| presented.domains().any(|(name, _)| name == *domain);
        let domains = partner.domains.iter().filter(asserted).cloned().collect();
        Some(Identified {
            partner,
            voice: Voice::Asserted(domains),
        })
    }

    fn by_srv(&self, presented: &Presented, book: &SrvBook) -> Option<Identified<'_>> {
        let partner = self.first(presented.hosts(), |name| {
            name.and_above().filter_map(|domain| {
                let (domain, index) = self.by_srv.get_key_value(domain)?;
                // Before DNS has answered it may be one; each request asks again.
                let listed = book.of(domain)?.lists(std::slice::from_ref(name));
                (listed != Listed::No).then_some(*index)
            })
        })?;
        let usable = |(_, source): &(&DomainName, Source)| partner.takes(*source);
        let hosts = presented.hosts().filter(usable);
        let domains = partner.domains.iter();
        Some(Identified {
            partner,
            voice: Voice::Published {
                hosts: hosts.map(|(name, _)| name.clone()).collect(),
                domains: domains
                    .filter_map(|domain| Some((domain.clone(), book.of(domain)?)))
                    .collect(),
            },
        })
    }

    /// The first partner that one of these names belongs to, and that takes a name from there.
    fn first<'n, I: Iterator<Item = usize>>(
        &self,
        mut names: impl Iterator<Item = (&'n DomainName, Source)>,
        belongs: impl Fn(&'n DomainName) -> I,
    ) -> Option<&Arc<Partner>> {
        names.find_map(|(name, source)| {
            let mut partners = belongs(name).filter_map(|index| self.list.get(index));
            partners.find(|partner| partner.takes(source))
        })
    }
}

impl Partner {
    fn takes(&self, source: Source) -> bool {
        match source {
            Source::SubjectAltName => true,
            Source::CommonName => self.common_name,
            Source::Terminator => self.common_name || matches!(self.known_by, KnownBy::Edge(_)),
        }
    }
}

/// Whose connection it is.
#[derive(Debug)]
pub(crate) struct Identified<'a> {
    /// The partner.
    pub(crate) partner: &'a Arc<Partner>,
    /// What of its domains this peer may speak for.
    pub(crate) voice: Voice,
}

/// For which of its partner's domains a peer may speak.
#[derive(Clone, Debug)]
pub(crate) enum Voice {
    /// For all.
    Partner,
    /// For those that its certificate asserts.
    Asserted(Box<[DomainName]>),
    /// For those that publish one of its hosts at the moment.
    Published {
        /// The names of its certificate.
        hosts: Box<[DomainName]>,
        /// The partner's domains.
        domains: Box<[(DomainName, Arc<Published>)]>,
    },
}

/// Whether a peer may speak for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may.
    Good,
    /// It may not.
    Foreign,
    /// Nobody knows: DNS has not answered.
    Unknown,
}

impl Voice {
    /// Whether a peer of `partner` may send for users of `host`.
    pub(crate) fn standing(&self, partner: &Partner, host: &[u8]) -> Standing {
        let good = match self {
            Voice::Partner => partner.domains.iter().any(|domain| domain.is(host)),
            Voice::Asserted(domains) => domains.iter().any(|domain| domain.is(host)),
            Voice::Published { hosts, domains } => {
                let published = domains.iter().find(|(domain, _)| domain.is(host));
                match published.map(|(_, published)| published.lists(hosts)) {
                    Some(Listed::Yes) => true,
                    Some(Listed::Unknown) => return Standing::Unknown,
                    Some(Listed::No) | None => false,
                }
            }
        };
        if good {
            Standing::Good
        } else {
            Standing::Foreign
        }
    }
}

/// What a peer has shown of itself. Kept as long as its connection, because a reload asks again whose it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presented {
    /// The dNSNames of the subjectAltName.
    hosts: Box<[DomainName]>,
    /// The hosts of its `sip:` URIs.
    domains: Box<[DomainName]>,
    /// The common name, where there is no subjectAltName.
    common_name: Option<DomainName>,
    /// Nobody has told more than the common name.
    only_common_name: bool,
    /// The first few as they came, for the log.
    shown: Box<[Box<str>]>,
}

/// Where in a certificate a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    SubjectAltName,
    CommonName,
    /// The common name, from a TLS terminator that tells no other.
    Terminator,
}

/// Public authorities put 250 names into a certificate at most; what comes after the first 256 is not looked at.
const NAMES: usize = 256;

impl Presented {
    /// The names of a certificate, wildcards left out (RFC 5922 7.1, 7.2).
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Presented {
        let Ok(parsed) = EndEntityCert::try_from(certificate) else {
            return Presented::default();
        };
        let hosts = || parsed.valid_dns_names().take(NAMES);
        let uris = || parsed.valid_uri_names().take(NAMES);
        let common_name = common_name(certificate);
        let shown = hosts().chain(uris()).chain(common_name.as_deref());
        Presented {
            hosts: hosts().filter_map(DomainName::parse).collect(),
            domains: uris().filter_map(sip_domain).collect(),
            shown: shown.take(NAMES_SHOWN).map(Box::from).collect(),
            common_name: common_name.as_deref().and_then(DomainName::parse),
            only_common_name: false,
        }
    }

    /// A certificate's common name, as its bytes stand there: all that most TLS terminators tell. It stands for an Edge's name.
    pub(crate) fn of_common_name(name: &[u8]) -> Presented {
        let text = std::str::from_utf8(name).ok();
        let text = text.filter(|text| (1..=domain::NAME_BYTES).contains(&text.len()));
        Presented {
            common_name: text.and_then(DomainName::parse),
            only_common_name: true,
            shown: text.map(Box::from).into_iter().collect(),
            ..Presented::default()
        }
    }

    /// The hosts that it may be.
    fn hosts(&self) -> impl Iterator<Item = (&DomainName, Source)> {
        self.with_source(&self.hosts)
    }

    /// The SIP domains that it asserts: dNSNames count only where there is no `sip:` URI (RFC 5922 7.1).
    fn domains(&self) -> impl Iterator<Item = (&DomainName, Source)> {
        let names = if self.domains.is_empty() {
            &self.hosts
        } else {
            &self.domains
        };
        self.with_source(names)
    }

    fn with_source<'a>(
        &'a self,
        names: &'a [DomainName],
    ) -> impl Iterator<Item = (&'a DomainName, Source)> {
        let source = if self.only_common_name {
            Source::Terminator
        } else {
            Source::CommonName
        };
        let names = names.iter().map(|name| (name, Source::SubjectAltName));
        names.chain(self.common_name.iter().map(move |name| (name, source)))
    }

    /// The first few names, for the log.
    pub(crate) fn shown(&self) -> &[Box<str>] {
        &self.shown
    }
}

/// The domain of a `sip:` URI without a user: one with a user names a person (RFC 5922 7.1).
fn sip_domain(uri: &str) -> Option<DomainName> {
    let uri = SipUri::parse(uri.as_bytes()).ok()?;
    let names_a_domain = !uri.is_secure() && uri.user().is_none();
    let host = std::str::from_utf8(uri.host()).ok()?;
    names_a_domain.then(|| DomainName::parse(host)).flatten()
}

/// The common name of a certificate that has no subjectAltName at all: else RFC 5922 7.1 forbids a look at it.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    if !matches!(parsed.subject_alternative_name(), Ok(None)) {
        return None;
    }
    // The last one is the most specific.
    let name = parsed.subject().iter_common_name().last()?;
    name.as_str().ok().map(str::to_owned)
}

/// How many of a stranger's names the log shows.
const NAMES_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn partner(name_: &str, edge: &str, domain: &str) -> Partner {
        Partner {
            name: name_.into(),
            known_by: KnownBy::Edge(vec![name(edge)]),
            common_name: false,
            domains: vec![name(domain)],
            apple: true,
            windows_phone: true,
            hide_content: false,
            rate: None,
        }
    }

    #[test]
    fn an_edge_belongs_to_one_partner_only() {
        let twice = vec![
            partner("a", "sip.x.example", "a.example"),
            partner("b", "sip.x.example", "b.example"),
        ];
        assert_eq!(Partners::new(twice).unwrap_err().as_str(), "sip.x.example");
    }

    #[test]
    fn a_domain_belongs_to_one_partner_only_where_partners_are_known_by_it() {
        for known_by in [KnownBy::Domain, KnownBy::Srv] {
            let of = |name: &str| Partner {
                known_by: known_by.clone(),
                ..partner(name, "sip.x.example", "a.example")
            };
            let error = Partners::new(vec![of("a"), of("b")]).unwrap_err();
            assert_eq!(error.as_str(), "a.example");
        }
    }

    #[test]
    fn a_partner_speaks_for_its_domains_in_any_case_and_for_no_subdomain() {
        let partner = partner("a", "sip.a.example", "a.example");
        let standing = |host: &[u8]| Voice::Partner.standing(&partner, host);
        assert_eq!(standing(b"A.Example"), Standing::Good);
        assert_eq!(standing(b"evil.a.example"), Standing::Foreign);
        assert_eq!(standing(b"a.example."), Standing::Foreign);
    }

    #[test]
    fn a_terminators_common_name_stands_for_an_edge_and_by_switch_for_a_domain() {
        let partners = |known_by, common_name| {
            let partner = Partner {
                known_by,
                common_name,
                ..partner("a", "sip.a.example", "a.example")
            };
            Partners::new(vec![partner]).unwrap()
        };
        let edge = Presented::of_common_name(b"SIP.a.example");
        let by_edge = KnownBy::Edge(vec![name("sip.a.example")]);
        assert!(partners(by_edge, false).by_edge(&edge).is_some());
        let domain = Presented::of_common_name(b"a.example");
        assert!(
            partners(KnownBy::Domain, false)
                .by_domain(&domain)
                .is_none()
        );
        assert!(partners(KnownBy::Domain, true).by_domain(&domain).is_some());
    }

    #[test]
    fn a_sip_uri_asserts_a_domain_only_without_a_user() {
        assert_eq!(
            sip_domain("SIP:Contoso.example"),
            Some(name("contoso.example"))
        );
        assert_eq!(
            sip_domain("sip:contoso.example:5061;transport=tls"),
            Some(name("contoso.example"))
        );
        for uri in [
            "sip:kim@contoso.example",
            "sips:contoso.example",
            "http://contoso.example",
            "sip:*.contoso.example",
            "sip:contoso.example.",
            "sip:",
        ] {
            assert_eq!(sip_domain(uri), None, "{uri}");
        }
    }
}

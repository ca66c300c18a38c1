//! Who may speak: edges by their certificate names, and the SIP domains each may speak for.
//!
//! Not here: whether a certificate's chain is good (`tls`), and what a request says of itself, except its From domain.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::rate::Rate;

/// A SIP domain's or edge's name: ASCII, lower case, at least two labels, no wildcard, no trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DomainName(Box<str>);

impl DomainName {
    /// Reads a name; `None` for what is none.
    pub(crate) fn parse(text: &str) -> Option<DomainName> {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let valid = text.len() <= NAME_BYTES && text.contains('.') && text.split('.').all(label);
        valid.then(|| DomainName(text.to_ascii_lowercase().into_boxed_str()))
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `text` is this name, in any case.
    pub(crate) fn is(&self, text: &[u8]) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(text)
    }

    /// Whether this is `domain` or a name below it.
    pub(crate) fn is_within(&self, domain: &DomainName) -> bool {
        let above = self.0.strip_suffix(&*domain.0);
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }
}

/// A site that may send pushes.
#[derive(Clone, Debug)]
pub(crate) struct Partner {
    /// What logs and metrics call it.
    pub(crate) name: Box<str>,
    /// The names of its Access Edges' certificates.
    pub(crate) edges: Vec<DomainName>,
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

impl Partner {
    /// Whether this partner may send for users of `host`.
    pub(crate) fn speaks_for(&self, host: &[u8]) -> bool {
        self.domains.iter().any(|domain| domain.is(host))
    }
}

/// All partners, by their edges' names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partners {
    list: Vec<Arc<Partner>>,
    by_edge: HashMap<DomainName, usize>,
}

impl Partners {
    /// Collects the partners; an edge named twice is given back as an error.
    pub(crate) fn new(list: Vec<Partner>) -> Result<Partners, DomainName> {
        let mut by_edge = HashMap::new();
        for (index, partner) in list.iter().enumerate() {
            for edge in &partner.edges {
                if by_edge
                    .insert(edge.clone(), index)
                    .is_some_and(|other| other != index)
                {
                    return Err(edge.clone());
                }
            }
        }
        Ok(Partners {
            list: list.into_iter().map(Arc::new).collect(),
            by_edge,
        })
    }

    /// All, in the order of the file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Partner>> {
        self.list.iter()
    }

    /// The partner of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Partner>> {
        self.list.iter().find(|partner| *partner.name == *name)
    }

    /// Whose names these are.
    pub(crate) fn identify(&self, presented: &Presented) -> Option<&Arc<Partner>> {
        let mut names = presented.names.iter();
        let index = names.find_map(|name| self.by_edge.get(&DomainName::parse(name)?))?;
        self.list.get(*index)
    }
}

/// What a peer has shown of itself. Kept as long as its connection, because a reload asks again whose it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presented {
    names: Box<[Box<str>]>,
}

/// Public authorities put 250 names into a certificate at most; what comes after the first 256 is not looked at.
const NAMES: usize = 256;

/// The longest host name, RFC 1035 2.3.4.
const NAME_BYTES: usize = 253;

impl Presented {
    /// The dNSNames of a certificate's subjectAltName. No wildcards, and no common name (RFC 5922 7.1, 7.2; Lync's own edges
    /// always carry their name in the subjectAltName).
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Presented {
        let Ok(certificate) = EndEntityCert::try_from(certificate) else {
            return Presented::default();
        };
        let names = certificate.valid_dns_names().map(Box::from);
        Presented {
            names: names.take(NAMES).collect(),
        }
    }

    /// A certificate's common name, as its bytes stand there: all that most TLS terminators tell.
    pub(crate) fn of_common_name(name: &[u8]) -> Presented {
        let text = std::str::from_utf8(name).ok();
        let text = text.filter(|text| (1..=NAME_BYTES).contains(&text.len()));
        Presented {
            names: text.map(Box::from).into_iter().collect(),
        }
    }

    /// The first few names, for the log.
    pub(crate) fn shown(&self) -> &[Box<str>] {
        &self.names[..self.names.len().min(NAMES_SHOWN)]
    }
}

/// How many of a stranger's names the log shows.
const NAMES_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn partner(name: &str, edge: &str, domain: &str) -> Partner {
        Partner {
            name: name.into(),
            edges: vec![DomainName::parse(edge).unwrap()],
            domains: vec![DomainName::parse(domain).unwrap()],
            apple: true,
            windows_phone: true,
            hide_content: false,
            rate: None,
        }
    }

    #[test]
    fn names_with_wildcards_trailing_dots_or_a_single_label_are_refused() {
        for text in [
            "*.contoso.com",
            "contoso.com.",
            "contoso",
            "",
            "a..b",
            "-a.b",
            "sip:contoso.com",
            "bücher.de",
        ] {
            assert_eq!(DomainName::parse(text), None, "{text}");
        }
        assert_eq!(
            DomainName::parse("SIP.Contoso.com").unwrap().as_str(),
            "sip.contoso.com"
        );
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
    fn a_partner_speaks_for_its_domains_in_any_case_and_for_no_subdomain() {
        let partner = partner("a", "sip.a.example", "a.example");
        assert!(partner.speaks_for(b"A.Example"));
        assert!(!partner.speaks_for(b"evil.a.example"));
        assert!(!partner.speaks_for(b"a.example."));
    }
}

//! The SIP addresses that are ours.

use crate::domain::DomainName;

/// One SIP URI that pushes are sent to: user and host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    user: Box<[u8]>,
    host: DomainName,
}

impl Address {
    /// Reads `sip:user@host`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Address> {
        let rest = text
            .strip_prefix("sip:")
            .or_else(|| text.strip_prefix("sips:"))?;
        let (user, host) = rest.split_once('@')?;
        let host = DomainName::parse(host)?;
        (!user.is_empty() && !user.contains([' ', ';', ':', '?', '@'])).then(|| Address {
            user: user.as_bytes().into(),
            host,
        })
    }

    /// Its host.
    pub(crate) fn host(&self) -> &DomainName {
        &self.host
    }
}

/// All of them.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    list: Vec<Address>,
}

impl Addresses {
    /// Collects them.
    pub(crate) fn new(list: Vec<Address>) -> Addresses {
        Addresses { list }
    }

    /// Whether a MESSAGE to this user and host is for us. The user is compared with case, the host without
    /// (RFC 3261 19.1.4).
    pub(crate) fn contains(&self, user: Option<&[u8]>, host: &[u8]) -> bool {
        self.list
            .iter()
            .any(|ours| user == Some(&*ours.user) && ours.host.is(host))
    }

    /// Whether an OPTIONS for this host is for us: the federation test of an Edge names only the domain, or any user.
    pub(crate) fn has_host(&self, host: &[u8]) -> bool {
        self.list.iter().any(|ours| ours.host.is(host))
    }

    /// Our first host: the name in Warning headers.
    pub(crate) fn first_host(&self) -> &str {
        self.list
            .first()
            .map_or("pushrelay", |ours| ours.host.as_str())
    }
}

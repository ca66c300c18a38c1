//! SIP and SIPS URIs, RFC 3261 19.1.

use std::net::Ipv6Addr;

use crate::lex::{self, HOST, Span, TOKEN, URI_STOP};
use crate::params::Params;

/// A `sip:` or `sips:` URI whose parts have been found. Holds the bytes as they came, escapes included.
#[derive(Clone, Copy, Debug)]
pub struct SipUri<'a> {
    uri: &'a [u8],
    layout: Layout,
}

/// Where the parts of a SIP URI stand in it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    secure: bool,
    user: Option<Span>,
    host: Span,
    port: Option<u16>,
    params: Span,
    headers: Option<u32>,
}

/// Why bytes are no SIP URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SipUriError {
    /// Another scheme: what a Request-URI is answered 416 for.
    #[error("expected the scheme sip or sips")]
    Scheme,
    /// The scheme is right and the rest is not: what a Request-URI is answered 400 for.
    #[error("{0}")]
    Malformed(&'static str),
}

impl<'a> SipUri<'a> {
    /// Reads a whole URI, without angle brackets around it.
    pub fn parse(uri: &'a [u8]) -> Result<Self, SipUriError> {
        Layout::read(uri).map(|layout| SipUri { uri, layout })
    }

    pub(crate) fn new(uri: &'a [u8], layout: Layout) -> Self {
        SipUri { uri, layout }
    }

    /// Whether the scheme is `sips`.
    pub fn is_secure(&self) -> bool {
        self.layout.secure
    }

    /// The user without its password, as it came: `None` for a URI of a host alone.
    pub fn user(&self) -> Option<&'a [u8]> {
        let user = self.layout.user?.of(self.uri);
        Some(&user[..memchr::memchr(b':', user).unwrap_or(user.len())])
    }

    /// The host: a name or an address, an IPv6 address in its brackets. Compare it without case.
    pub fn host(&self) -> &'a [u8] {
        self.layout.host.of(self.uri)
    }

    /// The port, where one is named.
    pub fn port(&self) -> Option<u16> {
        self.layout.port
    }

    /// The URI parameters (`transport`, `lr`, `opaque`, `gruu`).
    pub fn params(&self) -> Params<'a> {
        Params::new(self.layout.params.of(self.uri))
    }

    /// What follows the `?`, which a Request-URI must not have.
    pub fn headers(&self) -> Option<&'a [u8]> {
        self.layout
            .headers
            .map(|headers| &self.uri[headers as usize..])
    }
}

impl Layout {
    pub(crate) fn has_headers(&self) -> bool {
        self.headers.is_some()
    }

    pub(crate) fn read(uri: &[u8]) -> Result<Layout, SipUriError> {
        let secure = match uri {
            [b's' | b'S', b'i' | b'I', b'p' | b'P', b':', ..] => false,
            [b's' | b'S', b'i' | b'I', b'p' | b'P', b's' | b'S', b':', ..] => true,
            _ => return Err(no_sip_scheme(uri)),
        };
        let start = if secure {
            b"sips:".len()
        } else {
            b"sip:".len()
        };
        let (user, host) = read_user(uri, start)?;
        let host = Span::new(host, host_end(uri, host)?);
        let (port, rest) = match uri.get(host.end as usize) {
            Some(b':') => {
                let (port, rest) = read_port(uri, host.end as usize + 1).ok_or(NO_PORT)?;
                (Some(port), rest)
            }
            _ => (None, host.end as usize),
        };
        let headers = memchr::memchr(b'?', &uri[rest..]).map(|at| rest + at);
        let params = Span::new(rest, headers.unwrap_or(uri.len()));
        if params.of(uri).first().is_some_and(|&byte| byte != b';') {
            return Err(SipUriError::Malformed(
                "something other than a port or parameters after the host",
            ));
        }
        Ok(Layout {
            secure,
            user,
            host,
            port,
            params,
            headers: headers.map(|at| at as u32 + 1),
        })
    }
}

/// What is wrong with a URI that begins with neither `sip:` nor `sips:`.
fn no_sip_scheme(uri: &[u8]) -> SipUriError {
    let scheme = lex::skip(uri, 0, TOKEN);
    match uri.get(scheme) {
        Some(b':') if scheme > 0 => SipUriError::Scheme,
        _ => SipUriError::Malformed("no scheme"),
    }
}

const NO_PORT: SipUriError = SipUriError::Malformed("no port number after the colon");

/// The user part from `start` on, and the place of the host. `@` must be escaped everywhere else, so that the only one
/// ends the user part, which may hold `;` and `?`.
fn read_user(uri: &[u8], start: usize) -> Result<(Option<Span>, usize), SipUriError> {
    let at = lex::find(uri, start, URI_STOP);
    let (user, host, stop) = match uri.get(at) {
        Some(b'@') => (
            Some(Span::new(start, at)),
            at + 1,
            lex::find(uri, at + 1, URI_STOP),
        ),
        _ => (None, start, at),
    };
    match uri.get(stop) {
        Some(b'@') => Err(SipUriError::Malformed("a second @")),
        Some(_) => Err(SipUriError::Malformed(
            "a character that a SIP URI must escape",
        )),
        None if user.is_some_and(|user| user.start == user.end) => {
            Err(SipUriError::Malformed("an empty user part before the @"))
        }
        None => Ok((user, host)),
    }
}

/// The end of the host that begins at `at`.
pub(crate) fn host_end(bytes: &[u8], at: usize) -> Result<usize, SipUriError> {
    if bytes.get(at) == Some(&b'[') {
        let rest = &bytes[at + 1..];
        let length = memchr::memchr(b']', rest)
            .ok_or(SipUriError::Malformed("an IPv6 address without its ]"))?;
        let address = std::str::from_utf8(&rest[..length])
            .ok()
            .and_then(|text| text.parse::<Ipv6Addr>().ok());
        return address
            .map(|_| at + length + 2)
            .ok_or(SipUriError::Malformed(
                "no IPv6 address between the brackets",
            ));
    }
    let end = lex::skip(bytes, at, HOST);
    if end == at {
        Err(SipUriError::Malformed("no host"))
    } else {
        Ok(end)
    }
}

/// The port number at `at`, and the place behind it.
pub(crate) fn read_port(bytes: &[u8], at: usize) -> Option<(u16, usize)> {
    let digits = bytes
        .get(at..)?
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let port = lex::number(&bytes[at..at + digits], u16::MAX.into())?;
    Some((u16::try_from(port).ok()?, at + digits))
}

//! SIP and SIPS URIs, RFC 3261 19.1.

use std::net::Ipv6Addr;

use crate::lex;
use crate::params::Params;

/// A `sip:` or `sips:` URI whose parts have been found. Holds the bytes as they came, escapes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SipUri<'a> {
    secure: bool,
    user: Option<&'a [u8]>,
    host: &'a [u8],
    port: Option<u16>,
    params: &'a [u8],
    headers: Option<&'a [u8]>,
}

/// Why bytes are no SIP URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SipUriError {
    /// Another scheme, or none: what a Request-URI is answered 416 for.
    #[error("expected the scheme sip or sips")]
    Scheme,
    /// The scheme is right and the rest is not: what a Request-URI is answered 400 for.
    #[error("{0}")]
    Malformed(&'static str),
}

impl<'a> SipUri<'a> {
    /// Reads a whole URI, without angle brackets around it.
    pub fn parse(uri: &'a [u8]) -> Result<Self, SipUriError> {
        let (secure, rest) = match uri {
            [b's' | b'S', b'i' | b'I', b'p' | b'P', b':', rest @ ..] => (false, rest),
            [
                b's' | b'S',
                b'i' | b'I',
                b'p' | b'P',
                b's' | b'S',
                b':',
                rest @ ..,
            ] => (true, rest),
            _ => return Err(SipUriError::Scheme),
        };
        if rest
            .iter()
            .any(|&byte| byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | 0x7f))
        {
            return Err(SipUriError::Malformed(
                "a character that a SIP URI must escape",
            ));
        }
        // '@' must be escaped everywhere else, so that the first one ends the user part, which may hold ';' and '?'.
        let (user, rest) = match memchr::memchr(b'@', rest) {
            Some(0) => return Err(SipUriError::Malformed("an empty user part before the @")),
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        let host_end = host_end(rest)?;
        let (host, rest) = rest.split_at(host_end);
        let (port, rest) = port(rest)?;
        let (params, headers) = match memchr::memchr(b'?', rest) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        if !params.is_empty() && params[0] != b';' {
            return Err(SipUriError::Malformed(
                "something other than a port or parameters after the host",
            ));
        }
        if memchr::memchr(b'@', rest).is_some() {
            return Err(SipUriError::Malformed("a second @"));
        }
        Ok(SipUri {
            secure,
            user,
            host,
            port,
            params,
            headers,
        })
    }

    /// Whether the scheme is `sips`.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The user without its password, as it came: `None` for a URI of a host alone.
    pub fn user(&self) -> Option<&'a [u8]> {
        self.user
            .map(|user| &user[..memchr::memchr(b':', user).unwrap_or(user.len())])
    }

    /// The host: a name or an address, an IPv6 address in its brackets. Compare it without case.
    pub fn host(&self) -> &'a [u8] {
        self.host
    }

    /// The port, where one is named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The URI parameters (`transport`, `lr`, `opaque`, `gruu`).
    pub fn params(&self) -> Params<'a> {
        Params::new(self.params)
    }

    /// What follows the `?`, which a Request-URI must not have.
    pub fn headers(&self) -> Option<&'a [u8]> {
        self.headers
    }
}

/// The end of the host that `rest` begins with.
pub(crate) fn host_end(rest: &[u8]) -> Result<usize, SipUriError> {
    if rest.first() == Some(&b'[') {
        let end = memchr::memchr(b']', rest)
            .ok_or(SipUriError::Malformed("an IPv6 address without its ]"))?;
        let address = std::str::from_utf8(&rest[1..end])
            .ok()
            .and_then(|text| text.parse::<Ipv6Addr>().ok());
        return address.map(|_| end + 1).ok_or(SipUriError::Malformed(
            "no IPv6 address between the brackets",
        ));
    }
    let mut end = 0;
    while end < rest.len()
        && (rest[end].is_ascii_alphanumeric() || matches!(rest[end], b'.' | b'-' | b'_'))
    {
        end += 1;
    }
    if end == 0 {
        return Err(SipUriError::Malformed("no host"));
    }
    Ok(end)
}

/// The `:port` that `rest` may begin with, and what follows it.
fn port(rest: &[u8]) -> Result<(Option<u16>, &[u8]), SipUriError> {
    let Some((b':', rest)) = rest.split_first() else {
        return Ok((None, rest));
    };
    let end = rest
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(rest.len());
    let port = lex::number(&rest[..end], u16::MAX.into()).and_then(|port| u16::try_from(port).ok());
    match port {
        Some(port) => Ok((Some(port), &rest[end..])),
        None => Err(SipUriError::Malformed("no port number after the colon")),
    }
}

//! The address of a Windows Phone's channel, which comes from the wire and is therefore held to an allow-list.
//!
//! The list is a list of names: what a name resolves to is looked at again by whoever connects, with [`is_public`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a channel URI may look like. The default is Microsoft's own service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPolicy {
    /// Host suffixes, each with its leading dot, or whole host names without one; lower case.
    /// An IP address is allowed only where it is listed as a whole.
    pub hosts: Vec<String>,
    /// Ports; 80 and 443.
    pub ports: Vec<u16>,
    /// Path prefixes, each from slash to slash; compared with case.
    pub path_prefixes: Vec<String>,
}

impl Default for ChannelPolicy {
    fn default() -> ChannelPolicy {
        ChannelPolicy {
            hosts: vec![".notify.live.net".to_owned()],
            ports: vec![80, 443],
            path_prefixes: vec![
                "/throttledthirdparty/".to_owned(),
                "/unthrottledthirdparty/".to_owned(),
            ],
        }
    }
}

/// A channel URI that the policy allows: absolute, `http` or `https`, no userinfo, no fragment, at most
/// [`ChannelUri::MAX_BYTES`] bytes of ASCII.
///
/// Scheme and host are lower case and the scheme's own port is left out, so that equal channels are equal values.
/// Its `Debug` shows only the host.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ChannelUri {
    text: Box<str>,
    https: bool,
    port: u16,
    host: (u16, u16),
    path: u16,
}

/// Why a text is no channel URI, or none that is allowed. Nothing of the URI is repeated but lengths, positions and
/// the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelUriError {
    /// Longer than a channel URI ever is.
    #[error("expected a URI of 1 to {max} bytes, got {0}", max = ChannelUri::MAX_BYTES)]
    Length(usize),
    /// A space, a control character, a backslash, a quote or something else that no URI has.
    #[error("expected URI characters, got another at position {0}")]
    Character(usize),
    /// Something outside ASCII: internationalised names are refused, not translated.
    #[error("expected ASCII, got another character at position {0}")]
    NotAscii(usize),
    /// The Lync URL filter in its "allow" setting puts an underscore in front of links.
    #[error(
        "expected http:// or https://, got _http: an IM URL filter at the sender has changed the body"
    )]
    Mangled,
    /// Neither `http://` nor `https://`.
    #[error("expected http:// or https://, got another beginning")]
    Scheme,
    /// `user@` in front of the host.
    #[error("expected no user name before the host, got one")]
    UserInfo,
    /// `#…` at the end.
    #[error("expected no fragment, got one")]
    Fragment,
    /// The host is empty, ends in a dot, has an empty or overlong label, a percent sign, or is a number that some
    /// resolvers take for an address.
    #[error("expected a host name of letters, digits, hyphens and single dots, got something else")]
    Host,
    /// The brackets hold no IPv6 address.
    #[error("expected an IPv6 address in brackets, got something else")]
    Ipv6,
    /// The policy does not list this host.
    #[error("expected a host that the configuration allows, got another")]
    HostNotAllowed,
    /// An address of a private, local or special network, and not listed.
    #[error("expected a public host, got a private, local or reserved address")]
    PrivateAddress,
    /// What follows the colon is no port.
    #[error("expected a port of 1 to 65535, got something else")]
    Port,
    /// The policy does not list this port.
    #[error("expected a port that the configuration allows, got {0}")]
    PortNotAllowed(u16),
    /// A percent sign without two hexadecimal digits.
    #[error("expected two hexadecimal digits after each percent sign, got something else")]
    PercentEncoding,
    /// A `.` or `..` segment, plain or encoded, which would lead out of the allowed path.
    #[error("expected a path without dot segments, got one")]
    DotSegment,
    /// The path does not begin as the policy says.
    #[error("expected a path that the configuration allows, got another")]
    PathNotAllowed,
}

impl ChannelUri {
    /// The longest URI that is read. Microsoft's are about 120 bytes.
    pub const MAX_BYTES: usize = 2048;

    /// Reads a URI and holds it to `policy`.
    pub fn parse(text: &str, policy: &ChannelPolicy) -> Result<Self, ChannelUriError> {
        let parts = Parts::split(text)?;
        policy.check(&parts)?;
        Ok(parts.build())
    }

    /// Reads a URI that was allowed when it was written down: its form is checked, the policy is not asked again,
    /// because what was promised under yesterday's configuration is still promised.
    pub(crate) fn parse_recorded(text: &str) -> Result<Self, ChannelUriError> {
        Ok(Parts::split(text)?.build())
    }

    /// `true` for `https`.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// The host: lower case, an IPv6 literal without brackets.
    pub fn host(&self) -> &str {
        &self.text[usize::from(self.host.0)..usize::from(self.host.1)]
    }

    /// The port, the scheme's own where the URI names none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query: what the request line carries.
    pub fn path_and_query(&self) -> &str {
        &self.text[usize::from(self.path)..]
    }

    /// The whole URI: never log it, it is the device's secret.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ChannelUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelUri({}…)", self.host())
    }
}

impl ChannelPolicy {
    fn check(&self, parts: &Parts<'_>) -> Result<(), ChannelUriError> {
        match parts.host {
            Host::Address(address) if self.lists_address(address) => {}
            Host::Address(address) if !is_public(address) => {
                return Err(ChannelUriError::PrivateAddress);
            }
            Host::Name(name) if self.lists_name(name) => {}
            _ => return Err(ChannelUriError::HostNotAllowed),
        }
        if !self.ports.contains(&parts.port) {
            return Err(ChannelUriError::PortNotAllowed(parts.port));
        }
        let path = parts.path();
        if !self
            .path_prefixes
            .iter()
            .any(|prefix| path.starts_with(prefix.as_str()))
        {
            return Err(ChannelUriError::PathNotAllowed);
        }
        Ok(())
    }

    fn lists_name(&self, name: &str) -> bool {
        self.hosts.iter().any(|listed| {
            let begin = name.len().saturating_sub(listed.len());
            let tail = &name.as_bytes()[begin..];
            tail.eq_ignore_ascii_case(listed.as_bytes())
                && (begin == 0) != (listed.starts_with('.'))
        })
    }

    fn lists_address(&self, address: IpAddr) -> bool {
        self.hosts.iter().any(|listed| {
            let listed = listed.trim_start_matches('[').trim_end_matches(']');
            listed.parse() == Ok(address)
        })
    }
}

/// Whether an address can belong to a host on the public Internet: not private, loopback, link-local, multicast,
/// unspecified, documentation, benchmarking, carrier-grade NAT or otherwise reserved (IANA special-purpose registries,
/// RFC 6890).
///
/// An IPv4 address inside an IPv6 one is judged as what it stands for where the kernel or a gateway would translate it
/// (`::ffff:0:0/96`, and `64:ff9b::/96` of RFC 6052); tunnels that nobody should need (6to4, Teredo) are not public.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, ..)           // this network, private, loopback
            | (100, 64..=127, _)     // carrier-grade NAT, RFC 6598
            | (169, 254, _)          // link-local, and the metadata services of clouds
            | (172, 16..=31, _)      // private
            | (192, 0, 0 | 2)        // IETF assignments, documentation
            | (192, 88, 99)          // 6to4 relays, RFC 7526
            | (192, 168, _)          // private
            | (198, 18..=19, _)      // benchmarking, RFC 2544
            | (198, 51, 100)         // documentation
            | (203, 0, 113)          // documentation
            | (224..=255, ..) // multicast, reserved, broadcast
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Only 2000::/3 is handed out as global unicast; everything else is local, multicast or unassigned.
    let special = match (segments[0], segments[1]) {
        (0x2001, 0x0000..=0x01ff) => true, // IETF assignments: Teredo, benchmarking, ORCHID
        (0x2001, 0x0db8) => true,          // documentation
        (0x2002, _) => true,               // 6to4
        (0x3fff, second) => second < 0x1000, // documentation, RFC 9637
        _ => false,
    };
    segments[0] & 0xe000 == 0x2000 && !special
}

/// A URI taken apart; everything but the policy has been checked.
struct Parts<'a> {
    https: bool,
    host: Host<'a>,
    port: u16,
    path_and_query: &'a str,
}

#[derive(Clone, Copy)]
enum Host<'a> {
    Name(&'a str),
    Address(IpAddr),
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Parts<'a>, ChannelUriError> {
        if text.is_empty() || text.len() > ChannelUri::MAX_BYTES {
            return Err(ChannelUriError::Length(text.len()));
        }
        if let Some(at) = text.bytes().position(|byte| !byte.is_ascii()) {
            return Err(ChannelUriError::NotAscii(at));
        }
        if let Some(at) = text.bytes().position(|byte| !is_uri_byte(byte)) {
            return Err(ChannelUriError::Character(at));
        }
        let (https, rest) = split_scheme(text)?;
        if rest.contains('#') {
            return Err(ChannelUriError::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(end);
        if authority.contains('@') {
            return Err(ChannelUriError::UserInfo);
        }
        let (host, port) = split_authority(authority)?;
        let port = match port {
            Some(digits) => parse_port(digits)?,
            None => default_port(https),
        };
        // Only an IPv6 host has brackets, RFC 3986 3.2.2.
        if let Some(at) = path_and_query.find(['[', ']']) {
            let before = text.len() - path_and_query.len();
            return Err(ChannelUriError::Character(before + at));
        }
        check_path(path_and_query)?;
        Ok(Parts {
            https,
            host,
            port,
            path_and_query,
        })
    }

    fn path(&self) -> &str {
        let end = self
            .path_and_query
            .find('?')
            .unwrap_or(self.path_and_query.len());
        &self.path_and_query[..end]
    }

    fn build(&self) -> ChannelUri {
        let mut text = String::with_capacity(self.path_and_query.len() + 64);
        text.push_str(if self.https { "https://" } else { "http://" });
        let begin = match self.host {
            Host::Name(name) => {
                text.push_str(name);
                text.make_ascii_lowercase();
                text.len() - name.len()
            }
            Host::Address(IpAddr::V4(address)) => {
                let begin = text.len();
                text.push_str(&address.to_string());
                begin
            }
            Host::Address(IpAddr::V6(address)) => {
                text.push('[');
                let begin = text.len();
                text.push_str(&address.to_string());
                begin
            }
        };
        let host = (index(begin), index(text.len()));
        if matches!(self.host, Host::Address(IpAddr::V6(_))) {
            text.push(']');
        }
        if self.port != default_port(self.https) {
            text.push(':');
            text.push_str(&self.port.to_string());
        }
        let path = index(text.len());
        if !self.path_and_query.starts_with('/') {
            text.push('/');
        }
        text.push_str(self.path_and_query);
        ChannelUri {
            text: text.into_boxed_str(),
            https: self.https,
            port: self.port,
            host,
            path,
        }
    }
}

/// The canonical text is at most a few bytes longer than what was read, which has at most 2048.
fn index(at: usize) -> u16 {
    u16::try_from(at).expect("a channel URI is shorter than 64 KiB")
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// RFC 3986 2: unreserved, reserved and the percent sign. Backslash, quotes, spaces and braces are none of them.
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

fn split_scheme(text: &str) -> Result<(bool, &str), ChannelUriError> {
    let begins = |with: &str| {
        text.get(..with.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(with))
    };
    if begins("https://") {
        Ok((true, &text[8..]))
    } else if begins("http://") {
        Ok((false, &text[7..]))
    } else if begins("_http") {
        Err(ChannelUriError::Mangled)
    } else {
        Err(ChannelUriError::Scheme)
    }
}

/// Host and the digits of the port, if there is a colon.
fn split_authority(authority: &str) -> Result<(Host<'_>, Option<&str>), ChannelUriError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (literal, rest) = rest.split_once(']').ok_or(ChannelUriError::Ipv6)?;
        let address: Ipv6Addr = literal.parse().map_err(|_| ChannelUriError::Ipv6)?;
        let port = match rest {
            "" => None,
            _ => Some(rest.strip_prefix(':').ok_or(ChannelUriError::Ipv6)?),
        };
        return Ok((Host::Address(IpAddr::V6(address)), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok((Host::Address(IpAddr::V4(address)), port));
    }
    check_name(host)?;
    Ok((Host::Name(host), port))
}

/// RFC 1123 2.1 names: letters, digits and hyphens, labels of 1 to 63, 253 in all, no dot at the end. A last label
/// that begins with a digit is no name: `127.1`, `0x7f000001` and `2130706433` are addresses to many resolvers.
fn check_name(host: &str) -> Result<(), ChannelUriError> {
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let last = host.rsplit('.').next().unwrap_or("");
    if host.len() <= 253
        && host.split('.').all(label_is_good)
        && !last.starts_with(|first: char| first.is_ascii_digit())
    {
        Ok(())
    } else {
        Err(ChannelUriError::Host)
    }
}

fn parse_port(digits: &str) -> Result<u16, ChannelUriError> {
    // `str::parse` takes a sign, RFC 3986 3.2.3 does not.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ChannelUriError::Port);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(ChannelUriError::Port),
        Ok(port) => Ok(port),
    }
}

fn check_path(path_and_query: &str) -> Result<(), ChannelUriError> {
    let bytes = path_and_query.as_bytes();
    for (at, _) in path_and_query.match_indices('%') {
        let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
        if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(ChannelUriError::PercentEncoding);
        }
    }
    let path = path_and_query.split('?').next().unwrap_or("");
    if path.contains('.') || path.contains("%2e") || path.contains("%2E") {
        // What a server that decodes too early or too often would see.
        let seen = path
            .to_ascii_lowercase()
            .replace("%2e", ".")
            .replace("%2f", "/")
            .replace("%5c", "/");
        if seen.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(ChannelUriError::DotSegment);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;

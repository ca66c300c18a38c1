//! One Via value: which hop sent this, RFC 3261 20.42.

use std::net::IpAddr;

use crate::lex;
use crate::params::{self, Next, Param, Params};
use crate::uri::host_end;

/// One via-parm of a Via line.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    value: &'a [u8],
    layout: Layout,
}

impl<'a> Via<'a> {
    pub(crate) fn new(value: &'a [u8], layout: Layout) -> Self {
        Via { value, layout }
    }

    /// Reads the first via-parm of a Via line and returns what follows its comma.
    pub fn parse(value: &'a [u8]) -> Result<(Self, Option<&'a [u8]>), &'static str> {
        let layout = Layout::read(value)?;
        let via = Via { value, layout };
        let rest = value
            .get(layout.end as usize..)
            .and_then(|rest| rest.strip_prefix(b","));
        Ok((via, rest))
    }

    /// The transport it names (`TLS`), as it came.
    pub fn transport(&self) -> &'a [u8] {
        self.part(self.layout.transport)
    }

    /// The host of sent-by: a name or an address, an IPv6 address in its brackets.
    pub fn host(&self) -> &'a [u8] {
        self.part(self.layout.host)
    }

    /// The port of sent-by, where one is named.
    pub fn port(&self) -> Option<u16> {
        self.layout.port
    }

    /// The branch; `None` where there is none, as Microsoft's first hop leaves it out.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.layout.branch.map(|branch| self.part(branch))
    }

    /// The first parameter of this name (`received`, `ms-received-cid`).
    pub fn param(&self, name: &str) -> Option<Param<'a>> {
        self.params().find(name)
    }

    /// The parameters, in order.
    pub fn params(&self) -> Params<'a> {
        Params::new(self.part((self.layout.params, self.layout.end)))
    }

    /// The whole via-parm, as it came.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.part((0, self.layout.end))
    }

    /// The port as it came, with its colon.
    pub(crate) fn port_bytes(&self) -> &'a [u8] {
        self.part((self.layout.host.1, self.layout.params))
    }

    fn part(&self, (start, end): (u32, u32)) -> &'a [u8] {
        &self.value[start as usize..end as usize]
    }
}

/// Where the parts of a via-parm stand in its line's value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    transport: (u32, u32),
    host: (u32, u32),
    port: Option<u16>,
    params: u32,
    branch: Option<(u32, u32)>,
    /// Where `=port` is to be filled in: behind an `rport` without value.
    pub(crate) rport: Option<u32>,
    pub(crate) received: bool,
    /// Behind the last parameter: where `;received` is appended, and at or before the comma.
    pub(crate) last: u32,
    /// The comma, or the end of the value.
    end: u32,
}

impl Layout {
    /// Whether sent-by in `value` is this address.
    pub(crate) fn names(&self, value: &[u8], address: IpAddr) -> bool {
        let host = &value[self.host.0 as usize..self.host.1 as usize];
        let host = host
            .strip_prefix(b"[")
            .and_then(|host| host.strip_suffix(b"]"))
            .unwrap_or(host);
        std::str::from_utf8(host)
            .ok()
            .and_then(|host| host.parse::<IpAddr>().ok())
            == Some(address)
    }

    pub(crate) fn read(value: &[u8]) -> Result<Layout, &'static str> {
        let (protocol, at) = token(value, 0)?;
        let (version, at) = token(value, slash(value, at)?)?;
        if !value[protocol.0..protocol.1].eq_ignore_ascii_case(b"SIP")
            || &value[version.0..version.1] != b"2.0"
        {
            return Err("the protocol is not SIP/2.0");
        }
        let (transport, at) = token(value, slash(value, at)?)?;
        let host_start = lex::skip_lws(value, at);
        if host_start == at {
            return Err("no white space between transport and host");
        }
        let host_end = host_start + host_end(&value[host_start..]).map_err(|_| "no host")?;
        let (port, params) = port(value, host_end)?;
        let mut layout = Layout {
            transport: narrow(transport),
            host: narrow((host_start, host_end)),
            port,
            params: params as u32,
            ..Layout::default()
        };
        layout.read_params(value, params)?;
        Ok(layout)
    }

    fn read_params(&mut self, value: &[u8], mut at: usize) -> Result<(), &'static str> {
        loop {
            match params::next(value, at) {
                Next::Param(place) => {
                    at = place.end;
                    let name = &value[place.name.0..place.name.1];
                    if name.eq_ignore_ascii_case(b"branch") {
                        self.branch = self.branch.or(place.value.map(narrow));
                    } else if name.eq_ignore_ascii_case(b"rport") {
                        self.rport = place.value.is_none().then_some(place.name.1 as u32);
                    } else if name.eq_ignore_ascii_case(b"received") {
                        self.received = true;
                    }
                }
                Next::End(end) if end == value.len() || value[end] == b',' => {
                    self.last = at as u32;
                    self.end = end as u32;
                    return Ok(());
                }
                Next::End(_) => return Err("something other than parameters behind the host"),
                Next::Malformed => {
                    return Err("a parameter without name or value, or an unbalanced quote");
                }
            }
        }
    }
}

/// The token at `at`, white space before it skipped, and the place behind it.
fn token(value: &[u8], at: usize) -> Result<((usize, usize), usize), &'static str> {
    let start = lex::skip_lws(value, at);
    let end = lex::skip_token(value, start);
    if end == start {
        Err("expected SIP/2.0/transport and a host")
    } else {
        Ok(((start, end), end))
    }
}

/// The place behind the slash that comes next.
fn slash(value: &[u8], at: usize) -> Result<usize, &'static str> {
    let slash = lex::skip_lws(value, at);
    if value.get(slash) == Some(&b'/') {
        Ok(slash + 1)
    } else {
        Err("expected SIP/2.0/transport and a host")
    }
}

/// The `: port` that may stand at `at`, and the place behind it.
fn port(value: &[u8], at: usize) -> Result<(Option<u16>, usize), &'static str> {
    let colon = lex::skip_lws(value, at);
    if value.get(colon) != Some(&b':') {
        return Ok((None, at));
    }
    let start = lex::skip_lws(value, colon + 1);
    let mut end = start;
    while value.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    let port =
        lex::number(&value[start..end], u16::MAX.into()).and_then(|port| u16::try_from(port).ok());
    port.map(|port| (Some(port), end))
        .ok_or("no port number after the colon")
}

/// A value is part of a head, and heads are bounded far below 4 GiB.
fn narrow((start, end): (usize, usize)) -> (u32, u32) {
    (start as u32, end as u32)
}

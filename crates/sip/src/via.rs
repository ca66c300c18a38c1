//! One Via value: which hop sent this, RFC 3261 20.42.

use crate::lex::{self, Span, TOKEN};
use crate::params::{self, Next, Param, Params};
use crate::uri::{host_end, read_port};

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
        Params::new(self.part(Span {
            start: self.layout.params,
            end: self.layout.end,
        }))
    }

    /// The whole via-parm, as it came.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.part(Span {
            start: 0,
            end: self.layout.end,
        })
    }

    /// The port as it came, with its colon.
    pub(crate) fn port_bytes(&self) -> &'a [u8] {
        self.part(Span {
            start: self.layout.host.end,
            end: self.layout.params,
        })
    }

    fn part(&self, span: Span) -> &'a [u8] {
        span.of(self.value)
    }
}

/// Where the parts of a via-parm stand in its line's value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    transport: Span,
    host: Span,
    port: Option<u16>,
    params: u32,
    branch: Option<Span>,
    /// Where `=port` is to be filled in: behind an `rport` without value.
    pub(crate) rport: Option<u32>,
    pub(crate) received: bool,
    /// Behind the last parameter: where `;received` is appended, and at or before the comma.
    pub(crate) last: u32,
    /// The comma, or the end of the value.
    end: u32,
}

const PROTOCOL: &str = "expected SIP/2.0/transport and a host";

impl Layout {
    pub(crate) fn read(value: &[u8]) -> Result<Layout, &'static str> {
        let at = match value.strip_prefix(b"SIP/2.0/") {
            Some(_) => b"SIP/2.0/".len(),
            None => read_protocol(value)?,
        };
        let transport = lex::skip_lws(value, at);
        let transport = Span::new(transport, lex::skip(value, transport, TOKEN));
        let host = lex::skip_lws(value, transport.end as usize);
        if transport.start == transport.end || transport.end as usize == host {
            return Err(PROTOCOL);
        }
        let host = Span::new(host, host_end(value, host).map_err(|_| "no host")?);
        let (port, params) = port(value, host.end as usize)?;
        let mut layout = Layout {
            transport,
            host,
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
                    let name = place.name.of(value);
                    if lex::is_name(name, b"branch") {
                        self.branch = self.branch.or(place.value);
                    } else if lex::is_name(name, b"rport") {
                        self.rport = place.value.is_none().then_some(place.name.end);
                    } else if lex::is_name(name, b"received") {
                        self.received = true;
                    }
                }
                Next::End(end) if value.get(end).is_none_or(|&byte| byte == b',') => {
                    (self.last, self.end) = (at as u32, end as u32);
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

/// The place behind `SIP / 2.0 /`, which may hold white space.
fn read_protocol(value: &[u8]) -> Result<usize, &'static str> {
    let mut at = 0;
    for expected in [&b"SIP"[..], b"2.0"] {
        let start = lex::skip_lws(value, at);
        let end = lex::skip(value, start, TOKEN);
        let slash = lex::skip_lws(value, end);
        if !value[start..end].eq_ignore_ascii_case(expected) || value.get(slash) != Some(&b'/') {
            return Err(PROTOCOL);
        }
        at = slash + 1;
    }
    Ok(at)
}

/// The `: port` that may stand at `at`, and the place behind it.
fn port(value: &[u8], at: usize) -> Result<(Option<u16>, usize), &'static str> {
    let colon = lex::skip_lws(value, at);
    if value.get(colon) != Some(&b':') {
        return Ok((None, at));
    }
    let start = lex::skip_lws(value, colon + 1);
    let (port, end) = read_port(value, start).ok_or("no port number after the colon")?;
    Ok((Some(port), end))
}

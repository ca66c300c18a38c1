//! `"Display" <uri>;param` and `uri;param`: the value of From and To, RFC 3261 20.10.

use crate::lex::{self, NAME_END, Span, URI_END};
use crate::params::{self, Next, Param, Params};
use crate::uri::{SipUri, SipUriError};

/// The value of From or To. Empty where a faulty request has none that can be read.
#[derive(Clone, Copy, Debug)]
pub struct NameAddr<'a> {
    value: &'a [u8],
    layout: Layout,
}

impl<'a> NameAddr<'a> {
    /// Reads one name-addr or addr-spec with its parameters, and nothing after it.
    pub fn parse(value: &'a [u8]) -> Result<Self, &'static str> {
        Layout::read(value).map(|layout| NameAddr { value, layout })
    }

    pub(crate) fn new(value: &'a [u8], layout: Layout) -> Self {
        NameAddr { value, layout }
    }

    /// The display name as it came, quotes included; empty where there is none.
    pub fn display(&self) -> &'a [u8] {
        self.part(self.layout.display)
    }

    /// The URI, without angle brackets.
    pub fn uri(&self) -> &'a [u8] {
        self.part(self.layout.uri)
    }

    /// The URI read as a SIP URI.
    pub fn sip_uri(&self) -> Result<SipUri<'a>, SipUriError> {
        SipUri::parse(self.uri())
    }

    /// The `tag` parameter; `None` where there is none (RFC 2543) or it is empty.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.layout.tag.map(|tag| self.part(tag))
    }

    /// The first header parameter of this name (`epid`, `tag`).
    pub fn param(&self, name: &str) -> Option<Param<'a>> {
        self.params().find(name)
    }

    /// The header parameters, those behind the URI.
    pub fn params(&self) -> Params<'a> {
        Params::new(
            self.value
                .get(self.layout.params as usize..)
                .unwrap_or_default(),
        )
    }

    fn part(&self, span: Span) -> &'a [u8] {
        span.of(self.value)
    }
}

/// The addresses of a header that may list several, such as P-Asserted-Identity (RFC 3325 9.1): each read, or why it cannot be.
#[derive(Clone, Debug)]
pub struct NameAddrs<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> NameAddrs<'a> {
    /// Those of one header line's value.
    pub fn new(value: &'a [u8]) -> Self {
        NameAddrs { rest: Some(value) }
    }
}

impl<'a> Iterator for NameAddrs<'a> {
    type Item = Result<NameAddr<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let end = separator(rest);
        self.rest = rest.get(end + 1..);
        Some(NameAddr::parse(lex::trim(&rest[..end])))
    }
}

/// The place of the first comma that stands in neither quotes nor angle brackets, or the end.
fn separator(value: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = value.get(at) {
        at = match byte {
            b',' => return at,
            b'"' => lex::skip_quoted(value, at).unwrap_or(value.len()),
            b'<' => memchr::memchr(b'>', &value[at..]).map_or(value.len(), |length| at + length),
            _ => at + 1,
        };
    }
    value.len()
}

/// Where the parts of a name-addr stand in its value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    display: Span,
    uri: Span,
    params: u32,
    tag: Option<Span>,
}

impl Layout {
    pub(crate) fn has_tag(&self) -> bool {
        self.tag.is_some()
    }

    pub(crate) fn read(value: &[u8]) -> Result<Layout, &'static str> {
        let (display, uri, params) = read_address(value)?;
        let mut layout = Layout {
            display,
            uri,
            params: params as u32,
            tag: None,
        };
        let mut at = params;
        loop {
            match params::next(value, at) {
                Next::Param(place) => {
                    at = place.end;
                    if layout.tag.is_none() && lex::is_name(place.name.of(value), b"tag") {
                        layout.tag = Some(place.value.ok_or("a tag without value")?);
                    }
                }
                Next::End(end) if end == value.len() => return Ok(layout),
                Next::End(_) => return Err("something other than parameters behind the address"),
                Next::Malformed => {
                    return Err("a parameter without name or value, or an unbalanced quote");
                }
            }
        }
    }
}

/// The display name, the URI, and the place of what follows.
fn read_address(value: &[u8]) -> Result<(Span, Span, usize), &'static str> {
    let start = lex::skip_lws(value, 0);
    if value.get(start) == Some(&b'"') {
        let end =
            lex::skip_quoted(value, start).ok_or("a display name whose quote is never closed")?;
        let open = lex::skip_lws(value, end);
        return match value.get(open) {
            Some(b'<') => bracketed(value, Span::new(start, end), open),
            _ => Err("no < behind the display name"),
        };
    }
    let end = lex::find(value, start, NAME_END);
    match value.get(end) {
        Some(b'<') => {
            let name = lex::trim(&value[start..end]);
            bracketed(value, Span::new(start, start + name.len()), end)
        }
        Some(b',' | b'"' | b'>') => Err("a display name that should stand in quotes"),
        _ => bare(value, start),
    }
}

/// An address whose URI stands between the `<` at `open` and a `>`.
fn bracketed(
    value: &[u8],
    display: Span,
    open: usize,
) -> Result<(Span, Span, usize), &'static str> {
    let start = open + 1;
    let mut end = lex::find(value, start, URI_END);
    while let Some(b';' | b',' | b'?') = value.get(end) {
        end = lex::find(value, end + 1, URI_END);
    }
    match value.get(end) {
        Some(b'>') => Ok((display, Span::new(start, end), end + 1)),
        Some(_) => Err("white space, a quote or a second < inside the angle brackets"),
        None => Err("a < without its >"),
    }
}

/// An address without angle brackets: what looks like URI parameters belongs to the header, and there is no `,` or `?`.
fn bare(value: &[u8], start: usize) -> Result<(Span, Span, usize), &'static str> {
    let end = lex::find(value, start, URI_END);
    match value.get(end) {
        Some(b',') => Err("more than one address, or a comma outside angle brackets"),
        Some(b'?') => Err("URI headers outside angle brackets"),
        Some(b'<' | b'>' | b'"') => Err("an angle bracket or quote out of place"),
        _ => Ok((Span::new(start, start), Span::new(start, end), end)),
    }
}

//! `"Display" <uri>;param` and `uri;param`: the value of From and To, RFC 3261 20.10.

use crate::lex;
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

    fn part(&self, (start, end): (u32, u32)) -> &'a [u8] {
        &self.value[start as usize..end as usize]
    }
}

/// Where the parts of a name-addr stand in its value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Layout {
    display: (u32, u32),
    uri: (u32, u32),
    params: u32,
    tag: Option<(u32, u32)>,
}

impl Layout {
    pub(crate) fn has_tag(&self) -> bool {
        self.tag.is_some()
    }

    pub(crate) fn read(value: &[u8]) -> Result<Layout, &'static str> {
        let start = lex::skip_lws(value, 0);
        let (display, open) = display(value, start)?;
        let (uri, after) = match open {
            Some(open) => bracketed(value, open)?,
            None => bare(value, start)?,
        };
        let mut layout = Layout {
            display: narrow(display),
            uri: narrow(uri),
            params: after as u32,
            tag: None,
        };
        let mut at = after;
        loop {
            match params::next(value, at) {
                Next::Param(place) => {
                    at = place.end;
                    let is_tag = value[place.name.0..place.name.1].eq_ignore_ascii_case(b"tag");
                    if is_tag && layout.tag.is_none() {
                        layout.tag = Some(narrow(place.value.ok_or("a tag without value")?));
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

/// The display name from `start`, and the place of the `<` behind it, if there is one.
fn display(value: &[u8], start: usize) -> Result<((usize, usize), Option<usize>), &'static str> {
    if value.get(start) == Some(&b'"') {
        let end =
            lex::skip_quoted(value, start).ok_or("a display name whose quote is never closed")?;
        let open = lex::skip_lws(value, end);
        if value.get(open) != Some(&b'<') {
            return Err("no < behind the display name");
        }
        return Ok(((start, end), Some(open)));
    }
    let mut at = start;
    while at < value.len() {
        match value[at] {
            b'<' => {
                return Ok((
                    (start, start + lex::trim(&value[start..at]).len()),
                    Some(at),
                ));
            }
            // What a token cannot hold: either this is a bare URI, or a name that should stand in quotes.
            b':' | b';' | b'@' | b'?' => return Ok(((start, start), None)),
            b',' | b'"' | b'>' => return Err("a display name that should stand in quotes"),
            _ => at += 1,
        }
    }
    Ok(((start, start), None))
}

/// The URI between the `<` at `open` and its `>`, and the place behind it.
fn bracketed(value: &[u8], open: usize) -> Result<((usize, usize), usize), &'static str> {
    let start = open + 1;
    let mut end = start;
    while end < value.len() {
        match value[end] {
            b'>' => return Ok(((start, end), end + 1)),
            b'<' => return Err("a < inside the angle brackets"),
            byte if lex::is_lws(byte) => return Err("white space inside the angle brackets"),
            _ => end += 1,
        }
    }
    Err("a < without its >")
}

/// The URI without angle brackets at `start`: its parameters belong to the header, and it has no `,` or `?`.
fn bare(value: &[u8], start: usize) -> Result<((usize, usize), usize), &'static str> {
    let mut end = start;
    while end < value.len() {
        match value[end] {
            b';' => break,
            b',' => return Err("more than one address, or a comma outside angle brackets"),
            b'?' => return Err("URI headers outside angle brackets"),
            b'<' | b'>' | b'"' => return Err("an angle bracket or quote out of place"),
            byte if lex::is_lws(byte) => break,
            _ => end += 1,
        }
    }
    Ok(((start, end), end))
}

/// A value is part of a head, and heads are bounded far below 4 GiB.
fn narrow((start, end): (usize, usize)) -> (u32, u32) {
    (start as u32, end as u32)
}

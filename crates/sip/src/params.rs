//! `;name=value` lists behind header values and inside URIs.

use crate::lex::{self, Span, TOKEN, VALUE_END};

/// One parameter. Names are compared without case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// The name, as it came.
    pub name: &'a [u8],
    /// The value as it came, quotes included; `None` where there is no `=`.
    pub value: Option<&'a [u8]>,
}

impl Param<'_> {
    /// Whether this is the parameter `name`.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The parameters of a header value, in order. Ends at the first that cannot be read.
#[derive(Clone, Debug)]
pub struct Params<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Params<'a> {
    /// Reads `bytes`, which begin with the first `;` or with white space before it.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Params { bytes, at: 0 }
    }

    /// The first parameter of this name.
    pub(crate) fn find(mut self, name: &str) -> Option<Param<'a>> {
        Iterator::find(&mut self, |param| param.is(name))
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        match next(self.bytes, self.at) {
            Next::Param(place) => {
                self.at = place.end;
                Some(Param {
                    name: place.name.of(self.bytes),
                    value: place.value.map(|value| value.of(self.bytes)),
                })
            }
            Next::End(_) | Next::Malformed => None,
        }
    }
}

/// Where a parameter stands.
pub(crate) struct Place {
    pub(crate) name: Span,
    pub(crate) value: Option<Span>,
    /// Where the next one is looked for.
    pub(crate) end: usize,
}

pub(crate) enum Next {
    Param(Place),
    /// No `;` comes next; the place of what comes instead.
    End(usize),
    Malformed,
}

/// Reads the parameter at `at`: `LWS ; LWS name [LWS = LWS value]`.
pub(crate) fn next(bytes: &[u8], at: usize) -> Next {
    let semicolon = lex::skip_lws(bytes, at);
    if bytes.get(semicolon) != Some(&b';') {
        return Next::End(semicolon);
    }
    let start = lex::skip_lws(bytes, semicolon + 1);
    let end = lex::skip(bytes, start, TOKEN);
    if end == start {
        return Next::Malformed;
    }
    let name = Span::new(start, end);
    let equals = lex::skip_lws(bytes, end);
    if bytes.get(equals) != Some(&b'=') {
        return Next::Param(Place {
            name,
            value: None,
            end,
        });
    }
    let start = lex::skip_lws(bytes, equals + 1);
    // A quoted string, or anything up to a separator: a token, a host, an IPv6 address, `user:epid:…`.
    let end = match bytes.get(start) {
        Some(b'"') => lex::skip_quoted(bytes, start),
        _ => Some(lex::find(bytes, start, VALUE_END)).filter(|end| *end > start),
    };
    match end {
        Some(end) => Next::Param(Place {
            name,
            value: Some(Span::new(start, end)),
            end,
        }),
        None => Next::Malformed,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<(&[u8], Option<&[u8]>)> {
        Params::new(bytes)
            .map(|param| (param.name, param.value))
            .collect()
    }

    #[test]
    fn parameters_come_with_and_without_value_and_in_quotes() {
        assert_eq!(
            read(b" ; lr;a = \"x;y\\\"=,\" ;\r\n opaque=user:epid:ab_C;gruu"),
            [
                (&b"lr"[..], None),
                (b"a", Some(&b"\"x;y\\\"=,\""[..])),
                (b"opaque", Some(b"user:epid:ab_C")),
                (b"gruu", None)
            ]
        );
    }

    #[test]
    fn a_parameter_without_name_or_value_after_the_sign_is_malformed() {
        for wrong in [&b";"[..], b";;", b"; =x", b";a=", b";a=;b", b";a=\"x"] {
            assert!(
                matches!(next(wrong, 0), Next::Malformed),
                "{}",
                wrong.escape_ascii()
            );
        }
    }

    #[test]
    fn names_are_found_without_case() {
        assert_eq!(
            Params::new(b";TAG=x").find("tag").unwrap().value,
            Some(&b"x"[..])
        );
    }
}

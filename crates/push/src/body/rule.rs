//! Where one member of a mapping comes from, and what is done to it on the way.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::document::Document;
use super::mapping::Pattern;
use super::xml;

/// A place in a body, a header, or nothing of either.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// An RFC 6901 pointer, such as `/device/token`.
    Json(JsonPointer),
    /// A path, such as `push/device[2]/@token`.
    Xml(XmlPath),
    /// A named group of one of the mapping's regular expressions.
    Group(Box<str>),
    /// A header of the SIP request.
    Header(Box<str>),
    /// Always this.
    Constant(Value),
}

/// An RFC 6901 pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPointer(Box<str>);

impl JsonPointer {
    /// `None` where it is neither empty nor begins with a slash, or a tilde stands for nothing.
    pub fn parse(text: &str) -> Option<JsonPointer> {
        let escapes = text.match_indices('~');
        let good = escapes
            .map(|(at, _)| text.as_bytes().get(at + 1))
            .all(|next| matches!(next, Some(b'0' | b'1')));
        (good && (text.is_empty() || text.starts_with('/'))).then(|| JsonPointer(text.into()))
    }
}

/// A path of local element names from the root, each perhaps with the number of its kind; an attribute at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmlPath(Box<str>, xml::Path);

impl XmlPath {
    /// `None` for what is no such path.
    pub fn parse(text: &str) -> Option<XmlPath> {
        Some(XmlPath(text.into(), xml::Path::parse(text)?))
    }
}

impl Source {
    /// The key of a mapping file and what stands under it; nothing for a constant.
    pub fn written(&self) -> (&'static str, &str) {
        match self {
            Source::Json(pointer) => ("json", &pointer.0),
            Source::Xml(path) => ("xml", &path.0),
            Source::Group(name) => ("group", name),
            Source::Header(name) => ("header", name),
            Source::Constant(_) => ("constant", ""),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, place) = self.written();
        f.write_str(key)?;
        if !place.is_empty() {
            write!(f, " {place}")?;
        }
        Ok(())
    }
}

/// Something done to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// White space at both ends goes.
    Trim,
    /// Base64, with or without padding, becomes hexadecimal.
    Base64ToHex,
    /// Hexadecimal as people write it: blanks, hyphens and angle brackets go, and what is left must be hexadecimal digits.
    Hex,
    /// A whole number.
    Integer,
}

impl Transform {
    /// All, under the names of the files.
    pub const NAMES: [(&'static str, Transform); 4] = [
        ("trim", Transform::Trim),
        ("base64-to-hex", Transform::Base64ToHex),
        ("hex", Transform::Hex),
        ("integer", Transform::Integer),
    ];

    fn apply(self, text: &str) -> Result<Cow<'_, str>, &'static str> {
        match self {
            Transform::Trim => Ok(text.trim().into()),
            Transform::Base64ToHex => {
                let bytes = BASE64
                    .decode(text.trim())
                    .map_err(|_| "expected base64, got something else")?;
                let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                let digits = digits.filter_map(|digit| char::from_digit(digit.into(), 16));
                Ok(digits.collect())
            }
            Transform::Hex => {
                let noise = |c: char| c.is_whitespace() || matches!(c, '-' | '<' | '>');
                let digits: String = text.chars().filter(|c| !noise(*c)).collect();
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err("expected hexadecimal digits, got something else");
                }
                Ok(digits.into())
            }
            Transform::Integer => match text.trim().parse::<i64>() {
                Ok(number) => Ok(number.to_string().into()),
                Err(_) => Err("expected an integer, got something else"),
            },
        }
    }
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How one member comes about: found, transformed, looked up; the default where there is nothing.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it is to be found.
    pub source: Source,
    /// What is done to it, in order.
    pub transforms: Vec<Transform>,
    /// The whole value, and what it stands for.
    pub lookup: Vec<(Box<str>, Box<str>)>,
    /// What it is where nothing was found, or the lookup has no such entry.
    pub default: Option<Value>,
}

impl Rule {
    /// A rule without transforms.
    pub fn new(source: Source) -> Rule {
        Rule {
            source,
            transforms: Vec::new(),
            lookup: Vec::new(),
            default: None,
        }
    }

    pub(super) fn find<'p>(
        &self,
        document: &Document<'_>,
        patterns: impl Iterator<Item = &'p Pattern>,
        is_integer: bool,
    ) -> Found {
        let raw = match self.raw(document, patterns) {
            Ok(raw) => raw,
            Err(problem) => {
                return Found {
                    raw: None,
                    value: Err(problem),
                };
            }
        };
        if let Source::Constant(value) = &self.source {
            return Found {
                raw: None,
                value: Ok(Some(value.clone())),
            };
        }
        let value = match raw.as_deref() {
            Some(text) => self.transformed(text, is_integer),
            None => Ok(self.default.clone()),
        };
        Found {
            raw: raw.map(Cow::into_owned),
            value: value.map_err(Into::into),
        }
    }

    fn raw<'d, 'p>(
        &self,
        document: &'d Document<'_>,
        mut patterns: impl Iterator<Item = &'p Pattern>,
    ) -> Result<Option<Cow<'d, str>>, Cow<'static, str>> {
        // The body's own words are kept: where it breaks off is what an operator looks for.
        let unread = |error: super::BodyError| Cow::Owned(error.to_string());
        Ok(match &self.source {
            Source::Json(pointer) => match document.json().map_err(unread)?.pointer(&pointer.0) {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(text.into()),
                Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string().into()),
                Some(Value::Array(_)) => return Err("expected one value, got an array".into()),
                Some(Value::Object(_)) => {
                    return Err("expected one value, got an object".into());
                }
            },
            Source::Xml(path) => {
                let value = path.1.value(document.xml().map_err(unread)?);
                value.filter(|text| !text.is_empty()).map(Cow::Borrowed)
            }
            Source::Group(name) => {
                let text = document.text().map_err(unread)?;
                patterns
                    .find_map(|pattern| pattern.group(name, text))
                    .map(Cow::Borrowed)
            }
            Source::Header(name) => document.header(name),
            Source::Constant(_) => None,
        })
    }

    fn transformed(&self, raw: &str, is_integer: bool) -> Result<Option<Value>, &'static str> {
        let mut text = Cow::Borrowed(raw);
        for transform in &self.transforms {
            text = Cow::Owned(transform.apply(&text)?.into_owned());
        }
        if !self.lookup.is_empty() {
            match self.lookup.iter().find(|(from, _)| **from == *text) {
                Some((_, to)) => text = Cow::Borrowed(to),
                None if self.default.is_some() => return Ok(self.default.clone()),
                None => return Err("expected an entry of the lookup table, got another value"),
            }
        }
        if is_integer || self.transforms.contains(&Transform::Integer) {
            let number = text.trim().parse::<i64>();
            return number
                .map(|number| Some(number.into()))
                .map_err(|_| "expected an integer, got something else");
        }
        Ok(Some(text.into_owned().into()))
    }
}

/// A value as a text: a string without its quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What came of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// As it stood there.
    pub(super) raw: Option<String>,
    /// What it became; `None` where there is nothing.
    pub(super) value: Result<Option<Value>, Cow<'static, str>>,
}

//! A mapping: how somebody else's body becomes a notification, as a value that the operator writes down.
//!
//! It says which bodies it reads and where each member of the model is to be found in them. What it finds is held to the same
//! rules as a body of our own. Not here: files and TOML.

use std::fmt;

use serde_json::{Map, Value};

use super::document::Document;
use super::model::{self, Nulls};
use super::place::malformed;
use super::rule::{Found, Rule, Source};
use super::shape::{ROOT, Shape};
use super::{BodyError, media_type};
use crate::channel::ChannelPolicy;
use crate::notification::Notification;

/// A regular expression that takes time linear in the text, at most [`Pattern::BYTES`] once compiled.
#[derive(Clone, Debug)]
pub struct Pattern(regex::Regex);

impl Pattern {
    /// The most memory that one may need.
    pub const BYTES: usize = 1 << 20;

    /// Compiles it; the error says what is wrong, on one line.
    pub fn new(text: &str) -> Result<Pattern, String> {
        regex::RegexBuilder::new(text)
            .size_limit(Pattern::BYTES)
            .build()
            .map(Pattern)
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(limit) => {
                    format!("expected at most {limit} bytes when compiled, got more")
                }
                // The last line says what; those before draw where.
                error => error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .to_owned(),
            })
    }

    /// The names of its groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.0.capture_names().flatten()
    }

    fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    pub(super) fn group<'t>(&self, name: &str, text: &'t str) -> Option<&'t str> {
        // Whoever has no such group need not look through the text.
        self.groups().find(|found| *found == name)?;
        self.0
            .captures(text)?
            .name(name)
            .map(|found| found.as_str())
    }
}

/// Which bodies a mapping reads: all that is named must hold.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// Media types such as `text/xml`; none means any.
    pub content_types: Vec<String>,
    /// For the header User-Agent.
    pub user_agent: Option<Pattern>,
    /// For the text of the body.
    pub body: Option<Pattern>,
}

/// A member of the model: `event`, `alert.title`, `targets[1].token`, `alert.loc_args[0]`, `data.conversation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName {
    text: Box<str>,
    steps: Vec<Step>,
    is_integer: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(Box<str>),
    Index(usize),
}

/// The most elements of a list that a mapping fills; the model has limits of its own.
const ELEMENTS: usize = 32;

impl FieldName {
    /// `None` for what the model does not have.
    pub fn parse(text: &str) -> Option<FieldName> {
        let mut shape = &ROOT;
        let mut steps = Vec::new();
        for part in text.split('.') {
            let (name, index) = match part.split_once('[') {
                Some((name, rest)) => (name, Some(rest.strip_suffix(']')?.parse().ok()?)),
                None => (part, None),
            };
            if let Shape::Any = shape {
                if name.is_empty() || index.is_some() {
                    return None;
                }
            } else {
                shape = shape.member(name)?;
            }
            steps.push(Step::Name(name.into()));
            match (shape, index) {
                (Shape::List { shape: element, .. }, Some(index)) if index < ELEMENTS => {
                    shape = element;
                    steps.push(Step::Index(index));
                }
                (_, Some(_)) => return None,
                (_, None) => {}
            }
        }
        let is_integer = match shape {
            Shape::Integer => true,
            Shape::Text => false,
            // `data` itself is no field, what is in it is.
            Shape::Any if steps.len() > 1 => false,
            _ => return None,
        };
        Some(FieldName {
            text: text.into(),
            steps,
            is_integer,
        })
    }

    /// Puts a value where the name says.
    fn put(&self, tree: &mut Value, value: Value) {
        let mut at = tree;
        for step in &self.steps {
            at = match step {
                Step::Name(name) => {
                    if !at.is_object() {
                        *at = Value::Object(Map::new());
                    }
                    &mut at[&**name]
                }
                Step::Index(index) => {
                    if !at.is_array() {
                        *at = Value::Array(Vec::new());
                    }
                    if let Value::Array(list) = at
                        && list.len() <= *index
                    {
                        list.resize(index + 1, Value::Null);
                    }
                    &mut at[*index]
                }
            };
        }
        *at = value;
    }

    fn target(&self) -> Option<(usize, &str)> {
        match self.steps.as_slice() {
            [Step::Name(list), Step::Index(index), Step::Name(name)] if **list == *"targets" => {
                Some((*index, name))
            }
            _ => None,
        }
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One member and where it comes from.
#[derive(Clone, Debug)]
pub struct Field {
    /// Which.
    pub name: FieldName,
    /// Whence.
    pub rule: Rule,
}

/// How one kind of foreign body is read.
#[derive(Clone, Debug)]
pub struct Mapping {
    name: Box<str>,
    matching: Match,
    groups: Vec<Pattern>,
    fields: Vec<Field>,
}

/// Why a mapping cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// What errors and metrics call it.
    #[error("expected a name of 1 to 64 letters, digits, - _ .")]
    Name,
    /// Every notification has an event.
    #[error("expected a rule for event, got none")]
    NoEvent,
    /// Every notification is for somebody.
    #[error("expected a rule for the token or uri of at least one target, got none")]
    NoTarget,
    /// The same member twice.
    #[error("{0}: expected one rule, got two")]
    Twice(Box<str>),
    /// A group that no regular expression has.
    #[error("{field}: expected a named group of match.body or match.groups, got {group:?}")]
    Group {
        /// The member whose rule names it.
        field: Box<str>,
        /// The name.
        group: Box<str>,
    },
}

impl Mapping {
    /// `groups` are expressions that need not match, for their named groups.
    pub fn new(
        name: &str,
        matching: Match,
        groups: Vec<Pattern>,
        fields: Vec<Field>,
    ) -> Result<Mapping, MappingError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(good) {
            return Err(MappingError::Name);
        }
        if !fields.iter().any(|field| &*field.name.text == "event") {
            return Err(MappingError::NoEvent);
        }
        let names_device =
            |field: &Field| matches!(field.name.target(), Some((_, "token" | "uri")));
        if !fields.iter().any(names_device) {
            return Err(MappingError::NoTarget);
        }
        for (index, field) in fields.iter().enumerate() {
            if fields[..index].iter().any(|other| other.name == field.name) {
                return Err(MappingError::Twice(field.name.text.clone()));
            }
            if let Source::Group(group) = &field.rule.source
                && !matching
                    .body
                    .iter()
                    .chain(&groups)
                    .any(|pattern| pattern.groups().any(|name| name == &**group))
            {
                return Err(MappingError::Group {
                    field: field.name.text.clone(),
                    group: group.clone(),
                });
            }
        }
        Ok(Mapping {
            name: name.into(),
            matching,
            groups,
            fields,
        })
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The media types that it names.
    pub fn content_types(&self) -> &[String] {
        &self.matching.content_types
    }

    /// Why it does not read this body; `None` where it does.
    pub(super) fn mismatch(&self, document: &Document<'_>) -> Option<&'static str> {
        let types = &self.matching.content_types;
        let named = types.iter().any(|name| document.is(name));
        let is_container = document
            .media_type()
            .is_some_and(media_type::MediaType::is_container);
        // What names no type is asked about the parts, not about what they are wrapped in.
        if !named && (!types.is_empty() || is_container) {
            return Some("the content type is another");
        }
        if let Some(pattern) = &self.matching.user_agent {
            let agent = document.header("User-Agent").unwrap_or_default();
            if !pattern.is_match(&agent) {
                return Some("the User-Agent does not match");
            }
        }
        if let Some(pattern) = &self.matching.body {
            match document.text() {
                Ok(text) if pattern.is_match(text) => {}
                Ok(_) => return Some("the body does not match"),
                Err(_) => return Some("the body is no text of its charset"),
            }
        }
        None
    }

    pub(super) fn decode(
        &self,
        document: &Document<'_>,
        channels: &ChannelPolicy,
    ) -> Result<Notification, BodyError> {
        // A document that cannot be read is nobody's field.
        for field in &self.fields {
            match field.rule.source {
                Source::Json(_) => drop(document.json()?),
                Source::Xml(_) => drop(document.xml()?),
                Source::Group(_) | Source::Header(_) | Source::Constant(_) => {}
            }
        }
        let mut tree = self.empty();
        for field in &self.fields {
            let found = self.find(field, document);
            let value = found
                .value
                .map_err(|problem| malformed(format_args!("{}: {problem}", field.name)))?;
            if let Some(value) = value {
                field.name.put(&mut tree, value);
            }
        }
        self.finish(tree, channels)
    }

    /// Each field with what was found for it, in the order of the mapping.
    pub(super) fn explain<'a>(
        &'a self,
        document: &'a Document<'_>,
    ) -> impl Iterator<Item = (&'a Field, Found)> {
        self.fields
            .iter()
            .map(move |field| (field, self.find(field, document)))
    }

    fn find(&self, field: &Field, document: &Document<'_>) -> Found {
        let patterns = self.matching.body.iter().chain(&self.groups);
        field.rule.find(document, patterns, field.name.is_integer)
    }

    fn empty(&self) -> Value {
        let mut tree = Map::new();
        tree.insert("v".into(), 1.into());
        Value::Object(tree)
    }

    /// A target for whom the body names no device is left out; its service follows from what was found.
    fn finish(&self, mut tree: Value, channels: &ChannelPolicy) -> Result<Notification, BodyError> {
        if let Some(Value::Array(targets)) = tree.get_mut("targets") {
            for target in targets.iter_mut() {
                let has = |name| target.get(name).is_some_and(|value| !value.is_null());
                let service = match (has("service"), has("token"), has("uri")) {
                    (_, false, false) => {
                        *target = Value::Null;
                        continue;
                    }
                    (true, _, _) => continue,
                    (false, true, _) => "apns",
                    (false, false, true) => "mpns",
                };
                target["service"] = service.into();
            }
            if targets.iter().all(Value::is_null) {
                return Err(malformed(
                    "targets: expected a token or uri of at least one device, found none",
                ));
            }
        } else {
            return Err(malformed(
                "targets: expected a token or uri of at least one device, found none",
            ));
        }
        model::notification_of(&tree, channels, Nulls::LeftOut)
    }
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;

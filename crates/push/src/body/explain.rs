//! What each decoder makes of a body, for an operator to look at. It shows what a body says in clear.

use std::cell::Cell;

use serde_json::Value;

use super::container::{self, Container};
use super::damage::Damage;
use super::document::Document;
use super::media_type::MediaType;
use super::rule::plain;
use super::{Body, BodyError, Decoder, Decoders, Headers, json, shape, twin};
use crate::channel::ChannelPolicy;
use crate::notification::Notification;

/// One document of a body: the whole, or what a container held.
#[derive(Debug)]
pub struct PartExplanation {
    /// Which part of which part; empty for the whole body.
    pub path: Vec<usize>,
    /// What it says it is.
    pub content_type: Option<String>,
    /// Its octets, and what they are as text.
    pub bytes: usize,
    /// The text, links repaired, or why it is none.
    pub text: Result<String, BodyError>,
    /// What a URL filter has done to it.
    pub damage: Damage,
    /// Whether it holds parts.
    pub wrapped: Wrapped,
    /// What each decoder says, in their order.
    pub decoders: Vec<Explanation>,
}

/// Whether a document wraps others.
#[derive(Debug, PartialEq, Eq)]
pub enum Wrapped {
    /// It does not, or deeper than is looked.
    Nothing,
    /// So many.
    Parts(usize),
    /// It should, but cannot be opened.
    Broken(BodyError),
}

/// What one decoder makes of one document.
#[derive(Debug)]
pub struct Explanation {
    /// Which decoder.
    pub decoder: String,
    /// Why it does not know the document; `None` where it does.
    pub mismatch: Option<&'static str>,
    /// What each field became.
    pub fields: Vec<FieldExplanation>,
    /// The members of the model that it left empty.
    pub missing: Vec<String>,
    /// The notification, or why it is none; `None` where the decoder does not know the document.
    pub result: Option<Result<Notification, BodyError>>,
}

/// One field.
#[derive(Debug)]
pub struct FieldExplanation {
    /// `alert.title`, `targets[0].token`
    pub name: String,
    /// Where it was looked for.
    pub source: String,
    /// What stood there.
    pub raw: Option<String>,
    /// What it became; `None` where there is nothing.
    pub value: Result<Option<String>, String>,
}

impl Decoders {
    /// Shows every document of the body to every decoder.
    pub fn explain(&self, body: Body<'_>, headers: &dyn Headers) -> Vec<PartExplanation> {
        let mut parts = Vec::new();
        self.explain_part(body, headers, &[], &mut parts);
        parts
    }

    fn explain_part(
        &self,
        body: Body<'_>,
        headers: &dyn Headers,
        path: &[usize],
        explained: &mut Vec<PartExplanation>,
    ) {
        let media_type = body.content_type.and_then(MediaType::parse);
        let damage = Cell::new(Damage::default());
        let document = Document::new(media_type, body.bytes, headers, &damage);
        let decoders = self
            .list
            .iter()
            .map(|decoder| decoder.explain(&document, &self.channels))
            .collect();
        let container = media_type
            .as_ref()
            .filter(|_| path.len() < container::LEVELS)
            .and_then(Container::of);
        let opened = match (container, &media_type) {
            (Some(container), Some(media_type)) => Some(container.open(media_type, body.bytes)),
            _ => None,
        };
        explained.push(PartExplanation {
            path: path.to_vec(),
            content_type: body.content_type.map(str::to_owned),
            bytes: body.bytes.len(),
            text: document.text().map(str::to_owned),
            damage: damage.get(),
            wrapped: match &opened {
                None => Wrapped::Nothing,
                Some(Ok(parts)) => Wrapped::Parts(parts.len()),
                Some(Err(error)) => Wrapped::Broken(error.clone()),
            },
            decoders,
        });
        for (index, part) in opened
            .and_then(Result::ok)
            .into_iter()
            .flatten()
            .enumerate()
        {
            let mut path = path.to_vec();
            path.push(index + 1);
            let body = Body {
                content_type: Some(part.content_type.as_deref().unwrap_or("text/plain")),
                bytes: &part.bytes,
            };
            self.explain_part(body, headers, &path, explained);
        }
    }
}

impl Decoder {
    fn explain(&self, document: &Document<'_>, channels: &ChannelPolicy) -> Explanation {
        let mismatch = self.mismatch(document);
        let mut explanation = Explanation {
            decoder: self.name().to_owned(),
            mismatch,
            fields: Vec::new(),
            missing: Vec::new(),
            result: None,
        };
        if mismatch.is_some() {
            return explanation;
        }
        let tree = match self {
            Decoder::Json => document.text().and_then(json::tree),
            Decoder::Xml => document.xml().and_then(twin::tree),
            Decoder::Mapping(mapping) => {
                explanation.fields = mapping
                    .explain(document)
                    .map(|(field, found)| FieldExplanation {
                        name: field.name.to_string(),
                        source: field.rule.source.to_string(),
                        raw: found.raw,
                        value: match found.value {
                            Ok(value) => Ok(value.as_ref().map(plain)),
                            Err(problem) => Err(problem.into_owned()),
                        },
                    })
                    .collect();
                Ok(Value::Null)
            }
        };
        if let Ok(tree) = &tree {
            flatten(tree, "", &mut explanation.fields);
        }
        // A mapping need not say what is understood.
        let understood = |leaf: &str| {
            matches!(self, Decoder::Mapping(_)) && matches!(leaf, "v" | "targets[0].service")
        };
        explanation.missing = shape::leaves()
            .into_iter()
            .filter(|leaf| !understood(leaf))
            .filter(|leaf| !explanation.fields.iter().any(|field| field.fills(leaf)))
            .collect();
        explanation.result = Some(self.decode(document, channels));
        explanation
    }
}

impl FieldExplanation {
    fn fills(&self, leaf: &str) -> bool {
        let filled = matches!(self.value, Ok(Some(_)));
        filled && (self.name == leaf || (leaf == "data" && self.name.starts_with("data.")))
    }
}

/// The members that hold something, in the order of the document.
fn flatten(value: &Value, name: &str, fields: &mut Vec<FieldExplanation>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            let dot = if name.is_empty() { "" } else { "." };
            for (member, value) in map {
                flatten(value, &format!("{name}{dot}{member}"), fields);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                flatten(value, &format!("{name}[{index}]"), fields);
            }
        }
        leaf => fields.push(FieldExplanation {
            name: name.to_owned(),
            source: String::new(),
            raw: None,
            value: Ok(Some(plain(leaf))),
        }),
    }
}

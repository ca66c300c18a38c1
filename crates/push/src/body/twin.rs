//! `application/vnd.pushrelay+xml; v=1`: the JSON body's twin, for senders that would rather write XML.
//!
//! The members are those of the JSON body (`json.rs`), under the same names and rules. The root is `push`; a member is an element
//! or, where it holds a text or a number, an attribute of its parent. The elements of `targets` are called `target`, those of
//! `loc_args` `arg`. White space around a value does not count, and an empty element is an absent member. Elements in `data`
//! become members of the payload: texts, or objects of such. Prefixes and namespaces are ignored, so are unknown elements and
//! attributes. No DTD, no entities beyond the five.

use serde_json::{Map, Value};

use super::BodyError;
use super::document::Document;
use super::model::{self, Nulls};
use super::place::malformed;
use super::shape::{Item, ROOT, Shape};
use super::xml::Element;
use crate::channel::ChannelPolicy;
use crate::notification::Notification;

pub(super) const MEDIA_TYPE: &str = "application/vnd.pushrelay+xml";
/// What its errors begin with.
pub(super) const NAME: &str = "pushrelay+xml";

/// The root element.
const ROOT_NAME: &str = "push";

/// Reads `application/vnd.pushrelay+xml; v=1`.
pub(super) fn decode(
    document: &Document<'_>,
    channels: &ChannelPolicy,
) -> Result<Notification, BodyError> {
    document.version()?;
    let tree = tree(document.xml()?)?;
    model::notification_of(&tree, channels, Nulls::Refused)
}

/// The document in the shape of its JSON twin.
pub(super) fn tree(root: &Element) -> Result<Value, BodyError> {
    if &*root.name != ROOT_NAME {
        return Err(malformed("expected the root element push, got another"));
    }
    value(root, &ROOT)
}

fn value(element: &Element, shape: &Shape) -> Result<Value, BodyError> {
    match shape {
        Shape::Text if element.children.is_empty() => Ok(text(&element.text)),
        Shape::Integer if element.children.is_empty() => Ok(integer(&element.text)),
        // The model says what it expected instead of an object.
        Shape::Text | Shape::Integer => Ok(Value::Object(Map::new())),
        Shape::Object(items) => object(element, items),
        Shape::List { item, shape } => {
            let elements = element
                .children
                .iter()
                .filter(|child| *child.name == **item);
            elements
                .map(|element| value(element, shape))
                .collect::<Result<_, _>>()
                .map(Value::Array)
        }
        Shape::Any => Ok(any(element, 0)),
    }
}

fn object(element: &Element, items: &[Item]) -> Result<Value, BodyError> {
    if element.children.is_empty() && element.attributes.is_empty() {
        return Ok(text(&element.text));
    }
    let mut map = Map::new();
    for Item { name, shape } in items {
        let mut children = element
            .children
            .iter()
            .filter(|child| *child.name == **name);
        let attribute = element
            .attributes
            .iter()
            .find(|(found, _)| **found == **name);
        let value = match (children.next(), attribute, shape) {
            (Some(child), None, _) => value(child, shape)?,
            (None, Some((_, found)), Shape::Integer) => integer(found),
            (None, Some((_, found)), _) => text(found),
            (None, None, _) => continue,
            (Some(_), Some(_), _) => return Err(twice(name)),
        };
        if children.next().is_some() {
            return Err(twice(name));
        }
        map.insert((*name).to_owned(), value);
    }
    Ok(Value::Object(map))
}

fn twice(name: &str) -> BodyError {
    malformed(format_args!(
        "{name}: expected it once in its parent, got it twice"
    ))
}

fn text(text: &str) -> Value {
    if text.is_empty() {
        Value::Null
    } else {
        text.into()
    }
}

/// A number where it is one; else the text, of which the model says what it expected.
fn integer(found: &str) -> Value {
    found
        .parse::<i64>()
        .map_or_else(|_| text(found), Value::from)
}

/// What an app is given as it is.
fn any(element: &Element, level: usize) -> Value {
    if element.children.is_empty() && element.attributes.is_empty() {
        // `data` itself is an object, or nothing.
        return if level == 0 {
            text(&element.text)
        } else {
            Value::String(element.text.clone())
        };
    }
    let attributes = element
        .attributes
        .iter()
        .map(|(name, value)| (name.to_string(), Value::String(value.clone())));
    let children = element
        .children
        .iter()
        .map(|child| (child.name.to_string(), any(child, level + 1)));
    Value::Object(attributes.chain(children).collect())
}

#[cfg(test)]
#[path = "twin_tests.rs"]
mod tests;

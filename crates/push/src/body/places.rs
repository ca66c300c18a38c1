//! Every value of a foreign document with the place where a mapping finds it.

use std::cell::Cell;

use serde_json::Value;

use super::damage::Damage;
use super::document::Document;
use super::rule::{JsonPointer, Source, XmlPath};
use super::xml::Element;
use super::{NoHeaders, rule};

/// The values of a JSON or XML document in their order, each with its place; `None` for what is neither.
///
/// Empty values are left out. A text that a URL filter has put in front does not count.
pub fn values(text: &str) -> Option<Vec<(Source, String)>> {
    let damage = Cell::new(Damage::default());
    let document = Document::new(None, text.as_bytes(), &NoHeaders, &damage);
    let mut values = Vec::new();
    if let Ok(root) = document.xml() {
        of_element(root, &root.name, &mut values);
    } else {
        let root = document.json().ok()?;
        if !root.is_object() && !root.is_array() {
            return None;
        }
        of_value(root, "", &mut values);
    }
    Some(values)
}

fn of_value(value: &Value, pointer: &str, values: &mut Vec<(Source, String)>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (name, value) in map {
                let name = name.replace('~', "~0").replace('/', "~1");
                of_value(value, &format!("{pointer}/{name}"), values);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                of_value(value, &format!("{pointer}/{index}"), values);
            }
        }
        leaf => {
            if let Some(pointer) = JsonPointer::parse(pointer) {
                values.push((Source::Json(pointer), rule::plain(leaf)));
            }
        }
    }
}

fn of_element(element: &Element, path: &str, values: &mut Vec<(Source, String)>) {
    let mut push = |path: &str, value: &str| {
        if let (false, Some(path)) = (value.is_empty(), XmlPath::parse(path)) {
            values.push((Source::Xml(path), value.to_owned()));
        }
    };
    push(path, &element.text);
    for (name, value) in &element.attributes {
        push(&format!("{path}/@{name}"), value);
    }
    for (index, child) in element.children.iter().enumerate() {
        let same = |other: &&Element| other.name == child.name;
        let number = element.children[..=index].iter().filter(same).count();
        let path = if number == 1 {
            format!("{path}/{}", child.name)
        } else {
            format!("{path}/{}[{number}]", child.name)
        };
        of_element(child, &path, values);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let values = values(text).unwrap();
        values
            .iter()
            .map(|(source, value)| format!("{source} = {value}"))
            .collect()
    }

    #[test]
    fn every_value_has_the_place_where_a_mapping_finds_it() {
        assert_eq!(
            shown(r#"warning! {"a":{"b/c":[1,"x"]},"d":null,"e":true}"#),
            ["json /a/b~1c/0 = 1", "json /a/b~1c/1 = x", "json /e = true"]
        );
        assert_eq!(
            shown("<p:a xmlns:p='u' b='1'><c/><c>2</c><d><e f='3'>4</e></d></p:a>"),
            [
                "xml a/@b = 1",
                "xml a/c[2] = 2",
                "xml a/d/e = 4",
                "xml a/d/e/@f = 3"
            ]
        );
        assert_eq!(values("hello"), None);
        assert_eq!(values("1"), None);
    }
}

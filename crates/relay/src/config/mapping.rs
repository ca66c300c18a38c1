//! A mapping as it is written: a TOML file that says which bodies it reads and where their fields stand.
//!
//! Every key is in `config/README.md`. What a mapping means is `pushrelay_push::body`'s.

use std::fmt;
use std::ops::Range;

use pushrelay_push::body::{
    Field, FieldName, JsonPointer, Mapping, Match, Pattern, Rule, Source, Transform, XmlPath,
};
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a mapping, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MappingProblem {
    /// From 1.
    line: usize,
    /// `fields.alert.title`; empty where the whole file is meant.
    field: String,
    text: String,
}

impl fmt::Display for MappingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.text)
    }
}

/// Reads a mapping's text; `None` where it says that it is not to be used.
pub(crate) fn read(name: &str, text: &str) -> Result<Option<Mapping>, Vec<MappingProblem>> {
    let mut reader = Reader {
        text,
        problems: Vec::new(),
    };
    let mapping = reader.mapping(name);
    match mapping {
        Some((enabled, mapping)) if reader.problems.is_empty() => Ok(enabled.then_some(mapping)),
        _ => Err(reader.problems),
    }
}

struct Reader<'t> {
    text: &'t str,
    problems: Vec<MappingProblem>,
}

type Table<'t> = DeTable<'t>;
type Node<'t> = Spanned<DeValue<'t>>;

/// Where a rule's value comes from: exactly one of them.
const SOURCES: [&str; 5] = ["json", "xml", "group", "header", "constant"];
/// What else a rule has.
const REST: [&str; 3] = ["transform", "lookup", "default"];

impl<'t> Reader<'t> {
    fn mapping(&mut self, name: &str) -> Option<(bool, Mapping)> {
        let root = match DeTable::parse(self.text) {
            Ok(root) => root.into_inner(),
            Err(error) => {
                self.problem(error.span().unwrap_or_default(), "", error.message());
                return None;
            }
        };
        self.known(&root, "", &["enabled", "match", "fields"]);
        let enabled = match root.get("enabled") {
            None => true,
            Some(node) => match node.get_ref() {
                DeValue::Boolean(enabled) => *enabled,
                _ => self.wrong(node, "enabled", "true or false").unwrap_or(true),
            },
        };
        let (matching, groups) = match root.get("match") {
            None => Default::default(),
            Some(node) => self.matching(node),
        };
        let mut fields = Vec::new();
        let mut span = 0..0;
        match root.get("fields").map(|node| (node.get_ref(), node)) {
            Some((DeValue::Table(table), node)) => {
                span = node.span();
                self.table(table, "", &mut fields);
            }
            Some((_, node)) => {
                self.wrong::<()>(node, "fields", "a table");
            }
            None => self.problem(0..0, "", "expected a table fields, got none"),
        }
        if !self.problems.is_empty() {
            return None;
        }
        match Mapping::new(name, matching, groups, fields) {
            Ok(mapping) => Some((enabled, mapping)),
            Err(error) => {
                self.problem(span, "fields", error);
                None
            }
        }
    }

    fn matching(&mut self, node: &Node<'t>) -> (Match, Vec<Pattern>) {
        let Some(table) = node.get_ref().as_table() else {
            self.wrong::<()>(node, "match", "a table");
            return Default::default();
        };
        self.known(
            table,
            "match",
            &["content_type", "user_agent", "body", "groups"],
        );
        let mut matching = Match::default();
        if let Some(node) = table.get("content_type") {
            for (text, span) in self.texts(node, "match.content_type") {
                if text.split('/').filter(|part| !part.is_empty()).count() != 2
                    || text.contains([';', ' ', '*'])
                {
                    self.problem(
                        span,
                        "match.content_type",
                        format_args!("got {text:?}, expected a media type without parameters such as \"text/xml\""),
                    );
                }
                matching.content_types.push(text);
            }
        }
        matching.user_agent = self.patterns(table, "user_agent").pop();
        matching.body = self.patterns(table, "body").pop();
        let groups = self.patterns(table, "groups");
        (matching, groups)
    }

    /// One regular expression, or for `groups` a list of them.
    fn patterns(&mut self, table: &Table<'t>, key: &str) -> Vec<Pattern> {
        let Some(node) = table.get(key) else {
            return Vec::new();
        };
        let name = format!("match.{key}");
        if key != "groups" && !node.get_ref().is_str() {
            self.wrong::<()>(node, &name, "a text");
            return Vec::new();
        }
        let mut patterns = Vec::new();
        for (text, span) in self.texts(node, &name) {
            match Pattern::new(&text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => self.problem(
                    span,
                    &name,
                    format_args!("expected a regular expression: {error}"),
                ),
            }
        }
        patterns
    }

    /// A text, or a list of texts.
    fn texts(&mut self, node: &Node<'t>, name: &str) -> Vec<(String, Range<usize>)> {
        match node.get_ref() {
            DeValue::String(text) => vec![(text.to_string(), node.span())],
            DeValue::Array(list) => {
                let mut texts = Vec::new();
                for element in list.iter() {
                    match element.get_ref() {
                        DeValue::String(text) => texts.push((text.to_string(), element.span())),
                        _ => {
                            self.wrong::<()>(element, name, "a text");
                        }
                    }
                }
                texts
            }
            _ => self
                .wrong(node, name, "a text or a list of texts")
                .unwrap_or_default(),
        }
    }

    /// The fields of one table; `prefix` is where it stands in the model.
    fn table(&mut self, table: &Table<'t>, prefix: &str, fields: &mut Vec<Field>) {
        for (key, node) in table {
            let dot = if prefix.is_empty() { "" } else { "." };
            self.field(node, &format!("{prefix}{dot}{}", key.get_ref()), fields);
        }
    }

    fn field(&mut self, node: &Node<'t>, name: &str, fields: &mut Vec<Field>) {
        let rule = match node.get_ref() {
            DeValue::Table(table) if !table.keys().any(|key| is_source(key.get_ref())) => {
                return self.table(table, name, fields);
            }
            DeValue::Array(list) => {
                for (index, element) in list.iter().enumerate() {
                    self.field(element, &format!("{name}[{index}]"), fields);
                }
                return;
            }
            DeValue::Table(table) => self.rule(node, table, name),
            _ => self
                .scalar(node, name)
                .map(|value| Rule::new(Source::Constant(value))),
        };
        let Some(field) = FieldName::parse(name) else {
            return self.problem(
                node.span(),
                &format!("fields.{name}"),
                "expected a field of a notification such as event, badge, alert.title or targets[0].token, got another",
            );
        };
        if let Some(rule) = rule {
            fields.push(Field { name: field, rule });
        }
    }

    fn rule(&mut self, node: &Node<'t>, table: &Table<'t>, name: &str) -> Option<Rule> {
        let path = format!("fields.{name}");
        let known: Vec<&str> = SOURCES.into_iter().chain(REST).collect();
        self.known(table, &path, &known);
        let mut sources = SOURCES
            .iter()
            .filter_map(|source| Some((*source, table.get(*source)?)));
        let (kind, value) = sources.next()?;
        if sources.next().is_some() {
            self.problem(
                node.span(),
                &path,
                "expected one of json, xml, group, header and constant, got several",
            );
            return None;
        }
        let source = self.source(kind, value, &format!("{path}.{kind}"))?;
        let mut rule = Rule::new(source);
        if let Some(node) = table.get("transform") {
            for (text, span) in self.texts(node, &format!("{path}.transform")) {
                match Transform::NAMES.iter().find(|(name, _)| *name == text) {
                    Some((_, transform)) => rule.transforms.push(*transform),
                    None => {
                        let names = Transform::NAMES.map(|(name, _)| name).join(", ");
                        self.problem(
                            span,
                            &format!("{path}.transform"),
                            format_args!("got {text:?}, expected one of {names}"),
                        );
                    }
                }
            }
        }
        if let Some(node) = table.get("lookup") {
            rule.lookup = self.lookup(node, &format!("{path}.lookup"));
        }
        if let Some(node) = table.get("default") {
            rule.default = self.scalar(node, &format!("{name}.default"));
        }
        Some(rule)
    }

    fn source(&mut self, kind: &str, node: &Node<'t>, path: &str) -> Option<Source> {
        if kind == "constant" {
            let name = path.strip_prefix("fields.").unwrap_or(path);
            return self.scalar(node, name).map(Source::Constant);
        }
        let DeValue::String(text) = node.get_ref() else {
            return self.wrong(node, path, "a text");
        };
        let (source, expected) = match kind {
            "json" => (
                JsonPointer::parse(text).map(Source::Json),
                "a JSON pointer such as \"/device/token\"",
            ),
            "xml" => (
                XmlPath::parse(text).map(Source::Xml),
                "a path such as \"push/device[1]/@token\"",
            ),
            "group" => (
                Some(Source::Group(text.as_ref().into())),
                "the name of a group",
            ),
            _ => (
                is_header_name(text).then(|| Source::Header(text.as_ref().into())),
                "the name of a header",
            ),
        };
        if source.is_none() {
            self.problem(
                node.span(),
                path,
                format_args!("got {text:?}, expected {expected}"),
            );
        }
        source
    }

    fn lookup(&mut self, node: &Node<'t>, path: &str) -> Vec<(Box<str>, Box<str>)> {
        let Some(table) = node.get_ref().as_table() else {
            return self
                .wrong(node, path, "a table of texts")
                .unwrap_or_default();
        };
        let mut entries = Vec::new();
        for (key, value) in table {
            match value.get_ref() {
                DeValue::String(text) => {
                    entries.push((key.get_ref().as_ref().into(), text.as_ref().into()));
                }
                _ => {
                    self.wrong::<()>(value, &format!("{path}.{}", key.get_ref()), "a text");
                }
            }
        }
        entries
    }

    fn scalar(&mut self, node: &Node<'t>, name: &str) -> Option<Value> {
        match node.get_ref() {
            DeValue::String(text) => Some(Value::from(text.as_ref())),
            DeValue::Boolean(value) => Some(Value::from(*value)),
            DeValue::Integer(number) => {
                let value = i64::from_str_radix(number.as_str(), number.radix()).ok();
                if value.is_none() {
                    self.problem(
                        node.span(),
                        &format!("fields.{name}"),
                        "expected an integer of 64 bits, got a larger one",
                    );
                }
                value.map(Value::from)
            }
            _ => self.wrong(
                node,
                &format!("fields.{name}"),
                "a text, an integer, or a table with one of json, xml, group, header and constant",
            ),
        }
    }

    fn known(&mut self, table: &Table<'t>, place: &str, names: &[&str]) {
        for key in table.keys() {
            if !names.contains(&key.get_ref().as_ref()) {
                let names = names.join(", ");
                self.problem(
                    key.span(),
                    place,
                    format_args!("got the key {:?}, expected one of {names}", key.get_ref()),
                );
            }
        }
    }

    fn wrong<T>(&mut self, node: &Node<'t>, field: &str, expected: &str) -> Option<T> {
        let got = node.get_ref().type_str();
        self.problem(
            node.span(),
            field,
            format_args!("expected {expected}, got {got}"),
        );
        None
    }

    fn problem(&mut self, span: Range<usize>, field: &str, text: impl fmt::Display) {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        self.problems.push(MappingProblem {
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            field: field.to_owned(),
            text: text.to_string(),
        });
    }
}

fn is_source(key: &str) -> bool {
    SOURCES.contains(&key)
}

fn is_header_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    !text.is_empty() && text.bytes().all(good)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let problems = read("test", text).err().unwrap_or_default();
        problems.iter().map(ToString::to_string).collect()
    }

    const GOOD: &str = r#"
enabled = true

[match]
content_type = ["text/xml", "application/xml"]
user_agent = 'McxService/'
body = '<push'
groups = ['b=(?<badge>[0-9]+)']

[fields]
event = { xml = "push/@kind", lookup = { IM = "im.message" }, default = "x-other" }
ttl = 3600
badge = { group = "badge" }
alert.title = { json = "/who", transform = "trim" }
alert.loc_args = [{ json = "/a" }, "b"]
from.name = { header = "P-Asserted-Identity" }
data.a.b = { json = "/n", transform = ["trim", "integer"] }

[[fields.targets]]
token = { xml = "push/token", transform = ["base64-to-hex"] }
app = "com.example.chat"
"#;

    #[test]
    fn a_good_mapping_is_read_whole() {
        let mapping = read("test", GOOD).unwrap().unwrap();
        assert_eq!(mapping.content_types(), ["text/xml", "application/xml"]);
        let off = GOOD.replace("enabled = true", "enabled = false");
        assert!(read("test", &off).unwrap().is_none());
    }

    #[test]
    fn every_mistake_names_line_and_field() {
        for (from, to, expected) in [
            (
                "enabled = true",
                "enabled = 1",
                "line 2: enabled: expected true or false, got integer",
            ),
            (
                "enabled = true",
                "enable = true",
                "line 2: got the key \"enable\", expected one of enabled, match, fields",
            ),
            (
                "'<push'",
                "'(<push'",
                "line 7: match.body: expected a regular expression: error: unclosed group",
            ),
            (
                "\"text/xml\"",
                "\"xml\"",
                "line 5: match.content_type: got \"xml\", expected a media type without parameters such as \"text/xml\"",
            ),
            (
                "ttl = 3600",
                "ttl = 3.5",
                "line 12: fields.ttl: expected a text, an integer, or a table with one of json, xml, group, header and constant, got float",
            ),
            (
                "ttl = 3600",
                "tll = 3600",
                "line 12: fields.tll: expected a field of a notification such as event, badge, alert.title or targets[0].token, got another",
            ),
            (
                "\"/who\"",
                "\"who\"",
                "line 14: fields.alert.title.json: got \"who\", expected a JSON pointer such as \"/device/token\"",
            ),
            (
                "\"push/@kind\"",
                "\"push/@kind/x\"",
                "line 11: fields.event.xml: got \"push/@kind/x\", expected a path such as \"push/device[1]/@token\"",
            ),
            (
                "\"trim\" }",
                "\"trin\" }",
                "line 14: fields.alert.title.transform: got \"trin\", expected one of trim, base64-to-hex, hex, integer",
            ),
            (
                "\"P-Asserted-Identity\"",
                "\"a b\"",
                "line 16: fields.from.name.header: got \"a b\", expected the name of a header",
            ),
            (
                "{ group = \"badge\" }",
                "{ group = \"bagde\" }",
                "line 10: fields: badge: expected a named group of match.body or match.groups, got \"bagde\"",
            ),
            (
                "{ group = \"badge\" }",
                "{ group = \"badge\", json = \"/b\" }",
                "line 13: fields.badge: expected one of json, xml, group, header and constant, got several",
            ),
            (
                "{ group = \"badge\" }",
                "{ group = \"badge\", trim = true }",
                "line 13: fields.badge: got the key \"trim\", expected one of json, xml, group, header, constant, transform, lookup, default",
            ),
            (
                "IM = \"im.message\"",
                "IM = 1",
                "line 11: fields.event.lookup.IM: expected a text, got integer",
            ),
            (
                "event =",
                "thread =",
                "line 10: fields: expected a rule for event, got none",
            ),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            assert_eq!(problems(&text), [expected]);
        }
        let broken = problems("enabled = \n[match]");
        assert!(broken[0].starts_with("line 1: "), "{broken:?}");
        assert_eq!(problems(""), ["line 1: expected a table fields, got none"]);
    }

    /// The shipped hypotheses are switched off, say that they are hypotheses, and would work if they were switched on.
    #[test]
    fn every_shipped_sample_is_a_mapping_and_is_switched_off() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/mappings");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert_eq!(path.extension().unwrap(), "toml", "{name}");
            assert!(read(name, &text).unwrap().is_none(), "{name}");
            let on = text.replacen("enabled = false", "enabled = true", 1);
            assert!(read(name, &on).unwrap().is_some(), "{name}");
            assert!(text.starts_with("# HYPOTHESIS"), "{name}");
            seen += 1;
        }
        assert!(seen >= 4, "{seen}");
    }
}

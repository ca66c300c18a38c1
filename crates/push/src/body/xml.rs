//! XML as a tree: elements with their attributes and texts, by local name.
//!
//! Not here: DTDs, entities beyond the five, namespaces (a prefix says nothing). A document that needs them is refused.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

use super::BodyError;
use super::place::malformed;

/// One element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Its name without prefix.
    pub(super) name: Box<str>,
    /// Its attributes in order, namespace declarations left out.
    pub(super) attributes: Vec<(Box<str>, String)>,
    /// The elements in it.
    pub(super) children: Vec<Element>,
    /// The text directly in it, white space at the ends left out.
    pub(super) text: String,
}

/// The deepest nesting that is read. Ours needs 4, and 32 more in `data`.
const LEVELS: usize = 64;
/// The most elements; 16 KiB hold four thousand empty ones, and no push is so long.
const ELEMENTS: usize = 1024;
/// The most attributes of one element.
const ATTRIBUTES: usize = 64;

/// Reads a whole document.
pub(super) fn read(text: &str) -> Result<Element, BodyError> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut elements = 0;
    loop {
        let at = reader.buffer_position();
        let wrong = |what: &str| malformed(format_args!("byte {at}: expected {what}"));
        let event = reader.read_event().map_err(|_| {
            malformed(format_args!(
                "byte {}: expected well-formed XML",
                reader.error_position()
            ))
        })?;
        match event {
            Event::Start(start) => {
                elements += 1;
                if root.is_some() {
                    return Err(wrong("one root element, got a second"));
                }
                if open.len() >= LEVELS {
                    return Err(wrong(&format!("at most {LEVELS} levels, got more")));
                }
                if elements > ELEMENTS {
                    return Err(wrong(&format!("at most {ELEMENTS} elements, got more")));
                }
                open.push(element(&start).ok_or_else(|| {
                    wrong(
                        "a tag with well-formed attributes, each once and at most 64, got another",
                    )
                })?);
            }
            // The reader has seen to it that names match.
            Event::End(_) => {
                let Some(mut done) = open.pop() else {
                    return Err(wrong("an open element before its end, got none"));
                };
                let trimmed = done.text.trim();
                if trimmed.len() < done.text.len() {
                    done.text = trimmed.to_owned();
                }
                match open.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None => root = Some(done),
                }
            }
            Event::Text(text) => {
                let text = text
                    .xml10_content()
                    .map_err(|_| wrong("text, got something else"))?;
                take(&mut open, &text)
                    .ok_or_else(|| wrong("text only inside the root element, got it outside"))?;
            }
            Event::CData(text) => {
                let text = text
                    .xml10_content()
                    .map_err(|_| wrong("text, got something else"))?;
                take(&mut open, &text)
                    .ok_or_else(|| wrong("text only inside the root element, got it outside"))?;
            }
            Event::GeneralRef(reference) => {
                let mut buffer = [0; 4];
                let name = reference.decode().unwrap_or_default();
                let text = match reference.resolve_char_ref() {
                    Ok(Some(character)) => Some(&*character.encode_utf8(&mut buffer)),
                    Ok(None) => quick_xml::escape::resolve_xml_entity(&name),
                    Err(_) => None,
                };
                let text = text.ok_or_else(|| {
                    wrong("one of the five entities of XML or a character reference, got another")
                })?;
                take(&mut open, text)
                    .ok_or_else(|| wrong("text only inside the root element, got it outside"))?;
            }
            Event::DocType(_) => return Err(wrong("no DOCTYPE, got one")),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::Empty(_) => {}
            Event::Eof => break,
        }
    }
    match root {
        Some(root) if open.is_empty() => Ok(root),
        _ => Err(malformed(
            "expected every element closed, got the end of the body",
        )),
    }
}

/// `None` where text stands outside the root and is not white space.
fn take(open: &mut [Element], text: &str) -> Option<()> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return None,
    }
    Some(())
}

fn element(start: &BytesStart<'_>) -> Option<Element> {
    let mut element = Element {
        name: local(start.local_name().as_ref())?,
        ..Element::default()
    };
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        let key = attribute.key.as_ref();
        if key == b"xmlns" || key.starts_with(b"xmlns:") {
            continue;
        }
        if element.attributes.len() >= ATTRIBUTES {
            return None;
        }
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
        let name = local(attribute.key.local_name().as_ref())?;
        element.attributes.push((name, value.trim().to_owned()));
    }
    Some(element)
}

fn local(name: &[u8]) -> Option<Box<str>> {
    std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty())
        .map(Into::into)
}

/// Where a value stands: `push/targets/target[2]/token`, `push/@version`, `*/from`.
///
/// Names are local names, the first is the root's; `*` is any name, `[2]` the second of its name, `@name` at the end an
/// attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    steps: Vec<Step>,
    attribute: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// `None` for `*`.
    name: Option<Box<str>>,
    /// From 0.
    index: usize,
}

impl Path {
    pub(super) fn parse(text: &str) -> Option<Path> {
        let text = text.strip_prefix('/').unwrap_or(text);
        let mut path = Path {
            steps: Vec::new(),
            attribute: None,
        };
        for part in text.split('/') {
            if path.attribute.is_some() {
                return None;
            }
            match part.strip_prefix('@') {
                Some(name) => path.attribute = Some(name_of(name)?.into()),
                None => path.steps.push(Step::parse(part)?),
            }
        }
        (!path.steps.is_empty()).then_some(path)
    }

    /// The element's text, or the attribute's value; `None` where nothing stands there.
    pub(super) fn value<'a>(&self, root: &'a Element) -> Option<&'a str> {
        let (first, rest) = self.steps.split_first()?;
        if !first.is(root) || first.index > 0 {
            return None;
        }
        let element = rest.iter().try_fold(root, |element, step| {
            let mut matching = element.children.iter().filter(|child| step.is(child));
            matching.nth(step.index)
        })?;
        match &self.attribute {
            Some(name) => element
                .attributes
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value.as_str()),
            None => Some(&element.text),
        }
    }
}

impl Step {
    fn parse(text: &str) -> Option<Step> {
        let (name, index) = match text.strip_suffix(']') {
            Some(inner) => {
                let (name, number) = inner.split_once('[')?;
                (name, number.parse::<usize>().ok()?.checked_sub(1)?)
            }
            None => (text, 0),
        };
        Some(Step {
            name: match name {
                "*" => None,
                name => Some(name_of(name)?.into()),
            },
            index,
        })
    }

    fn is(&self, element: &Element) -> bool {
        self.name.as_ref().is_none_or(|name| *name == element.name)
    }
}

fn name_of(text: &str) -> Option<&str> {
    let bad = |c: char| c.is_whitespace() || "[]@*/:<>&\"'=".contains(c);
    (!text.is_empty() && !text.contains(bad)).then_some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_whole() {
        let root = read(concat!(
            "<?xml version='1.0' encoding='utf-16'?><!-- c -->\n",
            "<p:push xmlns:p='urn:x' xmlns='urn:y' p:v=' 1 ' w='&lt;&#65;'>\n  <a> x &amp; <![CDATA[<y>]]> &#x1F600; </a><a/>\n",
            "  <b><c>1</c></b>\n</p:push>\n<!-- end -->\n"
        ))
        .unwrap();
        assert_eq!(&*root.name, "push");
        assert_eq!(
            root.attributes,
            [("v".into(), "1".into()), ("w".into(), "<A".into())]
        );
        assert_eq!(root.children[0].text, "x & <y> \u{1f600}");
        assert_eq!(root.children[1].text, "");
        for (path, value) in [
            ("push/a", Some("x & <y> \u{1f600}")),
            ("/push/a[1]", Some("x & <y> \u{1f600}")),
            ("push/a[2]", Some("")),
            ("push/a[3]", None),
            ("*/b/*", Some("1")),
            ("push/@w", Some("<A")),
            ("push/@x", None),
            ("pull/@w", None),
            ("push[2]/@w", None),
        ] {
            assert_eq!(Path::parse(path).unwrap().value(&root), value, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_none() {
        for text in [
            "", "/", "a//b", "@a", "a/@b/c", "a[0]", "a[x]", "a[1", "a b", "p:a", "a/@",
        ] {
            assert_eq!(Path::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_read_says_where_and_why() {
        let deep = |levels| format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
        let cases = [
            (
                "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".to_owned(),
                "byte 0: expected no DOCTYPE, got one",
            ),
            (
                "<a>&b;</a>".to_owned(),
                "byte 3: expected one of the five entities of XML or a character reference, got another",
            ),
            (
                "<a>&#0;</a>".to_owned(),
                "byte 3: expected one of the five entities of XML or a character reference, got another",
            ),
            (
                "<a></a><b/>".to_owned(),
                "byte 7: expected one root element, got a second",
            ),
            (
                "<a/>text".to_owned(),
                "byte 4: expected text only inside the root element, got it outside",
            ),
            (
                "<a b='1' b='2'/>".to_owned(),
                "byte 0: expected a tag with well-formed attributes, each once and at most 64, got another",
            ),
            (deep(65), "byte 192: expected at most 64 levels, got more"),
            (
                format!("<a>{}</a>", "<b/>".repeat(1024)),
                "byte 4095: expected at most 1024 elements, got more",
            ),
            (
                "".to_owned(),
                "expected every element closed, got the end of the body",
            ),
            (
                "<a>".to_owned(),
                "expected every element closed, got the end of the body",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(&text).unwrap_err().to_string(), expected, "{text}");
        }
        assert!(read(&deep(64)).is_ok());
        for text in [
            "<a></b>",
            "<a",
            "<a><![CDATA[",
            "</a>",
            "<a>&</a>",
            "<a>&#xD800;</a>",
            "<>",
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with("byte "), "{text}: {error}");
        }
    }
}

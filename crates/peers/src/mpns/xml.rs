//! A small tree of an XML document, by a real parser: whatever is not well-formed is an error.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// The name with its prefix, such as `wp:Toast`.
    pub name: String,
    /// Attributes in their order, unescaped.
    pub attributes: Vec<(String, String)>,
    /// The elements inside.
    pub children: Vec<Element>,
    /// The text inside, unescaped, without that of the children.
    pub text: String,
}

impl Element {
    /// Reads a document; the error says what is wrong with it.
    pub fn parse(document: &[u8]) -> Result<Element, String> {
        let text = std::str::from_utf8(document).map_err(|_| "not UTF-8".to_owned())?;
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_end_names = true;
        let mut open: Vec<Element> = Vec::new();
        let mut root = None;
        loop {
            match reader.read_event().map_err(|e| e.to_string())? {
                Event::Start(start) => {
                    if root.is_some() {
                        return Err("a second root element".to_owned());
                    }
                    open.push(Element::start(&start)?);
                }
                Event::Empty(start) => {
                    let element = Element::start(&start)?;
                    close(element, &mut open, &mut root)?;
                }
                Event::End(_) => {
                    let element = open.pop().ok_or("an end without a start")?;
                    close(element, &mut open, &mut root)?;
                }
                Event::Text(text) => {
                    let text = text.decode().map_err(|e| e.to_string())?;
                    add_text(&mut open, &text)?;
                }
                Event::CData(data) => {
                    let text = data.decode().map_err(|e| e.to_string())?;
                    add_text(&mut open, &text)?;
                }
                Event::GeneralRef(reference) => {
                    let resolved = match reference.resolve_char_ref().map_err(|e| e.to_string())? {
                        Some(character) => character,
                        None => predefined(&reference)?,
                    };
                    add_text(&mut open, resolved.encode_utf8(&mut [0; 4]))?;
                }
                Event::DocType(_) => return Err("a document type".to_owned()),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
                Event::Eof if !open.is_empty() => {
                    return Err("it ends inside an element".to_owned());
                }
                Event::Eof => return root.ok_or_else(|| "no element".to_owned()),
            }
        }
    }

    /// The first element of this name, at any depth.
    pub fn find(&self, name: &str) -> Option<&Element> {
        if self.name == name {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(name))
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let (_, value) = self.attributes.iter().find(|(n, _)| n == name)?;
        Some(value)
    }

    fn start(start: &BytesStart<'_>) -> Result<Element, String> {
        let name = String::from_utf8_lossy(start.name().as_ref()).into_owned();
        let mut element = Element {
            name,
            ..Element::default()
        };
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| e.to_string())?;
            let name = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
            let raw = String::from_utf8_lossy(&attribute.value).into_owned();
            if raw.contains('<') {
                return Err(format!("a bare < in attribute {name}"));
            }
            let value = quick_xml::escape::unescape(&raw).map_err(|e| e.to_string())?;
            element.attributes.push((name, value.into_owned()));
        }
        Ok(element)
    }
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), String> {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None if root.is_some() => return Err("a second root element".to_owned()),
        None => *root = Some(element),
    }
    Ok(())
}

fn add_text(open: &mut [Element], text: &str) -> Result<(), String> {
    let legal = |c: char| {
        matches!(c, '\t' | '\n' | '\r') || (' '..'\u{fffe}').contains(&c) || c >= '\u{10000}'
    };
    if !text.chars().all(legal) {
        return Err("a character that XML 1.0 does not have".to_owned());
    }
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err("text outside the root element".to_owned()),
    }
    Ok(())
}

fn predefined(name: &[u8]) -> Result<char, String> {
    match name {
        b"amp" => Ok('&'),
        b"lt" => Ok('<'),
        b"gt" => Ok('>'),
        b"quot" => Ok('"'),
        b"apos" => Ok('\''),
        _ => Err("an entity that is not predefined".to_owned()),
    }
}

//! The XML of toasts and tiles (Microsoft, "Sending push notifications for Windows Phone 7.1").
//!
//! Not here: which texts go in. Everything that comes from outside is escaped, and characters that XML 1.0 cannot hold are left
//! out: a name such as `<wp:Param>` must stay a name.

use std::borrow::Cow;

use quick_xml::escape::escape;

/// A document that grows element by element; devices care for their order.
pub(crate) struct Document {
    text: String,
    close: &'static str,
}

impl Document {
    /// `<wp:Toast>`
    pub(crate) fn toast() -> Document {
        let mut text = String::with_capacity(512);
        text.push_str(HEAD);
        text.push_str("<wp:Toast>");
        Document {
            text,
            close: "</wp:Toast></wp:Notification>",
        }
    }

    /// `<wp:Tile>`, with an `Id` the secondary tile of that navigation URI, with a `template` one of Windows Phone 8.
    pub(crate) fn tile(id: Option<&str>, template: Option<&str>) -> Document {
        let mut text = String::with_capacity(512);
        text.push_str(match template {
            Some(_) => HEAD_8,
            None => HEAD,
        });
        text.push_str("<wp:Tile");
        for (name, value) in [(" Id=\"", id), (" Template=\"", template)] {
            if let Some(value) = value {
                text.push_str(name);
                text.push_str(&safe(value));
                text.push('"');
            }
        }
        text.push('>');
        Document {
            text,
            close: "</wp:Tile></wp:Notification>",
        }
    }

    /// `<wp:NAME>text</wp:NAME>`
    pub(crate) fn element(&mut self, name: &str, content: &str) {
        self.open(name, "");
        self.text.push_str(&safe(content));
        self.end(name);
    }

    /// As [`element`](Document::element), but an empty text takes away what the phone shows.
    pub(crate) fn element_or_clear(&mut self, name: &str, content: &str) {
        if content.is_empty() {
            self.clear(name);
        } else {
            self.element(name, content);
        }
    }

    /// `<wp:NAME Action="Clear"></wp:NAME>`: takes away what the phone shows.
    pub(crate) fn clear(&mut self, name: &str) {
        self.open(name, " Action=\"Clear\"");
        self.end(name);
    }

    /// The finished document.
    pub(crate) fn finish(mut self) -> String {
        self.text.push_str(self.close);
        self.text
    }

    fn open(&mut self, name: &str, attribute: &str) {
        for part in ["<wp:", name, attribute, ">"] {
            self.text.push_str(part);
        }
    }

    fn end(&mut self, name: &str) {
        for part in ["</wp:", name, ">"] {
            self.text.push_str(part);
        }
    }
}

/// What a character costs inside the document.
pub(crate) fn cost(character: char) -> usize {
    match character {
        '&' => "&amp;".len(),
        '<' | '>' => "&lt;".len(),
        '"' | '\'' => "&quot;".len(),
        other if is_xml(other) => other.len_utf8(),
        _ => 0,
    }
}

/// Escaped, and without what XML cannot hold.
fn safe(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_xml) {
        escape(text)
    } else {
        let clean: String = text
            .chars()
            .filter(|character| is_xml(*character))
            .collect();
        Cow::Owned(escape(&clean).into_owned())
    }
}

/// XML 1.0, production 2 (`Char`).
fn is_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

const HEAD: &str =
    "<?xml version=\"1.0\" encoding=\"utf-8\"?><wp:Notification xmlns:wp=\"WPNotification\">";

/// The tiles of Windows Phone 8 are of the second version.
const HEAD_8: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><wp:Notification xmlns:wp=\"WPNotification\" Version=\"2.0\">";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_stays_text() {
        let mut document = Document::tile(Some("/a?b=\"c\"&d='e'"), None);
        document.element("Title", "</wp:Title><wp:Count>9</wp:Count>");
        let text = document.finish();
        assert!(
            text.contains("<wp:Tile Id=\"/a?b=&quot;c&quot;&amp;d=&apos;e&apos;\">"),
            "{text}"
        );
        assert!(
            text.contains(
                "<wp:Title>&lt;/wp:Title&gt;&lt;wp:Count&gt;9&lt;/wp:Count&gt;</wp:Title>"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_xml_cannot_hold_is_left_out() {
        let mut document = Document::toast();
        document.element("Text1", "a\0b\u{8}c\u{b}d\u{1f}e\u{fffe}f\u{ffff}g\th\n🙂");
        assert!(
            document
                .finish()
                .contains("<wp:Text1>abcdefg\th\n🙂</wp:Text1>")
        );
    }

    #[test]
    fn the_cost_of_a_character_is_what_it_takes() {
        for character in (0..=0x1_1000_u32).filter_map(char::from_u32) {
            let text = character.to_string();
            assert_eq!(safe(&text).len(), cost(character), "{character:?}");
        }
    }
}

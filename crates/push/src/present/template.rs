//! A text with places in it: the small language of presentation.
//!
//! | written | becomes |
//! | --- | --- |
//! | `{from.name}` | that field, or nothing where the notification has none |
//! | `{from.name\|Somebody}` | the same, or `Somebody` |
//! | `{alert.body:80}` | at most 80 characters as a reader counts them, with an ellipsis where more was cut |
//! | `{alert.body:80\|New message}` | both |
//! | `{{`, `}}` | a brace |
//!
//! Not here: which text goes where. No expression, no loop, no way to fail once it is parsed.

use std::borrow::Cow;
use std::fmt::Write;

use unicode_segmentation::UnicodeSegmentation;

use crate::notification::{Notification, Target};

/// A parsed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Place {
        field: Field,
        most: Option<usize>,
        default: Box<str>,
    },
}

/// What a place can name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    FromName,
    FromUri,
    FromUser,
    Title,
    Subtitle,
    Body,
    Badge,
    Thread,
    Collapse,
    Event,
    EventText,
    App,
    Data(Box<str>),
}

/// Names of all fields, for messages and the manual.
pub const FIELDS: [&str; 13] = [
    "from.name",
    "from.uri",
    "from.user",
    "alert.title",
    "alert.subtitle",
    "alert.body",
    "badge",
    "thread",
    "collapse",
    "event",
    "event.text",
    "app",
    "data.NAME",
];

/// Why a text is no template; positions are bytes from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{` without its `}`.
    #[error(
        "the {{ at position {0} is never closed; expected a place such as {{from.name}}, or {{{{ for a brace"
    )]
    Open(usize),
    /// A `}` without its `{`.
    #[error("the }} at position {0} closes nothing; expected }}}} for a brace")]
    Close(usize),
    /// A name that no field has.
    #[error("got the field {0:?}, expected one of {list}", list = FIELDS.join(", "))]
    Field(String),
    /// A length that is no number from 1 to 4096.
    #[error("got the length {0:?}, expected 1 to 4096 characters")]
    Length(String),
    /// More than 2048 bytes.
    #[error("got {0} bytes, expected at most 2048")]
    TooLong(usize),
}

/// The longest template.
const TEMPLATE_BYTES: usize = 2048;

/// What fills the places.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// What is told.
    pub notification: &'a Notification,
    /// To whom.
    pub target: &'a Target,
    /// No place shows what somebody wrote: `alert.*` and `data.*` are empty.
    pub hide_content: bool,
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        if text.len() > TEMPLATE_BYTES {
            return Err(TemplateError::TooLong(text.len()));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let position = text.len() - rest.len() + at;
            literal.push_str(&rest[..at]);
            let (brace, behind) = rest[at..].split_at(1);
            if let Some(behind) = behind.strip_prefix(brace) {
                literal.push_str(brace);
                rest = behind;
                continue;
            }
            if brace == "}" {
                return Err(TemplateError::Close(position));
            }
            let (place, behind) = behind
                .split_once('}')
                .ok_or(TemplateError::Open(position))?;
            if place.contains('{') {
                return Err(TemplateError::Open(position));
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            pieces.push(Piece::parse(place)?);
            rest = behind;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Ok(Template { pieces })
    }

    /// The text for this notification. A field beside other text is set apart from it where its direction of writing differs
    /// (Unicode Standard Annex 9, isolates), so that an Arabic name leaves an English sentence as it is.
    pub fn render<'a>(&'a self, fields: &Fields<'a>) -> Cow<'a, str> {
        match &self.pieces[..] {
            [] => Cow::Borrowed(""),
            [Piece::Literal(text)] => Cow::Borrowed(text),
            [
                Piece::Place {
                    field,
                    most,
                    default,
                },
            ] => match value(field, fields).map(|value| cut(value, *most)) {
                Some(value) if !value.is_empty() => value,
                _ => Cow::Borrowed(default),
            },
            pieces => {
                let mut out = String::with_capacity(128);
                for piece in pieces {
                    piece.write(&mut out, fields);
                }
                Cow::Owned(out)
            }
        }
    }
}

impl Piece {
    fn parse(place: &str) -> Result<Piece, TemplateError> {
        let (place, default) = place.split_once('|').unwrap_or((place, ""));
        let (name, most) = match place.split_once(':') {
            None => (place, None),
            Some((name, most)) => match most.trim().parse() {
                Ok(length @ 1..=4096) => (name, Some(length)),
                _ => return Err(TemplateError::Length(most.to_owned())),
            },
        };
        let field = match name.trim() {
            "from.name" => Field::FromName,
            "from.uri" => Field::FromUri,
            "from.user" => Field::FromUser,
            "alert.title" => Field::Title,
            "alert.subtitle" => Field::Subtitle,
            "alert.body" => Field::Body,
            "badge" => Field::Badge,
            "thread" => Field::Thread,
            "collapse" => Field::Collapse,
            "event" => Field::Event,
            "event.text" => Field::EventText,
            "app" => Field::App,
            other => match other.strip_prefix("data.") {
                Some(member) if !member.is_empty() => Field::Data(member.into()),
                _ => return Err(TemplateError::Field(other.to_owned())),
            },
        };
        Ok(Piece::Place {
            field,
            most,
            default: default.into(),
        })
    }

    fn write(&self, out: &mut String, fields: &Fields<'_>) {
        let (field, most, default) = match self {
            Piece::Literal(text) => return out.push_str(text),
            Piece::Place {
                field,
                most,
                default,
            } => (field, *most, default),
        };
        let value = value(field, fields).unwrap_or_default();
        if value.is_empty() {
            return out.push_str(default);
        }
        let value = cut(value, most);
        if value.chars().any(is_right_to_left) || value.contains(is_direction) {
            // A direction mark inside could end the isolate early: they go.
            let plain = value.chars().filter(|c| !is_direction(*c));
            out.push(FIRST_STRONG_ISOLATE);
            out.extend(plain);
            out.push(POP_DIRECTIONAL_ISOLATE);
        } else {
            out.push_str(&value);
        }
    }
}

/// A field's value; `None` where the notification has none.
fn value<'a>(field: &Field, fields: &Fields<'a>) -> Option<Cow<'a, str>> {
    let notification = fields.notification;
    let from = notification.from.as_ref();
    let alert = notification.alert.as_ref().filter(|_| !fields.hide_content);
    let text = match field {
        Field::FromName => from?.name.as_deref(),
        Field::FromUri => from?.uri.as_deref(),
        Field::FromUser => from?.uri.as_deref().map(user),
        Field::Title => alert?.title.as_deref(),
        Field::Subtitle => alert?.subtitle.as_deref(),
        Field::Body => alert?.body.as_deref(),
        Field::Thread => notification.thread.as_deref(),
        Field::Collapse => notification.collapse.as_deref(),
        Field::Event => Some(notification.event.name()),
        Field::EventText => notification.event.text(),
        Field::App => fields.target.app.as_deref(),
        Field::Badge => {
            let mut number = String::new();
            // Writing to a String cannot fail.
            let _ = write!(number, "{}", notification.badge?);
            return Some(Cow::Owned(number));
        }
        Field::Data(_) if fields.hide_content => None,
        Field::Data(name) => {
            return match notification.data.get(&**name)? {
                serde_json::Value::String(text) => Some(clean(text)),
                serde_json::Value::Null => None,
                other => Some(Cow::Owned(other.to_string())),
            };
        }
    };
    text.map(clean)
}

/// `kima` of `sip:kima@contoso.com`.
fn user(uri: &str) -> &str {
    let rest = uri
        .split_once(':')
        .filter(|(scheme, _)| {
            scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips")
        })
        .map_or(uri, |(_, rest)| rest);
    rest.split(['@', ';', '?']).next().unwrap_or_default()
}

/// A text as a person may see it: without control characters, except tabulator and line feed.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    // Most texts show by their bytes alone that there is nothing to take out; of C1 the first is 0xc2. No early end: so the
    // compiler looks at many bytes at once.
    let may_be_control = |any, byte: u8| {
        any | ((byte < b' ') & (byte != b'\t') & (byte != b'\n')) | matches!(byte, 0x7f | 0xc2)
    };
    if !text.bytes().fold(false, may_be_control) {
        return Cow::Borrowed(text);
    }
    let seen = |c: char| !c.is_control() || matches!(c, '\t' | '\n');
    if text.chars().all(seen) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().filter(|c| seen(*c)).collect())
    }
}

/// At most `most` grapheme clusters, the last one an ellipsis where something was cut.
fn cut(text: Cow<'_, str>, most: Option<usize>) -> Cow<'_, str> {
    let Some(most) = most else {
        return text;
    };
    let mut clusters = text.grapheme_indices(true).skip(most - 1);
    let (Some((last, _)), Some(_)) = (clusters.next(), clusters.next()) else {
        return text;
    };
    let kept = text[..last].trim_end();
    let mut short = String::with_capacity(kept.len() + '…'.len_utf8());
    short.push_str(kept);
    short.push('…');
    Cow::Owned(short)
}

const FIRST_STRONG_ISOLATE: char = '\u{2068}';
const POP_DIRECTIONAL_ISOLATE: char = '\u{2069}';

/// The marks that open and close directions: LRE, RLE, PDF, LRO, RLO, LRI, RLI, FSI, PDI.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Letters of the scripts that are written from right to left: Hebrew to Arabic Extended-A, their presentation forms, and the
/// right-to-left planes of the supplement.
fn is_right_to_left(c: char) -> bool {
    matches!(c,
        '\u{590}'..='\u{8ff}' | '\u{200f}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
        | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::fixture::notification;

    fn render(template: &str, hide_content: bool) -> String {
        let notification = notification();
        let fields = Fields {
            notification: &notification,
            target: &notification.targets[0],
            hide_content,
        };
        Template::parse(template)
            .unwrap()
            .render(&fields)
            .into_owned()
    }

    #[test]
    fn places_are_filled_and_braces_doubled() {
        assert_eq!(
            render("{from.name} ({from.user}): {alert.body} {{{badge}}}", false),
            "Kim Akers (kima): Are you there? {3}"
        );
        assert_eq!(
            render("{event} {event.text} {app}", false),
            "im.message New message com.example.chat"
        );
        assert_eq!(
            render("{data.room}/{data.floor}/{data.none|-}", false),
            "B/7/-"
        );
    }

    #[test]
    fn what_is_not_there_gives_its_default() {
        assert_eq!(render("{alert.subtitle|none}", false), "none");
        assert_eq!(render("<{alert.subtitle}>", false), "<>");
        assert_eq!(render("{alert.subtitle}", false), "");
    }

    #[test]
    fn hidden_content_is_as_if_it_were_not_there() {
        assert_eq!(
            render(
                "{from.name}: {alert.body|New message} {data.room|-} {alert.title|-}",
                true
            ),
            "Kim Akers: New message - -"
        );
    }

    #[test]
    fn a_length_counts_what_a_reader_counts() {
        assert_eq!(render("{alert.body:7}", false), "Are yo…");
        assert_eq!(render("{alert.body:14}", false), "Are you there?");
        // A family of four is one character, whatever it is made of.
        assert_eq!(cut("👨‍👩‍👧‍👦👨‍👩‍👧‍👦👨‍👩‍👧‍👦".into(), Some(2)), "👨‍👩‍👧‍👦…");
        assert_eq!(cut("e\u{301}e\u{301}".into(), Some(2)), "e\u{301}e\u{301}");
        assert_eq!(cut("abc".into(), Some(1)), "…");
    }

    #[test]
    fn another_direction_of_writing_is_set_apart() {
        let mut arabic = notification();
        arabic.from.as_mut().unwrap().name = Some("ليلى\u{202e}".into());
        let fields = Fields {
            notification: &arabic,
            target: &arabic.targets[0],
            hide_content: false,
        };
        let template = Template::parse("{from.name} called").unwrap();
        assert_eq!(template.render(&fields), "\u{2068}ليلى\u{2069} called");
        let alone = Template::parse("{from.name}").unwrap();
        assert_eq!(alone.render(&fields), "ليلى\u{202e}");
    }

    #[test]
    fn control_characters_are_not_shown() {
        assert_eq!(clean("a\0b\u{7f}c\u{9b}d\te\n"), "abcd\te\n");
        for character in (0..0x3000).filter_map(char::from_u32) {
            let text = character.to_string();
            let is_seen = !character.is_control() || matches!(character, '\t' | '\n');
            assert_eq!(clean(&text), if is_seen { &text } else { "" });
        }
    }

    #[test]
    fn what_is_no_template_says_where_and_what_was_expected() {
        for (text, error) in [
            ("a {from.name", TemplateError::Open(2)),
            ("{a {from.name}", TemplateError::Open(0)),
            ("a } b", TemplateError::Close(2)),
            ("{from.nam}", TemplateError::Field("from.nam".into())),
            ("{data.}", TemplateError::Field("data.".into())),
            ("{badge:0}", TemplateError::Length("0".into())),
            ("{badge:many|x}", TemplateError::Length("many".into())),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
        let long = "x".repeat(TEMPLATE_BYTES + 1);
        assert_eq!(Template::parse(&long), Err(TemplateError::TooLong(2049)));
        assert!(
            TemplateError::Field("x".into())
                .to_string()
                .contains("from.name, from.uri")
        );
        assert!(
            TemplateError::Open(2)
                .to_string()
                .contains("the { at position 2")
        );
    }
}

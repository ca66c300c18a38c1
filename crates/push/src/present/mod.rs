//! What a notification looks like on a device: the sender's words, or the operator's templates.
//!
//! Not here: the bytes that a provider takes (`providers`), and whether anything is sent. A look is made anew for each attempt, so that
//! what waits is shown by the templates of the day on which it is delivered.

mod apple;
mod phone;
mod template;

use crate::event::Event;

pub use apple::{
    AppleLook, AppleTemplate, Badge, InterruptionLevel, Priority, PushKind, TranslatedTemplate,
    Translation,
};
pub use phone::{
    PhoneLook, PhoneTemplate, Shown, TileElement, TileLook, TileStyle, TileTemplate, ToastLook,
    ToastTemplate,
};
pub use template::{FIELDS, Fields, Template, TemplateError};

/// Templates in the order of the configuration: the first whose app and event fit decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Templates<T> {
    list: Vec<(Match, T)>,
}

/// Which notifications a template is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Apps, exact or with `*`; none means every one.
    pub apps: Vec<Glob>,
    /// Events; none means every one.
    pub events: Vec<EventName>,
}

/// An event's name, or `x-*` for all extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventName {
    /// This one.
    Is(Event),
    /// Every extension.
    AnyExtension,
}

impl EventName {
    /// Reads a name; `None` for what is none.
    pub fn parse(text: &str) -> Option<EventName> {
        match text {
            "x-*" => Some(EventName::AnyExtension),
            name => Event::parse(name).map(EventName::Is),
        }
    }

    fn fits(&self, event: &Event) -> bool {
        match self {
            EventName::Is(name) => name == event,
            EventName::AnyExtension => matches!(event, Event::Extension(_)),
        }
    }
}

impl<T> Default for Templates<T> {
    fn default() -> Self {
        Templates { list: Vec::new() }
    }
}

impl<T> Templates<T> {
    /// Templates in the order in which they are asked.
    pub fn new(list: Vec<(Match, T)>) -> Templates<T> {
        Templates { list }
    }

    /// The first that fits an app and an event.
    pub fn find(&self, app: &str, event: &Event) -> Option<&T> {
        let fits = |template: &&(Match, T)| {
            let Match { apps, events } = &template.0;
            (apps.is_empty() || apps.iter().any(|glob| glob.fits(app)))
                && (events.is_empty() || events.iter().any(|name| name.fits(event)))
        };
        self.list.iter().find(fits).map(|(_, template)| template)
    }
}

/// A name, or a pattern in which each `*` stands for any number of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// A pattern; every text is one.
    pub fn new(pattern: &str) -> Glob {
        Glob(pattern.into())
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no `*` in it.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether `name` is one of those meant.
    pub fn fits(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            // The leftmost place leaves the most for what follows.
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn globs_are_names_with_stars() {
        for (pattern, name, fits) in [
            ("com.example.chat", "com.example.chat", true),
            ("com.example.chat", "com.example.chats", false),
            ("com.example.*", "com.example.chat", true),
            ("com.example.*", "com.example", false),
            ("*", "", true),
            ("*.chat.*", "com.chat.chat.beta", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Glob::new(pattern).fits(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_template_that_fits_decides() {
        let only = |apps: &[&str], events: &[&str]| Match {
            apps: apps.iter().map(|app| Glob::new(app)).collect(),
            events: events
                .iter()
                .map(|name| EventName::parse(name).unwrap())
                .collect(),
        };
        let templates = Templates::new(vec![
            (only(&["com.example.*"], &["im.message"]), 1),
            (only(&[], &["x-*"]), 2),
            (only(&["com.example.*"], &[]), 3),
        ]);
        let find = |app, event| templates.find(app, &Event::parse(event).unwrap()).copied();
        assert_eq!(find("com.example.chat", "im.message"), Some(1));
        assert_eq!(find("com.example.chat", "x-door"), Some(2));
        assert_eq!(find("com.example.chat", "im.missed"), Some(3));
        assert_eq!(find("org.other", "im.message"), None);
        assert_eq!(EventName::parse("im.unknown"), None);
    }
}

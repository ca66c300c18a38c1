//! What a notification looks like on an iPhone or iPad.

use std::borrow::Cow;

use super::template::clean;
use super::{Fields, Template};
use crate::notification::Notification;

/// `apns-push-type`, as far as this relay sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PushKind {
    /// Something is shown, counted or heard.
    Alert,
    /// Nothing is: the app is woken.
    Background,
    /// A call; the topic must end in `.voip`.
    Voip,
}

impl PushKind {
    /// All.
    pub const ALL: [PushKind; 3] = [PushKind::Alert, PushKind::Background, PushKind::Voip];
}

/// `apns-priority`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Priority {
    /// 10: at once.
    Immediate,
    /// 5: when it suits the device's battery.
    Considerate,
    /// 1: never wakes the device.
    Low,
}

impl Priority {
    /// All.
    pub const ALL: [Priority; 3] = [Priority::Immediate, Priority::Considerate, Priority::Low];
}

/// `interruption-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptionLevel {
    /// Into the list, without light or sound.
    Passive,
    /// As usual.
    Active,
    /// Breaks through scheduled summaries and focus.
    TimeSensitive,
    /// Breaks through the mute switch; needs an entitlement from Apple.
    Critical,
}

/// The number on the app's icon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Badge {
    /// The sender's.
    #[default]
    Sender,
    /// None: the icon stays as it is.
    None,
    /// This one; 0 clears.
    Number(u32),
}

/// What the operator has decided for some events of some apps. What is `None` stays the sender's; a text that comes out empty is
/// left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppleTemplate {
    /// `alert.title`
    pub title: Option<Template>,
    /// `alert.subtitle`
    pub subtitle: Option<Template>,
    /// `alert.body`
    pub body: Option<Template>,
    /// A translation in the app for the title, instead of `title`.
    pub title_translation: Option<TranslatedTemplate>,
    /// A translation in the app for the body, instead of `body`.
    pub translation: Option<TranslatedTemplate>,
    /// `badge`
    pub badge: Badge,
    /// `sound`
    pub sound: Option<Template>,
    /// `thread-id`
    pub thread: Option<Template>,
    /// `category`
    pub category: Option<Box<str>>,
    /// `interruption-level`
    pub interruption_level: Option<InterruptionLevel>,
    /// `apns-push-type`; by what is shown where there is none.
    pub kind: Option<PushKind>,
    /// `apns-priority`
    pub priority: Option<Priority>,
    /// `apns-collapse-id`
    pub collapse: Option<Template>,
}

/// A key into the app's own translations, and what fills their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslatedTemplate {
    /// `loc-key`
    pub key: Box<str>,
    /// `loc-args`
    pub args: Vec<Template>,
}

/// The same, filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation<'a> {
    /// `loc-key`
    pub key: Cow<'a, str>,
    /// `loc-args`
    pub args: Cow<'a, [String]>,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppleLook<'a> {
    /// First line.
    pub title: Option<Cow<'a, str>>,
    /// Second line.
    pub subtitle: Option<Cow<'a, str>>,
    /// The text.
    pub body: Option<Cow<'a, str>>,
    /// `title-loc-key`, `title-loc-args`
    pub title_translation: Option<Translation<'a>>,
    /// `loc-key`, `loc-args`
    pub translation: Option<Translation<'a>>,
    /// `badge`; 0 clears.
    pub badge: Option<u32>,
    /// `sound`
    pub sound: Option<Cow<'a, str>>,
    /// `thread-id`
    pub thread: Option<Cow<'a, str>>,
    /// `category`
    pub category: Option<&'a str>,
    /// `interruption-level`
    pub interruption_level: Option<InterruptionLevel>,
    /// `apns-push-type`
    pub kind: PushKind,
    /// `apns-priority`; by the kind where there is none.
    pub priority: Option<Priority>,
    /// `apns-collapse-id`, at most 64 bytes.
    pub collapse: Option<Cow<'a, str>>,
    /// Whether the sender's custom members go along.
    pub data: bool,
}

impl<'a> AppleLook<'a> {
    /// The look of one target. `template` is what the operator wants for it; `voip` says that its topic takes calls only.
    pub fn of(fields: &Fields<'a>, template: Option<&'a AppleTemplate>, voip: bool) -> Self {
        let mut look = AppleLook::plain(fields);
        if let Some(template) = template {
            look.follow(template, fields);
        }
        look.kind = match template.and_then(|template| template.kind) {
            _ if voip => PushKind::Voip,
            Some(kind) => kind,
            None if look.shows() => PushKind::Alert,
            None => PushKind::Background,
        };
        if look.kind == PushKind::Background {
            look.show_nothing();
        }
        look
    }

    /// The sender's own words. The title is whose doing it was where the sender gives none; the body is the event's name in English
    /// where something is told but nothing is said.
    fn plain(fields: &Fields<'a>) -> AppleLook<'a> {
        let notification = fields.notification;
        let alert = notification.alert.as_ref().filter(|_| !fields.hide_content);
        let text = |text: Option<&'a str>| text.map(clean);
        let translation = alert.and_then(|alert| {
            Some(Translation {
                key: Cow::Borrowed(alert.loc_key.as_deref()?),
                args: Cow::Borrowed(&alert.loc_args),
            })
        });
        let body = text(alert.and_then(|alert| alert.body.as_deref()));
        let told = notification.alert.is_some() || notification.from.is_some();
        let unsaid = body.is_none() && translation.is_none() && told;
        AppleLook {
            title: text(
                alert
                    .and_then(|alert| alert.title.as_deref())
                    .or_else(|| sender(notification).filter(|_| told)),
            ),
            subtitle: text(alert.and_then(|alert| alert.subtitle.as_deref())),
            body: body.or_else(|| {
                let phrase = notification.event.text().filter(|_| unsaid);
                phrase.map(Cow::Borrowed)
            }),
            title_translation: None,
            translation,
            badge: notification.badge,
            sound: notification.sound.as_deref().map(Cow::Borrowed),
            thread: notification.thread.as_deref().map(Cow::Borrowed),
            category: None,
            interruption_level: None,
            kind: PushKind::Alert,
            priority: None,
            collapse: notification.collapse.as_deref().map(Cow::Borrowed),
            data: !fields.hide_content,
        }
    }

    fn follow(&mut self, template: &'a AppleTemplate, fields: &Fields<'a>) {
        let fill = |place: &mut Option<Cow<'a, str>>, template: &'a Option<Template>| {
            if let Some(template) = template {
                *place = Some(template.render(fields)).filter(|text| !text.is_empty());
            }
        };
        fill(&mut self.title, &template.title);
        fill(&mut self.subtitle, &template.subtitle);
        fill(&mut self.body, &template.body);
        fill(&mut self.sound, &template.sound);
        fill(&mut self.thread, &template.thread);
        fill(&mut self.collapse, &template.collapse);
        if template.body.is_some() {
            self.translation = None;
        }
        if let Some(translated) = &template.title_translation {
            self.title_translation = Some(translated.fill(fields));
            self.title = None;
        }
        if let Some(translated) = &template.translation {
            self.translation = Some(translated.fill(fields));
            self.body = None;
        }
        match template.badge {
            Badge::Sender => {}
            Badge::None => self.badge = None,
            Badge::Number(number) => self.badge = Some(number),
        }
        self.collapse = self.collapse.take().map(collapse_id);
        self.category = template.category.as_deref();
        self.interruption_level = template.interruption_level;
        self.priority = template.priority;
    }

    fn shows(&self) -> bool {
        self.title.is_some()
            || self.subtitle.is_some()
            || self.body.is_some()
            || self.title_translation.is_some()
            || self.translation.is_some()
            || self.badge.is_some()
            || self.sound.is_some()
    }

    /// Apple: a background push has neither alert, badge nor sound, and never priority 10.
    fn show_nothing(&mut self) {
        *self = AppleLook {
            title: None,
            subtitle: None,
            body: None,
            title_translation: None,
            translation: None,
            badge: None,
            sound: None,
            thread: None,
            category: None,
            interruption_level: None,
            kind: PushKind::Background,
            priority: self
                .priority
                .filter(|priority| *priority != Priority::Immediate),
            collapse: self.collapse.take(),
            data: self.data,
        };
    }
}

impl TranslatedTemplate {
    fn fill<'a>(&'a self, fields: &Fields<'a>) -> Translation<'a> {
        let args = self.args.iter().map(|arg| arg.render(fields).into_owned());
        Translation {
            key: Cow::Borrowed(&self.key),
            args: Cow::Owned(args.collect()),
        }
    }
}

/// Who did it.
pub(super) fn sender(notification: &Notification) -> Option<&str> {
    notification.from.as_ref()?.name.as_deref()
}

/// At most 64 bytes without control characters, because it becomes a header, cut between characters: two that differ only behind them replace each other, which is harmless.
fn collapse_id(text: Cow<'_, str>) -> Cow<'_, str> {
    const BYTES: usize = 64;
    if text.len() <= BYTES && !text.contains(char::is_control) {
        return text;
    }
    let mut id = String::with_capacity(BYTES);
    for character in text.chars().filter(|c| !c.is_control()) {
        if id.len() + character.len_utf8() > BYTES {
            break;
        }
        id.push(character);
    }
    Cow::Owned(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::event::Event;
    use crate::fixture::notification;

    fn fields(notification: &Notification, hide_content: bool) -> Fields<'_> {
        Fields {
            notification,
            target: &notification.targets[0],
            hide_content,
        }
    }

    fn template(text: &str) -> Option<Template> {
        Some(Template::parse(text).unwrap())
    }

    #[test]
    fn without_a_template_the_sender_is_heard() {
        let notification = notification();
        let look = AppleLook::of(&fields(&notification, false), None, false);
        assert_eq!(look.title.as_deref(), Some("Kim"));
        assert_eq!(look.body.as_deref(), Some("Are you there?"));
        assert_eq!((look.badge, look.kind), (Some(3), PushKind::Alert));
        assert!(look.data);
    }

    #[test]
    fn an_event_without_words_has_its_own() {
        let mut notification = notification();
        notification.alert = None;
        notification.event = Event::CallMissed;
        let look = AppleLook::of(&fields(&notification, false), None, false);
        assert_eq!(look.title.as_deref(), Some("Kim Akers"));
        assert_eq!(look.body.as_deref(), Some("Missed call"));
    }

    #[test]
    fn hidden_content_shows_who_and_what_but_no_words() {
        let mut notification = notification();
        notification.alert.as_mut().unwrap().loc_key = Some("SAID".into());
        let look = AppleLook::of(&fields(&notification, true), None, false);
        assert_eq!(look.title.as_deref(), Some("Kim Akers"));
        assert_eq!(look.body.as_deref(), Some("New message"));
        assert_eq!(look.translation, None);
        assert!(!look.data);
    }

    #[test]
    fn what_a_template_names_is_the_operators_and_the_rest_the_senders() {
        let notification = notification();
        let wanted = AppleTemplate {
            title: template("{from.name} wrote"),
            sound: template(""),
            badge: Badge::Number(1),
            category: Some("IM".into()),
            collapse: template(
                "{thread}{thread}{thread}{thread}{thread}{thread}{thread}{thread}{thread}{thread}",
            ),
            interruption_level: Some(InterruptionLevel::TimeSensitive),
            priority: Some(Priority::Considerate),
            ..AppleTemplate::default()
        };
        let look = AppleLook::of(&fields(&notification, false), Some(&wanted), false);
        assert_eq!(look.title.as_deref(), Some("Kim Akers wrote"));
        assert_eq!(look.body.as_deref(), Some("Are you there?"));
        assert_eq!((look.sound, look.badge), (None, Some(1)));
        assert_eq!(look.category, Some("IM"));
        assert_eq!(look.collapse.unwrap().len(), 64);
        assert_eq!(look.priority, Some(Priority::Considerate));
    }

    #[test]
    fn a_translation_takes_the_place_of_its_text() {
        let notification = notification();
        let translated = |key: &str, arg| TranslatedTemplate {
            key: key.into(),
            args: vec![Template::parse(arg).unwrap()],
        };
        let wanted = AppleTemplate {
            title_translation: Some(translated("FROM", "{from.name}")),
            translation: Some(translated("SAID", "{alert.body:5}")),
            ..AppleTemplate::default()
        };
        let look = AppleLook::of(&fields(&notification, false), Some(&wanted), false);
        assert_eq!((look.title, look.body), (None, None));
        assert_eq!(
            *look.title_translation.unwrap().args,
            ["Kim Akers".to_owned()]
        );
        assert_eq!(*look.translation.unwrap().args, ["Are…".to_owned()]);
    }

    #[test]
    fn a_background_push_shows_nothing_and_never_hurries() {
        let notification = notification();
        let wanted = AppleTemplate {
            kind: Some(PushKind::Background),
            priority: Some(Priority::Immediate),
            ..AppleTemplate::default()
        };
        let look = AppleLook::of(&fields(&notification, false), Some(&wanted), false);
        assert!(!look.shows());
        assert_eq!((look.kind, look.priority), (PushKind::Background, None));
        let look = AppleLook::of(&fields(&notification, false), Some(&wanted), true);
        assert_eq!(
            look.kind,
            PushKind::Voip,
            "a topic for calls takes nothing else"
        );
    }
}

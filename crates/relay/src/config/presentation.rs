//! `[[apple.templates]]` and `[[windows_phone.templates]]`: how notifications look.

use pushrelay_push::Delay;
use pushrelay_push::present::{
    AppleTemplate, Badge, EventName, Glob, InterruptionLevel, Match, PhoneTemplate, Priority,
    PushKind, Template, Templates, TileElement, TileStyle, TileTemplate, ToastTemplate,
    TranslatedTemplate,
};
use serde::Deserialize;

use super::Resolver;

/// How notifications look.
#[derive(Debug, Default)]
pub(crate) struct Presentation {
    /// Nobody's words are shown.
    pub(crate) hide_content: bool,
    /// For Apple's devices.
    pub(crate) apple: Templates<AppleTemplate>,
    /// For Windows Phones.
    pub(crate) phone: Templates<PhoneTemplate>,
}

/// `[[apple.templates]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppleFile {
    #[serde(default)]
    apps: Vec<String>,
    #[serde(default)]
    events: Vec<String>,
    title: Option<String>,
    subtitle: Option<String>,
    body: Option<String>,
    title_loc_key: Option<String>,
    #[serde(default)]
    title_loc_args: Vec<String>,
    loc_key: Option<String>,
    #[serde(default)]
    loc_args: Vec<String>,
    badge: Option<BadgeFile>,
    sound: Option<String>,
    thread: Option<String>,
    category: Option<String>,
    interruption_level: Option<LevelFile>,
    push_type: Option<KindFile>,
    priority: Option<u8>,
    collapse: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum BadgeFile {
    Number(u32),
    Word(String),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LevelFile {
    Passive,
    Active,
    TimeSensitive,
    Critical,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindFile {
    Alert,
    Background,
    Voip,
}

/// `[[windows_phone.templates]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PhoneFile {
    #[serde(default)]
    apps: Vec<String>,
    #[serde(default)]
    events: Vec<String>,
    toast: Option<ToastFile>,
    tile: Option<TileFile>,
    raw: Option<String>,
    delay: Option<Delay>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToastFile {
    text1: Option<String>,
    text2: Option<String>,
    param: Option<String>,
}

/// The elements are named by [`TileElement::key`].
#[derive(Debug, Deserialize)]
struct TileFile {
    #[serde(default)]
    style: StyleFile,
    id: Option<String>,
    #[serde(flatten)]
    elements: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StyleFile {
    #[default]
    Plain,
    Flip,
    Iconic,
    Cycle,
}

impl Resolver {
    pub(super) fn apple_templates(&mut self, files: Vec<AppleFile>) -> Templates<AppleTemplate> {
        let mut list = Vec::new();
        for (index, file) in files.into_iter().enumerate() {
            let key = format!("apple.templates[{index}]");
            let fits = self.fits(&key, &file.apps, &file.events);
            list.push((fits, self.apple_template(&key, &file)));
        }
        Templates::new(list)
    }

    fn apple_template(&mut self, key: &str, file: &AppleFile) -> AppleTemplate {
        let mut read = |name: &str, text: &Option<String>| {
            let text = text.as_ref()?;
            self.template(&format!("{key}.{name}"), text)
        };
        let [title, subtitle, body, sound, thread, collapse] = [
            read("title", &file.title),
            read("subtitle", &file.subtitle),
            read("body", &file.body),
            read("sound", &file.sound),
            read("thread", &file.thread),
            read("collapse", &file.collapse),
        ];
        let title_translation = self.translated(
            key,
            "title_loc",
            file.title_loc_key.as_deref(),
            &file.title_loc_args,
        );
        let translation = self.translated(key, "loc", file.loc_key.as_deref(), &file.loc_args);
        for (text, loc_key, both) in [
            (
                "title",
                "title_loc_key",
                file.title.is_some() && file.title_loc_key.is_some(),
            ),
            (
                "body",
                "loc_key",
                file.body.is_some() && file.loc_key.is_some(),
            ),
        ] {
            if both {
                self.problem(
                    format!("{key}.{loc_key}"),
                    format!("expected either `{text}` or `{loc_key}`: the phone shows one of them"),
                );
            }
        }
        AppleTemplate {
            title,
            subtitle,
            body,
            title_translation,
            translation,
            badge: self.badge(key, file.badge.as_ref()),
            sound,
            thread,
            category: file.category.as_deref().map(Into::into),
            interruption_level: file.interruption_level.map(|level| match level {
                LevelFile::Passive => InterruptionLevel::Passive,
                LevelFile::Active => InterruptionLevel::Active,
                LevelFile::TimeSensitive => InterruptionLevel::TimeSensitive,
                LevelFile::Critical => InterruptionLevel::Critical,
            }),
            kind: self.kind(key, file.push_type),
            priority: self.priority(key, file.priority),
            collapse,
        }
    }

    fn kind(&mut self, key: &str, kind: Option<KindFile>) -> Option<PushKind> {
        match kind? {
            KindFile::Alert => Some(PushKind::Alert),
            KindFile::Background => Some(PushKind::Background),
            KindFile::Voip => {
                self.problem(
                    format!("{key}.push_type"),
                    "got \"voip\", expected \"alert\" or \"background\": an app whose topic ends in .voip gets calls by itself, and no other takes them",
                );
                None
            }
        }
    }

    fn badge(&mut self, key: &str, badge: Option<&BadgeFile>) -> Badge {
        match badge {
            None => Badge::Sender,
            Some(BadgeFile::Number(number)) => Badge::Number(*number),
            Some(BadgeFile::Word(word)) if word == "sender" => Badge::Sender,
            Some(BadgeFile::Word(word)) if word == "none" => Badge::None,
            Some(BadgeFile::Word(word)) => {
                self.problem(
                    format!("{key}.badge"),
                    format!("got {word:?}, expected \"sender\", \"none\" or a number"),
                );
                Badge::Sender
            }
        }
    }

    fn priority(&mut self, key: &str, priority: Option<u8>) -> Option<Priority> {
        match priority? {
            10 => Some(Priority::Immediate),
            5 => Some(Priority::Considerate),
            1 => Some(Priority::Low),
            other => {
                self.problem(
                    format!("{key}.priority"),
                    format!("got {other}, expected 10, 5 or 1"),
                );
                None
            }
        }
    }

    fn translated(
        &mut self,
        key: &str,
        name: &str,
        loc_key: Option<&str>,
        args: &[String],
    ) -> Option<TranslatedTemplate> {
        let mut templates = Vec::new();
        for (index, arg) in args.iter().enumerate() {
            templates.extend(self.template(&format!("{key}.{name}_args[{index}]"), arg));
        }
        if loc_key.is_none() && !args.is_empty() {
            self.problem(
                format!("{key}.{name}_args"),
                format!("expected `{name}_key` beside it"),
            );
        }
        Some(TranslatedTemplate {
            key: loc_key?.into(),
            args: templates,
        })
    }

    pub(super) fn phone_templates(&mut self, files: Vec<PhoneFile>) -> Templates<PhoneTemplate> {
        let mut list = Vec::new();
        for (index, file) in files.into_iter().enumerate() {
            let key = format!("windows_phone.templates[{index}]");
            let fits = self.fits(&key, &file.apps, &file.events);
            if file.toast.is_some() && file.raw.is_some() {
                self.problem(
                    format!("{key}.raw"),
                    "expected a tile and one of `toast` and `raw`, got both",
                );
            }
            let toast = file
                .toast
                .map(|toast| self.toast(&format!("{key}.toast"), &toast));
            let tile = file
                .tile
                .map(|tile| self.tile(&format!("{key}.tile"), &tile));
            let raw = file.raw.as_ref();
            let template = PhoneTemplate {
                toast,
                tile,
                raw: raw.and_then(|raw| self.template(&format!("{key}.raw"), raw)),
                delay: file.delay,
            };
            list.push((fits, template));
        }
        Templates::new(list)
    }

    fn toast(&mut self, key: &str, file: &ToastFile) -> ToastTemplate {
        let mut read = |name: &str, text: &Option<String>| {
            let text = text.as_ref()?;
            self.template(&format!("{key}.{name}"), text)
        };
        ToastTemplate {
            text1: read("text1", &file.text1),
            text2: read("text2", &file.text2),
            param: read("param", &file.param),
        }
    }

    fn tile(&mut self, key: &str, file: &TileFile) -> TileTemplate {
        let style = match file.style {
            StyleFile::Plain => TileStyle::Plain,
            StyleFile::Flip => TileStyle::Flip,
            StyleFile::Iconic => TileStyle::Iconic,
            StyleFile::Cycle => TileStyle::Cycle,
        };
        let known = style.elements();
        for name in file.elements.keys() {
            if !known.iter().any(|element| element.key() == name) {
                let names: Vec<_> = known.iter().map(|element| element.key()).collect();
                self.problem(
                    format!("{key}.{name}"),
                    format!(
                        "this style has no such element, expected {}",
                        names.join(", ")
                    ),
                );
            }
        }
        let mut elements: Vec<(TileElement, Template)> = Vec::new();
        for element in known {
            if let Some(text) = file.elements.get(element.key()) {
                let template = self.template(&format!("{key}.{}", element.key()), text);
                elements.extend(template.map(|template| (*element, template)));
            }
        }
        TileTemplate {
            style,
            id: file
                .id
                .as_ref()
                .and_then(|id| self.template(&format!("{key}.id"), id)),
            elements,
        }
    }

    fn fits(&mut self, key: &str, apps: &[String], events: &[String]) -> Match {
        let mut names = Vec::new();
        for (index, text) in events.iter().enumerate() {
            match EventName::parse(text) {
                Some(name) => names.push(name),
                None => self.problem(
                    format!("{key}.events[{index}]"),
                    format!("got {text:?}, expected an event such as \"im.message\", or \"x-*\" for all of your own"),
                ),
            }
        }
        Match {
            apps: apps.iter().map(|app| Glob::new(app)).collect(),
            events: names,
        }
    }

    fn template(&mut self, key: &str, text: &str) -> Option<Template> {
        Template::parse(text)
            .map_err(|error| self.problem(key, error))
            .ok()
    }
}

//! The JSON payload of an APNs push.
//!
//! Source: Apple, "Generating a remote notification". The types are a2's; the object around `aps` is written here, because a2's
//! own copies the custom members and adds `mutable-content`.

use std::borrow::Cow;

use a2::request::notification::{
    DefaultNotificationBuilder, NotificationBuilder, NotificationOptions,
};
use bytes::Bytes;
use pushrelay_push::present::{AppleLook, InterruptionLevel, PushKind};
use pushrelay_push::{Local, Notification};

use super::json;
use crate::shorten::shorten;

/// The payload, held to what Apple takes by shortening body, then subtitle, then title.
pub(crate) fn compose(notification: &Notification, look: &AppleLook<'_>) -> Result<Bytes, Local> {
    let limit = most_bytes(look.kind);
    let mut texts = Texts {
        title: look.title.as_deref().map(Cow::Borrowed),
        subtitle: look.subtitle.as_deref().map(Cow::Borrowed),
        body: look.body.as_deref().map(Cow::Borrowed),
    };
    let mut payload = write(notification, look, &texts);
    for text in [Text::Body, Text::Subtitle, Text::Title] {
        let Some(excess) = payload.len().checked_sub(limit + 1) else {
            break;
        };
        if let Some(long) = texts.text(text).take() {
            *texts.text(text) = shorten(&long, excess + 1, json_cost).map(Cow::Owned);
            payload = write(notification, look, &texts);
        }
    }
    if payload.len() > limit {
        return Err(Local::TooLarge);
    }
    Ok(Bytes::from(payload))
}

/// What Apple takes.
pub(crate) fn most_bytes(kind: PushKind) -> usize {
    match kind {
        PushKind::Alert | PushKind::Background => 4096,
        PushKind::Voip => 5120,
    }
}

/// The texts of an alert that can be shortened.
struct Texts<'a> {
    title: Option<Cow<'a, str>>,
    subtitle: Option<Cow<'a, str>>,
    body: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy)]
enum Text {
    Title,
    Subtitle,
    Body,
}

impl<'a> Texts<'a> {
    fn text(&mut self, text: Text) -> &mut Option<Cow<'a, str>> {
        match text {
            Text::Title => &mut self.title,
            Text::Subtitle => &mut self.subtitle,
            Text::Body => &mut self.body,
        }
    }
}

fn write(notification: &Notification, look: &AppleLook<'_>, texts: &Texts<'_>) -> Vec<u8> {
    let mut builder = DefaultNotificationBuilder::new();
    if let Some(title) = &texts.title {
        builder = builder.title(&**title);
    }
    if let Some(subtitle) = &texts.subtitle {
        builder = builder.subtitle(&**subtitle);
    }
    if let Some(body) = &texts.body {
        builder = builder.body(&**body);
    }
    if let Some(translation) = &look.title_translation {
        builder = builder.title_loc_key(&*translation.key);
        if !translation.args.is_empty() {
            builder = builder.title_loc_args(&translation.args);
        }
    }
    if let Some(translation) = &look.translation {
        builder = builder.loc_key(&*translation.key);
        if !translation.args.is_empty() {
            builder = builder.loc_args(&translation.args);
        }
    }
    if let Some(badge) = look.badge {
        builder = builder.badge(badge);
    }
    if let Some(sound) = &look.sound {
        builder = builder.sound(&**sound);
    }
    if let Some(thread) = &look.thread {
        builder = builder.thread_id(&**thread);
    }
    if let Some(category) = look.category {
        builder = builder.category(category);
    }
    if let Some(level) = look.interruption_level {
        builder = builder.interruption_level(interruption(level));
    }
    if look.kind == PushKind::Background {
        builder = builder.content_available();
    }
    let mut aps = builder.build("", NotificationOptions::default()).aps;
    // 0 means the same as its absence, in 20 bytes that the text can use.
    aps.mutable_content = None;
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"aps\":");
    json::write(&mut out, &aps).expect("a2's types are strings, numbers, objects and arrays");
    // A second `aps` would replace the first.
    let data = notification.data.iter().filter(|_| look.data);
    for (name, value) in data.filter(|(name, _)| *name != "aps") {
        out.push(b',');
        json::write_str(&mut out, name);
        out.push(b':');
        serde_json::to_writer(&mut out, value).expect("a JSON value has a JSON text");
    }
    out.push(b'}');
    out
}

fn interruption(level: InterruptionLevel) -> a2::request::payload::InterruptionLevel {
    use a2::request::payload::InterruptionLevel as Level;
    match level {
        InterruptionLevel::Passive => Level::Passive,
        InterruptionLevel::Active => Level::Active,
        InterruptionLevel::TimeSensitive => Level::TimeSensitive,
        InterruptionLevel::Critical => Level::Critical,
    }
}

/// What a character costs inside a JSON string as serde_json writes it.
fn json_cost(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

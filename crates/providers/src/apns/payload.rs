//! The JSON payload of an APNs push.
//!
//! Source: Apple, "Generating a remote notification". The types are a2's; the object around `aps` is written here, because a2's
//! own copies the custom members and adds `mutable-content`.

use std::borrow::Cow;

use a2::request::notification::{
    DefaultNotificationBuilder, NotificationBuilder, NotificationOptions,
};
use bytes::Bytes;
use pushrelay_push::{Alert, Local, Notification};

use super::json;
use crate::shorten::shorten;

/// What kind of push a payload is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something is shown, counted or heard.
    Alert,
    /// Nothing is: the app is woken.
    Background,
    /// A call.
    Voip,
}

impl Kind {
    pub(crate) fn of(notification: &Notification, voip: bool) -> Kind {
        let shown = notification
            .alert
            .as_ref()
            .is_some_and(|alert| Texts::of(notification, alert).any() || alert.loc_key.is_some());
        if voip {
            Kind::Voip
        } else if shown || notification.badge.is_some() || notification.sound.is_some() {
            Kind::Alert
        } else {
            Kind::Background
        }
    }

    fn limit(self) -> usize {
        match self {
            Kind::Alert | Kind::Background => 4096,
            Kind::Voip => 5120,
        }
    }
}

/// The payload, held to what Apple takes by shortening body, then subtitle, then title.
pub(crate) fn compose(notification: &Notification, kind: Kind) -> Result<Bytes, Local> {
    let mut texts = match &notification.alert {
        Some(alert) => Texts::of(notification, alert),
        None => Texts::default(),
    };
    let mut payload = write(notification, kind, &texts);
    for text in [Text::Body, Text::Subtitle, Text::Title] {
        let Some(excess) = payload.len().checked_sub(kind.limit() + 1) else {
            break;
        };
        if let Some(long) = texts.text(text).take() {
            *texts.text(text) = shorten(&long, excess + 1, json_cost).map(Cow::Owned);
            payload = write(notification, kind, &texts);
        }
    }
    if payload.len() > kind.limit() {
        return Err(Local::TooLarge);
    }
    Ok(Bytes::from(payload))
}

/// The texts of an alert that can be shortened.
#[derive(Default)]
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
    /// The title is whose doing it was, where the sender gives none.
    fn of(notification: &'a Notification, alert: &'a Alert) -> Texts<'a> {
        let sender = || notification.from.as_ref()?.name.as_deref();
        Texts {
            title: alert.title.as_deref().or_else(sender).map(Cow::Borrowed),
            subtitle: alert.subtitle.as_deref().map(Cow::Borrowed),
            body: alert.body.as_deref().map(Cow::Borrowed),
        }
    }

    fn any(&self) -> bool {
        self.title.is_some() || self.subtitle.is_some() || self.body.is_some()
    }

    fn text(&mut self, text: Text) -> &mut Option<Cow<'a, str>> {
        match text {
            Text::Title => &mut self.title,
            Text::Subtitle => &mut self.subtitle,
            Text::Body => &mut self.body,
        }
    }
}

fn write(notification: &Notification, kind: Kind, texts: &Texts<'_>) -> Vec<u8> {
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
    if let Some(alert) = &notification.alert
        && let Some(key) = &alert.loc_key
    {
        builder = builder.loc_key(&**key);
        if !alert.loc_args.is_empty() {
            builder = builder.loc_args(&alert.loc_args);
        }
    }
    if let Some(badge) = notification.badge {
        builder = builder.badge(badge);
    }
    if let Some(sound) = &notification.sound {
        builder = builder.sound(&**sound);
    }
    if let Some(thread) = &notification.thread {
        builder = builder.thread_id(&**thread);
    }
    if kind == Kind::Background {
        builder = builder.content_available();
    }
    let mut aps = builder.build("", NotificationOptions::default()).aps;
    // 0 means the same as its absence, in 20 bytes that the text can use.
    aps.mutable_content = None;
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"aps\":");
    json::write(&mut out, &aps).expect("a2's types are strings, numbers, objects and arrays");
    // A second `aps` would replace the first.
    for (name, value) in notification.data.iter().filter(|(name, _)| *name != "aps") {
        out.push(b',');
        json::write_str(&mut out, name);
        out.push(b':');
        serde_json::to_writer(&mut out, value).expect("a JSON value has a JSON text");
    }
    out.push(b'}');
    out
}

/// What a character costs inside a JSON string as serde_json writes it.
fn json_cost(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

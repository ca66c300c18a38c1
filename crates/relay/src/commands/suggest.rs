//! `pushrelay decode --suggest`: a mapping drafted from one capture, for an operator to correct.
//!
//! It looks at names and at shapes: what is called badge and is a number, what looks like a token, a channel or a SIP address. It
//! guesses; the draft says so, and says what became of the capture under it.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pushrelay_push::body::{self, Body, Decoder, Decoders, Headers, Source, Wrapped};
use pushrelay_push::{ChannelPolicy, ChannelUri};

use super::decode::{shown, words};
use super::{complain, say};
use crate::config;

/// Prints a draft for the first part that has a device in it; the exit code is 1 where none has.
pub(super) fn suggest(
    decoders: &Decoders,
    channels: &ChannelPolicy,
    body: Body<'_>,
    headers: &dyn Headers,
) -> ExitCode {
    let user_agent = headers.header("User-Agent").map(String::from_utf8_lossy);
    for part in decoders.explain(body, headers) {
        let (Ok(text), Wrapped::Nothing) = (&part.text, &part.wrapped) else {
            continue;
        };
        let found = values(text);
        let Some(draft) = Draft::new(&found, channels) else {
            continue;
        };
        let content_type = part.content_type.as_deref().unwrap_or_default();
        let toml = draft.toml(text, content_type, user_agent.as_deref());
        say(format_args!("{}", trial(&toml, channels, body, headers)));
        for line in toml.lines() {
            say(format_args!("{line}"));
        }
        return ExitCode::SUCCESS;
    }
    complain(format_args!(
        "nothing in it looks like a device token or a channel URI, expected at least one"
    ));
    ExitCode::FAILURE
}

/// What becomes of the capture under its own draft.
fn trial(toml: &str, channels: &ChannelPolicy, body: Body<'_>, headers: &dyn Headers) -> String {
    let outcome = match config::mapping("draft", toml) {
        Ok(Some(mapping)) => {
            let list = vec![Decoder::Mapping(Arc::new(mapping))];
            let decoders = Decoders::ordered(channels.clone(), list);
            match decoders.read(body, headers).result {
                Ok(notification) => words(&notification),
                Err(error) => format!("refused with {}: {error}", error.status()),
            }
        }
        Ok(None) => "nothing".to_owned(),
        Err(problem) => problem,
    };
    format!(
        "# A draft from one capture: every line of it is a guess. Under it this capture becomes\n# {outcome}."
    )
}

/// A value of the capture: what it is called, and where it stands.
struct Candidate {
    name: String,
    value: String,
    place: Place,
}

enum Place {
    /// In a document.
    At(Source),
    /// In a text, behind its name.
    Behind,
}

fn values(text: &str) -> Vec<Candidate> {
    if let Some(values) = body::values(text) {
        return values
            .into_iter()
            .map(|(source, value)| {
                let (_, place) = source.written();
                let name = place.rsplit(['/', '@']).next().unwrap_or_default();
                let name = name.split('[').next().unwrap_or_default().to_owned();
                Candidate {
                    name,
                    value,
                    place: Place::At(source),
                }
            })
            .collect();
    }
    let mut candidates = Vec::new();
    for piece in text.split(['\r', '\n', '&', ';']) {
        let Some(at) = piece.find([':', '=']) else {
            continue;
        };
        let (name, value) = (piece[..at].trim(), piece[at + 1..].trim());
        let named = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if named && !value.is_empty() {
            candidates.push(Candidate {
                name: name.to_owned(),
                value: value.to_owned(),
                place: Place::Behind,
            });
        }
    }
    candidates
}

/// The fields that were found, in the order of the file.
struct Draft<'c> {
    fields: Vec<(&'static str, &'c Candidate, Shape)>,
    unused: Vec<&'c Candidate>,
}

/// What a value looks like, and so how it is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Hex,
    SpacedHex,
    Base64,
    Channel,
    Sip,
    Number,
    Event,
    Words,
}

impl<'c> Draft<'c> {
    /// `None` where no device is among the values.
    fn new(candidates: &'c [Candidate], channels: &ChannelPolicy) -> Option<Draft<'c>> {
        let mut draft = Draft {
            fields: Vec::new(),
            unused: Vec::new(),
        };
        for candidate in candidates {
            match draft.place(candidate, channels) {
                Some((field, shape)) => draft.fields.push((field, candidate, shape)),
                None => draft.unused.push(candidate),
            }
        }
        let is_device = |(field, ..): &(&str, &Candidate, Shape)| matches!(*field, "token" | "uri");
        draft.fields.iter().any(is_device).then_some(draft)
    }

    /// The first free field that the value may be.
    fn place(
        &self,
        candidate: &Candidate,
        channels: &ChannelPolicy,
    ) -> Option<(&'static str, Shape)> {
        let name = candidate.name.to_ascii_lowercase();
        let called = |words: &[&str]| words.iter().any(|word| name.contains(word));
        let free = |field: &str| !self.fields.iter().any(|(taken, ..)| *taken == field);
        let value = candidate.value.as_str();
        let is_device = called(&["token", "device"]);
        let is_number = value.len() <= 9 && value.bytes().all(|byte| byte.is_ascii_digit());
        let is_word = value.len() <= 40 && !value.contains(char::is_whitespace);
        let guesses = [
            (is_hex(value), "token", Shape::Hex),
            (is_spaced_hex(value, is_device), "token", Shape::SpacedHex),
            (is_base64(value, is_device), "token", Shape::Base64),
            (
                ChannelUri::parse(value, channels).is_ok()
                    || (is_link(value) && called(&["channel", "uri", "url"])),
                "uri",
                Shape::Channel,
            ),
            (
                value.starts_with("sip:") || value.starts_with("sips:"),
                "from.uri",
                Shape::Sip,
            ),
            (
                is_number && called(&["badge", "count", "unread"]),
                "badge",
                Shape::Number,
            ),
            (
                is_word
                    && !is_number
                    && !is_device
                    && called(&["event", "kind", "type", "notification"]),
                "event",
                Shape::Event,
            ),
            (called(&["conversation", "thread"]), "thread", Shape::Words),
            (is_word && called(&["sound"]), "sound", Shape::Words),
            (
                called(&["name", "title", "sender", "subject", "from"]),
                "alert.title",
                Shape::Words,
            ),
            (
                called(&["text", "message", "body", "content", "alert"]),
                "alert.body",
                Shape::Words,
            ),
        ];
        guesses
            .into_iter()
            .find(|(fits, field, _)| *fits && free(field))
            .map(|(_, field, shape)| (field, shape))
    }

    fn toml(&self, text: &str, content_type: &str, user_agent: Option<&str>) -> String {
        let mut toml = String::from("\n[match]\n");
        let mut line = |line: std::fmt::Arguments<'_>| {
            let _ = writeln!(toml, "{line}"); // to a String: cannot fail
        };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.is_empty() {
            line(format_args!("content_type = {}", quoted(essence)));
        }
        if user_agent.is_some_and(|agent| agent.contains("McxService/")) {
            line(format_args!("user_agent = 'McxService/'"));
        }
        line(format_args!("body = {}", quoted(&self.body_pattern(text))));
        let groups: Vec<&(&str, &Candidate, Shape)> = self
            .fields
            .iter()
            .filter(|(_, candidate, _)| matches!(candidate.place, Place::Behind))
            .collect();
        if !groups.is_empty() {
            line(format_args!("groups = ["));
            for (field, candidate, shape) in groups {
                line(format_args!(
                    "    {},",
                    quoted(&group_pattern(field, candidate, *shape))
                ));
            }
            line(format_args!("]"));
        }
        line(format_args!("\n[fields]"));
        if !self.fields.iter().any(|(field, ..)| *field == "event") {
            line(format_args!(
                "event = \"im.message\" # nothing in it looks like the name of an event"
            ));
        }
        for (field, candidate, shape) in &self.fields {
            if !matches!(*field, "token" | "uri") {
                line(format_args!("{field} = {}", rule(field, candidate, *shape)));
            }
        }
        line(format_args!("\n[[fields.targets]]"));
        for (field, candidate, shape) in &self.fields {
            if matches!(*field, "token" | "uri") {
                line(format_args!("{field} = {}", rule(field, candidate, *shape)));
            }
        }
        if !self.unused.is_empty() {
            line(format_args!("\n# Not used:"));
        }
        for candidate in &self.unused {
            let place = match &candidate.place {
                Place::At(source) => source.to_string(),
                Place::Behind => candidate.name.clone(),
            };
            let begin: String = candidate.value.chars().take(40).collect();
            line(format_args!("# {place} = {}", shown(&begin)));
        }
        toml
    }

    /// Something by which the format is known again: the root's name, or the name of the device's member.
    fn body_pattern(&self, text: &str) -> String {
        let device = self
            .fields
            .iter()
            .find(|(field, ..)| matches!(*field, "token" | "uri"));
        let name = device
            .map(|(_, candidate, _)| regex::escape(&candidate.name))
            .unwrap_or_default();
        match device.map(|(_, candidate, _)| &candidate.place) {
            Some(Place::At(source @ Source::Xml(_))) => {
                let (_, path) = source.written();
                let root = path.split('/').next().unwrap_or_default();
                format!(r"<([\w-]+:)?{}[\s>/]", regex::escape(root))
            }
            Some(Place::At(_)) => format!("\"{name}\"\\s*:"),
            _ if text.contains(&format!("{name}=")) => format!(r"\b{name}\s*="),
            _ => format!(r"\b{name}\s*:"),
        }
    }
}

fn rule(field: &str, candidate: &Candidate, shape: Shape) -> String {
    let (key, place) = match &candidate.place {
        Place::At(source) => source.written(),
        Place::Behind => ("group", ""),
    };
    let place = match candidate.place {
        Place::At(_) => place.to_owned(),
        Place::Behind => group_name(field),
    };
    let more = match shape {
        Shape::SpacedHex => ", transform = \"hex\"".to_owned(),
        Shape::Base64 => ", transform = \"base64-to-hex\"".to_owned(),
        Shape::Event => format!(
            ", lookup = {{ {} = \"{}\" }}, default = \"x-unknown\"",
            quoted(&candidate.value),
            event(&candidate.value)
        ),
        Shape::Hex | Shape::Channel | Shape::Sip | Shape::Number | Shape::Words => String::new(),
    };
    format!("{{ {key} = {}{more} }}", quoted(&place))
}

fn group_name(field: &str) -> String {
    field.replace('.', "_")
}

fn group_pattern(field: &str, candidate: &Candidate, shape: Shape) -> String {
    let value = match shape {
        Shape::Hex => "[0-9A-Fa-f]+",
        Shape::SpacedHex => "[0-9A-Fa-f <>-]+",
        Shape::Base64 => "[A-Za-z0-9+/=]+",
        Shape::Channel => r#"https?://[^\s"'<>]+"#,
        Shape::Sip => r#"sips?:[^\s"'<>;,&]+"#,
        Shape::Number => "[0-9]+",
        Shape::Event => r"[^\s;,&]+",
        Shape::Words => r"[^\r\n&;]+",
    };
    format!(
        r"\b{}\s*[:=]\s*(?<{}>{value})",
        regex::escape(&candidate.name),
        group_name(field)
    )
}

/// The event that a foreign name may mean.
fn event(name: &str) -> &'static str {
    let name = name.to_ascii_lowercase();
    let has = |word| name.contains(word);
    match () {
        () if has("missed") && has("call") => "call.missed",
        () if has("missed") => "im.missed",
        () if has("voice") || has("mail") => "voicemail.new",
        () if has("conf") || has("meeting") => "conf.invite",
        () if has("call") => "call.invite",
        () if has("invit") => "im.invite",
        () if has("badge") => "badge.update",
        () if has("test") => "test",
        () => "im.message",
    }
}

fn is_hex(value: &str) -> bool {
    (32..=200).contains(&value.len())
        && value.len().is_multiple_of(2)
        && value.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// As Apple's own `description` of a token prints it; with hyphens only where the name says that it is one, for a UUID has them.
fn is_spaced_hex(value: &str, is_device: bool) -> bool {
    let digits: String = value
        .chars()
        .filter(|c| !(matches!(c, ' ' | '<' | '>') || is_device && *c == '-'))
        .collect();
    digits.len() < value.len() && is_hex(&digits)
}

/// 32 bytes, as tokens have always been; any other length only where the name says that it is one.
fn is_base64(value: &str, is_device: bool) -> bool {
    let bytes = STANDARD.decode(value).map_or(0, |bytes| bytes.len());
    bytes == 32 || (is_device && (16..=100).contains(&bytes))
}

fn is_link(value: &str) -> bool {
    value.starts_with("http://") || value.starts_with("https://")
}

/// As TOML writes a text.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
#[path = "suggest_tests.rs"]
mod tests;

//! `pushrelay decode`: what each decoder makes of a capture or of a bare body. It shows what the body says in clear.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use pushrelay_push::body::{
    Body, Decoders, Explanation, FieldExplanation, PartExplanation, Wrapped,
};
use pushrelay_push::{ChannelPolicy, Notification, Service};
use serde_json::{Value, json};

use super::saved::{self, Saved};
use super::{complain, report, say, suggest};
use crate::config;

/// What the command takes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A capture, or a body alone; "-" is standard input.
    file: PathBuf,
    /// The configuration whose decoders are asked; without it JSON and XML are.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What a body alone is.
    #[arg(long, value_name = "TYPE", default_value = "text/plain")]
    content_type: String,
    /// Draft a mapping instead: TOML on standard output.
    #[arg(long, conflicts_with = "json")]
    suggest: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Reads the file; the exit code is 0 where it becomes a notification, with `--suggest` where there is a draft.
pub(crate) fn decode(arguments: &Arguments) -> ExitCode {
    let (decoders, channels) = match &arguments.config {
        None => (
            Decoders::new(ChannelPolicy::default()),
            ChannelPolicy::default(),
        ),
        Some(path) => match config::decoders(path) {
            Ok(found) => found,
            Err(problems) => {
                report(path, &problems, &[]);
                return ExitCode::FAILURE;
            }
        },
    };
    let bytes = match saved::read(&arguments.file) {
        Ok(bytes) => bytes,
        Err(error) => {
            complain(format_args!("{}: {error}", arguments.file.display()));
            return ExitCode::FAILURE;
        }
    };
    let saved = Saved::new(&bytes, &arguments.content_type);
    let body = Body {
        content_type: saved.content_type.as_deref(),
        bytes: saved.body,
    };
    if arguments.suggest {
        return suggest::suggest(&decoders, &channels, body, &saved);
    }
    let parts = decoders.explain(body, &saved);
    let reading = decoders.read(body, &saved);
    let good = reading.result.is_ok();
    let verdict = match &reading.result {
        Ok(notification) => Ok(words(notification)),
        Err(error) => Err((error.status(), error.to_string())),
    };
    if arguments.json {
        let parts: Vec<Value> = parts.iter().map(json_of_part).collect();
        let value = match verdict {
            Ok(words) => json!({"parts": parts, "notification": words}),
            Err((status, reason)) => json!({"parts": parts, "status": status, "reason": reason}),
        };
        say(format_args!("{value:#}"));
    } else {
        for part in &parts {
            say(format_args!("{}", text_of_part(part)));
        }
        match verdict {
            Ok(words) => say(format_args!("It becomes {words}.")),
            Err((status, reason)) => {
                say(format_args!("It is refused with {status}: {reason}"));
            }
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// `a notification of im.message for 1 Apple and 0 Windows Phone devices`
pub(super) fn words(notification: &Notification) -> String {
    let count = |service| {
        let targets = notification.targets.iter();
        targets
            .filter(|target| target.device.service() == service)
            .count()
    };
    format!(
        "a notification of {} for {} Apple and {} Windows Phone devices",
        notification.event.name(),
        count(Service::Apns),
        count(Service::Mpns)
    )
}

fn text_of_part(part: &PartExplanation) -> String {
    let mut text = String::new();
    let name = match part.path.as_slice() {
        [] => "The body".to_owned(),
        path => {
            let numbers: Vec<String> = path.iter().map(usize::to_string).collect();
            format!("Part {}", numbers.join("."))
        }
    };
    let kind = part.content_type.as_deref().unwrap_or("no Content-Type");
    let _ = write!(text, "{name}: {} bytes of {}", part.bytes, shown(kind)); // to a String: cannot fail
    match &part.text {
        Ok(_) if part.damage.is_none() => {}
        Ok(_) => {
            let _ = write!(text, ", changed by an IM URL filter ({})", part.damage);
        }
        Err(error) => {
            let _ = write!(text, ", no text: {error}");
        }
    }
    match &part.wrapped {
        Wrapped::Nothing => {}
        Wrapped::Parts(count) => {
            let _ = write!(text, ", {count} parts");
        }
        Wrapped::Broken(error) => {
            let _ = write!(text, ", cannot be opened: {error}");
        }
    }
    for decoder in &part.decoders {
        text.push_str(&text_of_decoder(decoder));
    }
    text
}

fn text_of_decoder(decoder: &Explanation) -> String {
    let mut text = format!("\n  {}: ", decoder.decoder);
    if let Some(mismatch) = decoder.mismatch {
        text.push_str("does not match: ");
        text.push_str(mismatch);
        return text;
    }
    text.push_str("matches");
    for field in &decoder.fields {
        let _ = write!(text, "\n    {:<20} {}", field.name, text_of_field(field)); // to a String: cannot fail
    }
    if !decoder.missing.is_empty() {
        let _ = write!(text, "\n    not there: {}", decoder.missing.join(", "));
    }
    if let Some(Err(error)) = &decoder.result {
        let _ = write!(text, "\n    wrong: {error}");
    }
    text
}

fn text_of_field(field: &FieldExplanation) -> String {
    let mut text = match &field.value {
        Ok(Some(value)) => shown(value),
        Ok(None) => "nothing".to_owned(),
        Err(problem) => format!("wrong: {problem}"),
    };
    if !field.source.is_empty() {
        let _ = write!(text, "   <- {}", field.source); // to a String: cannot fail
    }
    match (&field.raw, &field.value) {
        (Some(raw), Ok(Some(value))) if raw == value => {}
        (Some(raw), _) => {
            let _ = write!(text, ": {}", shown(raw));
        }
        (None, _) => {}
    }
    text
}

/// Nothing that a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

fn json_of_part(part: &PartExplanation) -> Value {
    let decoders = part.decoders.iter().map(|decoder| {
        let fields = decoder.fields.iter().map(|field| {
            let (value, problem) = match &field.value {
                Ok(value) => (value.as_deref(), None),
                Err(problem) => (None, Some(problem)),
            };
            json!({"name": field.name, "source": field.source, "raw": field.raw, "value": value, "problem": problem})
        });
        let problem = match &decoder.result {
            Some(Err(error)) => Some(error.to_string()),
            Some(Ok(_)) | None => None,
        };
        json!({
            "decoder": decoder.decoder,
            "matches": decoder.mismatch.is_none(),
            "mismatch": decoder.mismatch,
            "fields": fields.collect::<Vec<_>>(),
            "missing": decoder.missing,
            "problem": problem,
        })
    });
    json!({
        "path": part.path,
        "content_type": part.content_type,
        "bytes": part.bytes,
        "damage": part.damage.to_string(),
        "decoders": decoders.collect::<Vec<_>>(),
    })
}

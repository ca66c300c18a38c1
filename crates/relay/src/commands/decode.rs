//! `pushrelay decode`: what each decoder makes of a capture or of a bare body. It shows what the body says in clear.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use pushrelay_push::body::{
    Body, Decoders, Explanation, FieldExplanation, Headers, PartExplanation, Wrapped,
};
use pushrelay_push::{ChannelPolicy, Notification, Service};
use serde_json::{Value, json};

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

/// The longest file that is read: a head and a body at their limits, and some more.
const FILE_BYTES: u64 = 1 << 20;

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
    let bytes = match read(&arguments.file) {
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

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unread = |error: io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(unread)?)
    };
    let read = source.take(FILE_BYTES + 1).read_to_end(&mut bytes);
    if read.map_err(unread)? as u64 > FILE_BYTES {
        return Err(format!("expected at most {FILE_BYTES} bytes, got more"));
    }
    Ok(bytes)
}

/// A request as it was kept, or pasted from somebody's trace: line ends and lengths may have suffered.
struct Saved<'a> {
    lines: Vec<(&'a [u8], Vec<u8>)>,
    content_type: Option<String>,
    body: &'a [u8],
}

impl<'a> Saved<'a> {
    fn new(bytes: &'a [u8], content_type: &str) -> Saved<'a> {
        let Some((head, body)) = split(bytes) else {
            return Saved {
                lines: Vec::new(),
                content_type: Some(content_type.to_owned()),
                body: bytes,
            };
        };
        let mut lines: Vec<(&[u8], Vec<u8>)> = Vec::new();
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            if let (Some((_, value)), true) = (
                lines.last_mut(),
                line.starts_with(b" ") || line.starts_with(b"\t"),
            ) {
                value.push(b' ');
                value.extend_from_slice(line.trim_ascii());
            } else if let Some(colon) = line.iter().position(|byte| *byte == b':') {
                let (name, value) = line.split_at(colon);
                lines.push((name.trim_ascii(), value[1..].trim_ascii().to_vec()));
            }
        }
        let mut saved = Saved {
            lines,
            content_type: None,
            body,
        };
        saved.content_type = saved
            .header("Content-Type")
            .or_else(|| saved.header("c"))
            .map(|value| String::from_utf8_lossy(value).into_owned());
        saved
    }
}

impl Headers for Saved<'_> {
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.lines
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.as_slice())
    }
}

/// Head and body of a SIP request; `None` where the first line is not one's.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = bytes.split(|byte| *byte == b'\n').next()?;
    if !first.trim_ascii_end().ends_with(b" SIP/2.0") {
        return None;
    }
    let at = |end: &[u8]| {
        let found = bytes.windows(end.len()).position(|window| window == end)?;
        Some((found, found + end.len()))
    };
    let (head, body) = [at(b"\r\n\r\n"), at(b"\n\n")]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or((bytes.len(), bytes.len()));
    Some((&bytes[..head], &bytes[body..]))
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

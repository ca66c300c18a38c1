//! One event as one line. Whatever is logged, a line stays a line: control characters are escaped.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::config::LogFormat;

/// A buffer that is used again for each line, and what two lines of the same second have in common.
#[derive(Default)]
pub(super) struct Lines {
    text: String,
    second: u64,
    /// `2026-11-24T04:45:12`, of [`second`](Lines::second); empty before the first line.
    moment: String,
}

/// A buffer that grew past this for a long line is given back.
const RETAINED_BYTES: usize = 16 * 1024;

impl Lines {
    /// The line of an event, with its line end. `spans` are those that it happened in, from the outermost.
    pub(super) fn write(
        &mut self,
        format: LogFormat,
        event: &Event<'_>,
        now: SystemTime,
        spans: impl Iterator<Item = &'static str>,
    ) -> &[u8] {
        if self.text.capacity() > RETAINED_BYTES {
            self.text = String::new();
        }
        self.text.clear();
        match format {
            LogFormat::Json => self.write_json(event, now, spans),
            LogFormat::Plain => self.write_plain(event, now, spans),
        }
        self.text.as_bytes()
    }

    fn write_json(
        &mut self,
        event: &Event<'_>,
        now: SystemTime,
        spans: impl Iterator<Item = &'static str>,
    ) {
        self.text.push_str("{\"timestamp\":\"");
        self.write_moment(now);
        self.text.push_str("\",\"level\":\"");
        self.text
            .push_str(word(event.metadata().level()).trim_start());
        self.text.push_str("\",\"fields\":{");
        event.record(&mut Json {
            out: &mut self.text,
            first: true,
        });
        self.text.push_str("},\"target\":\"");
        self.text.push_str(event.metadata().target()); // the path of a module
        self.text.push('"');
        let mut before = ",\"spans\":[\"";
        for span in spans {
            self.text.push_str(before);
            self.text.push_str(span);
            self.text.push('"');
            before = ",\"";
        }
        let end = if before == ",\"" { "]}\n" } else { "}\n" };
        self.text.push_str(end);
    }

    fn write_plain(
        &mut self,
        event: &Event<'_>,
        now: SystemTime,
        spans: impl Iterator<Item = &'static str>,
    ) {
        self.write_moment(now);
        self.text.push(' ');
        self.text.push_str(word(event.metadata().level()));
        self.text.push(' ');
        for span in spans {
            self.text.push_str(span);
            self.text.push_str(": ");
        }
        self.text.push_str(event.metadata().target());
        self.text.push(':');
        event.record(&mut Plain(&mut self.text));
        self.text.push('\n');
    }

    /// RFC 3339 in UTC, with microseconds.
    fn write_moment(&mut self, now: SystemTime) {
        // A clock before 1970 is no clock.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.moment.is_empty() || self.second != since.as_secs() {
            self.second = since.as_secs();
            let second = UNIX_EPOCH + Duration::from_secs(self.second);
            self.moment = humantime::format_rfc3339_seconds(second).to_string();
            self.moment.pop(); // its Z comes behind the microseconds
        }
        self.text.push_str(&self.moment);
        self.text.push('.');
        let micros = since.subsec_micros();
        for place in [100_000, 10_000, 1_000, 100, 10, 1] {
            self.text
                .push(char::from(b'0' + (micros / place % 10) as u8));
        }
        self.text.push('Z');
    }
}

/// The level, as wide as the widest.
fn word(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "ERROR",
        Level::WARN => " WARN",
        Level::INFO => " INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// The fields as members of an object.
struct Json<'a> {
    out: &'a mut String,
    first: bool,
}

impl Json<'_> {
    fn name(&mut self, field: &Field) -> &mut String {
        self.out.push_str(if self.first { "\"" } else { ",\"" });
        self.first = false;
        self.out.push_str(field.name()); // a name of our own or of a library's, from the source text
        self.out.push_str("\":");
        self.out
    }
}

impl Visit for Json<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let out = self.name(field);
        out.push('"');
        // Writing to memory does not fail; a value that cannot say what it is stays as far as it came.
        let _ = write!(Escaping(out), "{value:?}");
        out.push('"');
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let out = self.name(field);
        out.push('"');
        escape(out, value);
        out.push('"');
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field).push_str(itoa::Buffer::new().format(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.name(field).push_str(itoa::Buffer::new().format(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field)
            .push_str(if value { "true" } else { "false" });
    }
}

/// The message, then ` name=value` for each field.
struct Plain<'a>(&'a mut String);

impl Plain<'_> {
    fn name(&mut self, field: &Field) -> &mut String {
        self.0.push(' ');
        if field.name() != "message" {
            self.0.push_str(field.name());
            self.0.push('=');
        }
        self.0
    }
}

impl Visit for Plain<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let out = self.name(field);
        // Writing to memory does not fail; a value that cannot say what it is stays as far as it came.
        let _ = write!(EscapingControls(out), "{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let out = self.name(field);
        out.push('"');
        escape(out, value);
        out.push('"');
    }
}

/// Escapes what is written to it.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// Escapes only what would end the line or command a terminal.
struct EscapingControls<'a>(&'a mut String);

impl fmt::Write for EscapingControls<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                control if control.is_control() => escape_control(self.0, control),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

/// As the inside of a JSON string, in which a terminal finds nothing to obey either.
fn escape(out: &mut String, text: &str) {
    if is_plain(text) {
        return out.push_str(text);
    }
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control.is_control() => escape_control(out, control),
            other => out.push(other),
        }
    }
}

fn escape_control(out: &mut String, control: char) {
    match control {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        other => {
            // All of them are below U+00A0. Writing to memory does not fail.
            let _ = write!(out, "\\u{:04x}", u32::from(other));
        }
    }
}

fn is_plain(text: &str) -> bool {
    // No early end: so the compiler looks at many bytes at once.
    let is_plain =
        |all, byte| all & (b' '..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\');
    text.bytes().fold(true, is_plain)
}

/// Bytes from the wire that should be printable ASCII: what is not, and quotes, as in a Rust literal.
pub(crate) fn printable(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_plain(text) && !text.contains('\'') => Cow::Borrowed(text),
        _ => Cow::Owned(bytes.escape_ascii().to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::{debug_span, error, info, warn};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
    use tracing_subscriber::registry::LookupSpan;

    /// 2026-11-24T04:45:12.004005Z
    const NOW: Duration = Duration::from_micros(1_795_495_512_004_005);

    struct Sink(LogFormat, Arc<Mutex<Lines>>, Arc<Mutex<String>>);

    impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Sink {
        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            let scope = context.event_scope(event).into_iter();
            let spans = scope.flat_map(|scope| scope.from_root().map(|span| span.name()));
            let mut lines = self.1.lock().unwrap();
            let line = lines.write(self.0, event, UNIX_EPOCH + NOW, spans);
            let mut written = self.2.lock().unwrap();
            written.push_str(std::str::from_utf8(line).unwrap());
        }
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let written = Arc::<Mutex<String>>::default();
        let sink = Sink(format, Arc::default(), written.clone());
        let subscriber = tracing_subscriber::registry().with(sink);
        tracing::subscriber::with_default(subscriber, log);
        let written = written.lock().unwrap();
        written.clone()
    }

    #[test]
    fn json_has_time_level_fields_and_target() {
        let line = logged(LogFormat::Json, || {
            info!(status = 200_u16, below = -1, ok = true, text = "a\"b", error = %"broken\u{1b}[31m", "answered");
        });
        assert_eq!(
            line,
            concat!(
                r#"{"timestamp":"2026-11-24T04:45:12.004005Z","level":"INFO","fields":{"message":"answered","status":200,"#,
                r#""below":-1,"ok":true,"text":"a\"b","error":"broken\u001b[31m"},"target":"pushrelay::log::line::tests"}"#,
                "\n"
            )
        );
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }

    #[test]
    fn plain_has_the_same_for_people() {
        let line = logged(LogFormat::Plain, || {
            warn!(status = 200_u16, text = "a \"b\"\n", error = %"not \"that\"\n", "it is \"so\"");
        });
        assert_eq!(
            line,
            concat!(
                "2026-11-24T04:45:12.004005Z  WARN pushrelay::log::line::tests: it is \"so\" status=200 ",
                r#"text="a \"b\"\n" error=not "that"\n"#,
                "\n"
            )
        );
    }

    #[test]
    fn nothing_that_is_logged_ends_a_line_or_breaks_the_json() {
        for format in [LogFormat::Json, LogFormat::Plain] {
            for code in (0..0x300).chain(0x2000..0x2070) {
                let text = char::from_u32(code).unwrap().to_string();
                let line = logged(
                    format,
                    || error!(text, again = %text, debug = ?text, "{text}"),
                );
                let inside = line.strip_suffix('\n').unwrap();
                assert!(!inside.contains(|c: char| c.is_control()), "{code:x}");
                if format == LogFormat::Json {
                    let json: serde_json::Value = serde_json::from_str(inside).unwrap();
                    assert_eq!(json["fields"]["text"], text);
                    assert_eq!(json["fields"]["again"], text);
                    assert_eq!(json["fields"]["message"], text);
                }
            }
        }
    }

    #[test]
    fn spans_are_named_from_the_outermost() {
        let log = || {
            let outer = debug_span!("outer");
            outer.in_scope(|| debug_span!("inner").in_scope(|| info!("here")));
            outer.in_scope(|| info!("there"));
        };
        let lines = logged(LogFormat::Json, log);
        let spans: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["spans"].take())
            .collect();
        assert_eq!(spans[0], serde_json::json!(["outer", "inner"]));
        assert_eq!(spans[1], serde_json::json!(["outer"]));
        let lines = logged(LogFormat::Plain, log);
        assert!(lines.contains(" INFO outer: inner: pushrelay::"), "{lines}");
    }

    #[test]
    fn the_second_is_written_anew_when_it_changes() {
        let mut lines = Lines::default();
        for (second, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1, "1970-01-01T00:00:01.000000Z"),
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
        ] {
            lines.text.clear();
            lines.write_moment(UNIX_EPOCH + Duration::from_secs(second));
            assert_eq!(lines.text, text);
        }
    }

    #[test]
    fn bytes_from_the_wire_are_printable() {
        for (bytes, text) in [
            (&b"5f1c@h"[..], "5f1c@h"),
            (b"a'b", "a\\'b"),
            (b"\x1b[31m\xff", "\\x1b[31m\\xff"),
        ] {
            assert_eq!(printable(bytes), text);
        }
    }
}

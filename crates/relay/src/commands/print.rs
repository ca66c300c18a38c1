//! Lines for whoever called: for people aligned and easy to grep, and nothing in them that a terminal would obey.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::time::{Duration, SystemTime};

/// A line on standard error.
pub(crate) fn complain(line: fmt::Arguments<'_>) {
    // When standard error is closed there is nobody left to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A line on standard output.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    // When standard output is closed nobody wants to read it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// An answer as JSON.
pub(super) fn say_json(answer: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(answer).expect("answers have only string keys");
    say(format_args!("{text}"));
}

/// Columns under their names, two spaces apart.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With nothing but the names of its columns.
    pub(super) fn new(names: &[&str]) -> Table {
        Table {
            rows: vec![names.iter().map(|name| (*name).to_owned()).collect()],
        }
    }

    /// One row more; a cell for each column.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        let cells = cells.iter().map(|cell| match &*harmless(cell) {
            // So that a line has as many words as there are columns.
            "" => "-".to_owned(),
            text => text.to_owned(),
        });
        self.rows.push(cells.collect());
    }

    /// On standard output; the names only where there is a row.
    pub(super) fn say(&self) {
        if self.rows.len() < 2 {
            return;
        }
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell: &String| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let padded = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            let line = padded.collect::<Vec<_>>().join("  ");
            say(format_args!("{}", line.trim_end()));
        }
    }
}

/// A name and its value, aligned with others.
pub(super) fn say_pair(name: &str, value: &str) {
    say(format_args!("{name:<14}  {}", harmless(value)));
}

/// What a terminal would obey, as it would stand in a Rust literal; marks that turn the direction of writing among it.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let is_obeyed = |character: char| {
        character.is_control()
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_obeyed(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// `12s`, `3m12s`, `2h5m`, `4d3h`: the two largest units.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut parts = units.iter().enumerate().filter_map(|(at, (length, name))| {
        let above = units
            .get(at.wrapping_sub(1))
            .map_or(u64::MAX, |unit| unit.0);
        let count = seconds % above / length;
        (seconds >= *length).then(|| format!("{count}{name}"))
    });
    match (parts.next(), parts.next()) {
        (Some(first), Some(second)) => first + &second,
        (Some(only), None) => only,
        (None, _) => "0s".to_owned(),
    }
}

/// How long ago, or how long from now.
pub(super) fn since(moment: SystemTime, now: SystemTime) -> String {
    match now.duration_since(moment) {
        Ok(ago) => format!("{} ago", span(ago)),
        Err(ahead) => format!("in {}", span(ahead.duration())),
    }
}

/// The moment itself and how far away it is.
pub(super) fn moment(moment: SystemTime, now: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(moment);
    format!("{text} ({})", since(moment, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m0s"),
            (3_700, "1h1m"),
            (86_400 * 4 + 3 * 3_600 + 59, "4d3h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(since(now - Duration::from_secs(5), now), "5s ago");
        assert_eq!(since(now + Duration::from_secs(5), now), "in 5s");
    }

    #[test]
    fn a_terminal_finds_nothing_to_obey() {
        assert_eq!(harmless("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(harmless("gpj.\u{202e}exe"), "gpj.\\u{202e}exe");
        assert_eq!(harmless("Grüße"), "Grüße");
    }
}

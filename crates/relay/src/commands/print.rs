//! Lines for whoever called.

use std::fmt;
use std::io::Write;

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

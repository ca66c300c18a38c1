//! `pushrelay check`: everything that can be known before a socket opens.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use super::{complain, say};
use crate::config::{self, Problem};

/// Judges the file; the exit code is 0 where the daemon would start.
pub(crate) fn check(path: &Path) -> ExitCode {
    let loaded = config::load(path, SystemTime::now());
    report(path, &loaded.problems, &loaded.warnings);
    match loaded.config {
        Some(config) => {
            let partners = config.partners.iter().count();
            let apps = config.apple.as_ref().map_or(0, Vec::len);
            let phone = if config.windows_phone.is_some() {
                "on"
            } else {
                "off"
            };
            say(format_args!(
                "{}: good: {partners} partners, {apps} Apple apps, Windows Phone {phone}, {} warnings",
                path.display(),
                loaded.warnings.len()
            ));
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}

/// Writes problems and warnings to standard error, one a line.
pub(crate) fn report(path: &Path, problems: &[Problem], warnings: &[Problem]) {
    for problem in problems {
        complain(format_args!("{}: error: {problem}", path.display()));
    }
    for warning in warnings {
        complain(format_args!("{}: warning: {warning}", path.display()));
    }
}

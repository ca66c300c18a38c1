//! What all test binaries of one `cargo test` said, as one count.

use std::fmt;

/// Adds up the summaries of test binaries while their output goes by.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    counts: Counts,
    /// A binary has announced its tests and not summed them up yet.
    open: bool,
}

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Summary {
    /// Takes one line of output.
    pub(crate) fn read(&mut self, line: &str) {
        if announces(line) {
            self.end_binary();
            self.open = true;
        } else if let Some(counts) = result(line) {
            self.counts.passed += counts.passed;
            self.counts.failed += counts.failed;
            self.counts.skipped += counts.skipped;
            self.open = false;
        }
    }

    /// The counts after the last line. `succeeded` is what cargo's exit status says: a failure that no summary shows, such
    /// as a binary that did not compile, counts as one.
    pub(crate) fn close(mut self, succeeded: bool) -> Counts {
        self.end_binary();
        if !succeeded && self.counts.failed == 0 {
            self.counts.failed = 1;
        }
        self.counts
    }

    /// A binary that announced tests and never summed them up has died in one of them.
    fn end_binary(&mut self) {
        if self.open {
            self.counts.failed += 1;
            self.open = false;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// `running 12 tests`
fn announces(line: &str) -> bool {
    line.strip_prefix("running ")
        .and_then(|rest| rest.split_once(' '))
        .is_some_and(|(number, rest)| {
            number.parse::<u64>().is_ok() && matches!(rest, "test" | "tests")
        })
}

/// `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`
fn result(line: &str) -> Option<Counts> {
    let (_, fields) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for field in fields.split("; ") {
        let (number, what) = field.split_once(' ')?;
        match what {
            "passed" => counts.passed = number.parse().ok()?,
            "failed" => counts.failed = number.parse().ok()?,
            "ignored" => counts.skipped = number.parse().ok()?,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(output: &str, succeeded: bool) -> String {
        let mut summary = Summary::default();
        output.lines().for_each(|line| summary.read(line));
        summary.close(succeeded).to_string()
    }

    #[test]
    fn the_summaries_of_all_binaries_are_added_up() {
        let output = "
running 3 tests
test a ... ok
test b ... ok
test c ... ignored

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s


running 1 test
test d ... FAILED

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.01s
";
        assert_eq!(counts(output, false), "2 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_binary_that_dies_without_a_summary_counts_as_a_failure() {
        let output = "
running 2 tests
test a ... ok

running 1 test
test b ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        assert_eq!(counts(output, false), "1 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn a_build_that_fails_is_not_reported_as_no_failure() {
        assert_eq!(counts("", false), "0 passed, 1 failed, 0 skipped");
    }

    #[test]
    fn what_a_test_prints_is_no_summary() {
        let output = "running away from tests\ntest result: unclear\nrunning 2 tests of mine\n";
        assert_eq!(counts(output, true), "0 passed, 0 failed, 0 skipped");
    }
}

//! What the probe prints: a line a step, and what to do at the end.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::fault::Fault;
use crate::commands::say;

/// The steps so far.
pub(super) struct Report {
    json: bool,
    steps: Vec<Value>,
}

impl Report {
    pub(super) fn new(json: bool) -> Report {
        Report {
            json,
            steps: Vec::new(),
        }
    }

    /// A step that went well.
    pub(super) fn good(&mut self, step: &'static str, tried: String, got: String) {
        self.step("ok", step, tried, &got);
    }

    /// Something that an Edge of today takes and another may not.
    pub(super) fn doubtful(&mut self, step: &'static str, tried: String, got: String) {
        self.step("warning", step, tried, &got);
    }

    /// A step that ends the probe.
    pub(super) fn bad(&mut self, step: &'static str, tried: String, got: String) {
        self.step("failed", step, tried, &got);
    }

    fn step(&mut self, result: &str, step: &str, tried: String, got: &str) {
        if self.json {
            self.steps
                .push(json!({"step": step, "result": result, "tried": tried, "got": got}));
        } else {
            say(format_args!("{result:<8}{step:<12}{tried}: {got}"));
        }
    }

    /// The end: nothing is wrong, or what is.
    pub(super) fn end(self, result: Result<(), Fault>) -> ExitCode {
        let fault = result.err();
        if self.json {
            let fault = fault.as_ref().map(|fault| {
                json!({
                    "fault": fault.label(),
                    "means": fault.means(),
                    "do": fault.advice(),
                    "exit_code": fault.exit_code(),
                })
            });
            let good = fault.is_none();
            say(format_args!(
                "{:#}",
                json!({"good": good, "steps": self.steps, "fault": fault})
            ));
        } else {
            match &fault {
                None => say(format_args!("good")),
                Some(fault) => {
                    say(format_args!("\nfault:  {}", fault.label()));
                    say(format_args!("means:  {}", fault.means()));
                    say(format_args!("do:     {}", fault.advice()));
                }
            }
        }
        fault.map_or(ExitCode::SUCCESS, |fault| ExitCode::from(fault.exit_code()))
    }
}

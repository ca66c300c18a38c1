//! What the program does when it is called, beside serving: one file a subcommand.

mod check;
mod print;

pub(crate) use check::{check, report};
pub(crate) use print::{complain, say};

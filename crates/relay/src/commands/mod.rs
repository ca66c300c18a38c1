//! What the program does when it is called, beside serving: one file a subcommand.

mod check;
pub(crate) mod decode;
pub(crate) mod devices;
pub(crate) mod preview;
mod print;
pub(crate) mod probe;
mod reach;
mod saved;
pub(crate) mod spool;
pub(crate) mod story;
mod suggest;

pub(crate) use check::{check, report};
pub(crate) use print::{complain, say};

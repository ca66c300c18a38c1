//! What an operator may ask and change, and who answers: the daemon over its admin socket, or the command itself while no daemon runs.
//!
//! [`Ask`](ask::Ask) is the whole interface; the [`Desk`](desk::Desk) answers it on both sides. Not here: the command line (`commands`).

pub(crate) mod ask;
pub(crate) mod desk;
pub(crate) mod socket;
mod story;

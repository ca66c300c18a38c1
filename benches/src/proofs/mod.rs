//! The proofs that the daemon keeps its promises while it is killed, its disk fails, and its providers are at their worst.
//!
//! Each proof is a plan and a function that carries it out: long as a command of `pushrelay-benches`, short as a test of the
//! daemon. It fails when a promise is broken, and says what it has seen when none is. Not here: what the parts do by
//! themselves; each crate's own tests hold that.

pub mod crash;
mod dice;
pub mod durable;
pub mod fairness;
pub mod goaway;
mod ground;
pub mod io_faults;
pub mod kill_points;
mod ledger;
pub mod outage;
pub mod overload;
mod strace;
pub mod sync_order;
pub mod terminations;

pub use ledger::Balance;
pub use strace::{Strace, Tracee, is_here as has_strace};

//! The MESSAGE that every bench sends, who sends it, and the proofs of what the relay promises.
//!
//! Not here: the commands `load` and `instructions`, which are the program of the same name.

pub mod cpu;
pub mod generator;
pub mod message;
pub mod proofs;

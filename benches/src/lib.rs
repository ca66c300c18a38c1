//! The MESSAGE that every bench sends.
//!
//! Not here: the commands `load` and `instructions`, which are the program of the same name.

pub mod message;

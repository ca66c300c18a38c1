//! The fakes as commands.

fn main() {}

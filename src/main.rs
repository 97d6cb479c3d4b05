//! Calls `cli`, and turns the error into an exit code.

fn main() {}

//! The `clarim` binary.

fn main() {}

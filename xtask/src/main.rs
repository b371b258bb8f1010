//! The front door for development: `cargo xtask`.

fn main() {}

//! TypeScript definitions of what the examples of the crate `clarim` send.

use anyhow::{Context, Result};

use crate::build;
use crate::run::{command, npm, root};

/// Where they are committed.
const FILE: &str = "e2e/types/events.ts";

pub(crate) fn write() -> Result<()> {
    example(&[FILE])
}

pub(crate) fn check() -> Result<()> {
    example(&["--check", FILE]).context("cargo xtask types writes the file again")?;
    npm("e2e", &["run", "types"])
        .context("the front end (e2e/types/use.ts) no longer fits what is sent")
}

/// Runs the example that knows the types.
fn example(arguments: &[&str]) -> Result<()> {
    build::workspace()?;
    let program = root().join("target/debug/examples/types");
    command(&program.to_string_lossy(), arguments).run()
}

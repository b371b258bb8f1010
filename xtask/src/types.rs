//! TypeScript definitions of what the examples of the crate `clarim` send.

use anyhow::{Context, Result};

use crate::run::{cargo, command, root};

/// Where they are committed.
const FILE: &str = "e2e/types/events.ts";

pub(crate) fn write() -> Result<()> {
    example(&[FILE])
}

pub(crate) fn check() -> Result<()> {
    example(&["--check", FILE]).context("cargo xtask types writes the file again")?;
    command("npm", &["run", "types"])
        .current_dir(root().join("e2e"))
        .run()
        .context("the front end (e2e/types/use.ts) no longer fits what is sent")
}

fn example(arguments: &[&str]) -> Result<()> {
    let run = ["run", "--quiet", "-p", "clarim", "--example", "types", "--"];
    cargo(&[&run, arguments].concat())
}

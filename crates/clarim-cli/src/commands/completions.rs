//! `clarim completions`: the script with which a shell completes commands and flags.

use std::io::Write;

use clap::Command;
use clap_complete::{Shell, generate};

use crate::error::CommandError;

pub(crate) fn run(
    mut program: Command,
    shell: Shell,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    // A closed output would be a panic in the library.
    let mut script = Vec::new();
    generate(shell, &mut program, "clarim", &mut script);
    out.write_all(&script)?;
    Ok(())
}

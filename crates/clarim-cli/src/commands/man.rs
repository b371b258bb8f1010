//! `clarim man`: the manual pages.

use std::fs;
use std::path::Path;

use clap::Command;

use crate::error::{Access, CommandError};

pub(crate) fn run(program: Command, directory: &Path) -> Result<(), CommandError> {
    let written =
        fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(program, directory));
    written.map_err(|source| CommandError::File {
        access: Access::Write,
        path: directory.to_owned(),
        source,
    })
}

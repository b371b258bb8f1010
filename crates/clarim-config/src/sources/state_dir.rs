//! The directory of the program's own files.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Creates the directory if it does not exist, with a `.gitignore`, because it contains secrets.
///
/// # Errors
/// If the directory or its `.gitignore` can't be written.
pub fn prepare(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    match fs::File::create_new(directory.join(".gitignore")) {
        Ok(mut file) => file.write_all(b"*\n"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

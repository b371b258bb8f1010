//! The directory in which the server keeps files of its own.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Makes the directory if need be, and keeps it out of version control: it holds secrets.
///
/// # Errors
/// When the directory or its `.gitignore` can't be written.
pub fn prepare(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    match fs::File::create_new(directory.join(".gitignore")) {
        Ok(mut file) => file.write_all(b"*\n"),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

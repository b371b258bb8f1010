//! SHA-256 of every file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use super::release::Release;

/// Writes SHA256SUMS, as sha256sum reads it, and prints the files with their sizes.
pub(crate) fn write(release: &Release) -> Result<()> {
    let top = release.file("");
    let mut files = Vec::new();
    collect(&top, &mut files)?;
    files.sort();
    let mut sums = String::new();
    for file in files {
        let name = file.strip_prefix(&top).unwrap_or(&file).display();
        println!("{:>9} kB  {name}", file.metadata()?.len().div_ceil(1000));
        sums += &format!("{}  {name}\n", of_file(&file)?);
    }
    Ok(fs::write(release.file("SHA256SUMS"), sums)?)
}

/// The digest in hexadecimal digits.
pub(crate) fn of_file(file: &Path) -> Result<String> {
    Ok(of(&fs::read(file).with_context(|| file.display().to_string())?))
}

/// The digest in hexadecimal digits.
pub(crate) fn of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

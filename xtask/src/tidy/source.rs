//! The files that have rules.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Folders with files that are written by hand.
const FOLDERS: [&str; 10] =
    ["apps", "bench", "crates", "deploy", "docs", "e2e", "fuzz", "packages", "site", "xtask"];
/// Folders with files of others, or of a build.
const OTHERS: [&str; 7] =
    ["target", "node_modules", "dist", "staged", "artefacts", "corpus", "artifacts"];
/// Endings of files that people read and write.
const ENDINGS: [&str; 8] = ["rs", "md", "mjs", "js", "ts", "vue", "html", "css"];

/// A file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path below the top of the repository, with slashes.
    pub(crate) name: String,
    pub(crate) text: String,
}

impl Source {
    /// Reads all files that have rules.
    pub(crate) fn all(root: &Path) -> Result<Vec<Self>> {
        let mut sources = Vec::new();
        for folder in FOLDERS {
            collect(root, &root.join(folder), &mut sources)?;
        }
        for entry in fs::read_dir(root)? {
            add(root, &entry?.path(), &mut sources)?;
        }
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(sources)
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.name.ends_with(".rs")
    }

    /// Whether the file belongs to tests. Sources with a module of tests do not.
    pub(crate) fn is_test(&self) -> bool {
        self.name.contains("/tests/")
            || self.name.contains("/test/")
            || self.name.ends_with("tests.rs")
    }

    /// The folder that the file is in.
    pub(crate) fn folder(&self) -> &str {
        self.name.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            add(root, &path, sources)?;
        } else if !OTHERS.iter().any(|other| path.ends_with(other)) {
            collect(root, &path, sources)?;
        }
    }
    Ok(())
}

fn add(root: &Path, path: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if path.is_file() && ENDINGS.contains(&ending) {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        sources.push(Source { name, text });
    }
    Ok(())
}

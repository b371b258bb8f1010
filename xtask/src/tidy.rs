//! The project's own rules, as far as a program can check them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::run::root;

const MAX_LINES: usize = 500;
const MAX_TEST_LINES: usize = 800;
const MAX_WIDTH: usize = 110;

/// Crates that must not know I/O, and what would give it away.
const PURE: [&str; 2] = ["crates/clarim-protocol/src", "crates/clarim-hub/src"];
const IMPURE: [&str; 5] = ["tokio", "std::net", "Instant::now", "SystemTime::now", "std::thread"];

/// Prefixes of channel names belong to one file.
const PREFIXES: [&str; 3] = ["\"private-", "\"presence-", "(\"cache-\""];
const PREFIX_FILE: &str = "crates/clarim-protocol/src/channel.rs";

/// Names that say nothing.
const EMPTY_NAMES: [&str; 4] = ["Manager", "Helper", "Util", "Factory"];

pub(crate) fn check() -> Result<()> {
    let mut found = Vec::new();
    let mut files = Vec::new();
    for folder in ["apps", "crates", "xtask", "bench", "fuzz"] {
        collect(&root().join(folder), &mut files)?;
    }
    for file in &files {
        let name = file.strip_prefix(root()).unwrap_or(file).to_string_lossy().replace('\\', "/");
        if name != "xtask/src/tidy.rs" {
            check_file(&name, &fs::read_to_string(file)?, &mut found);
        }
    }
    for problem in &found {
        println!("{problem}");
    }
    ensure!(found.is_empty(), "{} breaches of the project's rules", found.len());
    println!("{} files are tidy", files.len());
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with("node_modules") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn check_file(name: &str, text: &str, found: &mut Vec<String>) {
    let is_test = name.contains("/tests");
    let (lines, max) = (text.lines().count(), if is_test { MAX_TEST_LINES } else { MAX_LINES });
    if lines > max {
        found.push(format!("{name}: {lines} lines, at most {max}: split it by what it is about"));
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    for (n, line) in text.lines().enumerate() {
        let wide = line.chars().count() > MAX_WIDTH;
        // A sentence for users, or a test's wire text, may be as long as it is.
        if wide && !line.contains('"') && !line.ends_with('\\') {
            found.push(format!("{name}:{}: {} columns", n + 1, line.chars().count()));
        }
    }
    for (n, line) in code.lines().enumerate() {
        let mut complain = |what: String| found.push(format!("{name}:{}: {what}", n + 1));
        let is_comment = line.trim_start().starts_with("//");
        if PURE.iter().any(|folder| name.starts_with(folder)) && !is_comment {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                complain(format!("{word} in a crate that is to be pure"));
            }
        }
        if !is_test && name != PREFIX_FILE && name.starts_with("crates/") && !is_comment {
            for prefix in PREFIXES.iter().filter(|prefix| line.contains(**prefix)) {
                complain(format!("{prefix}…\": only {PREFIX_FILE} looks at channel prefixes"));
            }
        }
        for word in EMPTY_NAMES {
            if line.contains(&format!("struct {word}")) || line.contains(&format!("{word} {{")) {
                complain(format!("the name {word} says nothing"));
            }
        }
    }
}

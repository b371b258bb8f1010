//! Tests with real clients, run by Node.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::run::{command, root};
use crate::{build, setup};

/// Folders whose tests are steps of their own: they compute, while the others mostly wait.
const COMPUTING: [&str; 4] = ["browser", "newcomer", "image", "packages"];
/// Folders without tests.
const OTHERS: [&str; 3] = ["node_modules", "sdk-rust", "artefacts"];

/// Arguments choose files by a part of their paths; those that start with `--` are for Node, such as
/// `--test-name-pattern=toast`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    build::workspace()?;
    build::sdk_rust()?;
    // They mostly wait.
    node("e2e", 3 * cores(), args)
}

/// Chromium draws without a graphics card, which takes a core for each file.
pub(crate) fn browser(args: &[String]) -> Result<()> {
    build::workspace()?;
    node("e2e/browser", cores(), args)
}

/// The pictures of README and the documentation, made of the running programs.
pub(crate) fn pictures() -> Result<()> {
    build::workspace()?;
    setup::npm_ci("e2e")?;
    setup::npm_ci("e2e/pictures")?;
    command("node", &["e2e/pictures/make.mjs"]).run()
}

/// The commands of the README and the tutorial, which build what they start.
pub(crate) fn newcomer(args: &[String]) -> Result<()> {
    build::workspace()?;
    node("e2e/newcomer", cores(), args)
}

/// The commands of deploy/docker/Dockerfile.
pub(crate) fn image(args: &[String]) -> Result<()> {
    if !setup::has_image_target() {
        println!("skipped: {} is not installed", setup::IMAGE);
        return Ok(());
    }
    build::workspace()?;
    node("e2e/image", cores(), args)
}

/// The files of `dist/`.
pub(crate) fn packages() -> Result<()> {
    node("e2e/packages", cores(), &[])
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// Runs the test files of a folder, some of them at the same time.
fn node(folder: &str, concurrency: usize, args: &[String]) -> Result<()> {
    let (options, filters): (Vec<&String>, Vec<&String>) =
        args.iter().partition(|arg| arg.starts_with('-'));
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files)?;
    files.retain(|(file, _)| filters.is_empty() || filters.iter().any(|part| file.contains(*part)));
    ensure!(!files.is_empty(), "no test file has {filters:?} in its path");
    // Long files first, so that none of them is the last.
    files.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let files: Vec<&String> = files.iter().map(|(file, _)| file).collect();
    let concurrency = format!("--test-concurrency={concurrency}");
    // It repeats what has failed at the end, where the suite's report shows it.
    let reporter = "--test-reporter=spec";
    // Time limit of a test file. The longest takes three minutes on two busy cores.
    let timeout = "--test-timeout=900000";
    // A file whose failed test has left something open would run until then. And Node would wait for the
    // programs that a file has left when its time was over.
    let exit = "--test-force-exit";
    command("node", &["--test", &concurrency, reporter, timeout, exit])
        .args(&options)
        .args(&files)
        .run()
}

/// Adds the test files below a folder, with their sizes.
fn collect(folder: &Path, files: &mut Vec<(String, u64)>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        let is = |others: &[&str]| others.iter().any(|other| name == **other);
        if path.is_dir() && !is(&COMPUTING) && !is(&OTHERS) {
            collect(&path, files)?;
        } else if path.to_string_lossy().ends_with(".test.mjs") {
            let name = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
            files.push((name, entry.metadata()?.len()));
        }
    }
    Ok(())
}

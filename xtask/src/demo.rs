//! The applications in `apps`: built, and started.

use std::env;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::build::is_built;
use crate::run::{cargo_command, command, npm, root};
use crate::setup::npm_ci;

/// The oldest Node that builds the pages.
const NODE: u32 = 20;

/// The pages of the demo, and of the application with Inertia.
pub(crate) const DEMO: &str = "apps/demo/web";
pub(crate) const INERTIA: &str = "apps/inertia/web";

/// Builds pages, with @clarim/js and @clarim/vue as npm packs them.
pub(crate) fn build(pages: &[&str]) -> Result<()> {
    check_node()?;
    // The second is built with the types of the first.
    let js = pack("packages/js")?;
    let vue = pack("packages/vue")?;
    for folder in pages {
        npm_ci(folder)?;
        // Not in package.json, whose lock would have to know what is in the tarballs.
        npm(folder, &["install", "--no-save", "--no-fund", "--no-audit", &js, &vue])?;
        npm(folder, &["run", "build"])?;
    }
    Ok(())
}

/// Packs a package. Returns the path of the tarball.
pub(crate) fn pack(package: &str) -> Result<String> {
    let packed = root().join("target/packed");
    fs::create_dir_all(&packed)?;
    npm_ci(package)?;
    let to = packed.to_string_lossy().into_owned();
    command("npm", &["pack", "--pack-destination", &to]).current_dir(root().join(package)).run()?;
    let newest = fs::read_dir(&packed)?
        .filter_map(Result::ok)
        .max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok())
        .context("npm pack has packed nothing")?;
    Ok(newest.path().to_string_lossy().into_owned())
}

/// Builds the application with Inertia, and runs it until it is interrupted.
pub(crate) fn run_inertia() -> Result<()> {
    build(&[INERTIA])?;
    cargo_command(&["run", "-p", "clarim-inertia"]).exec()
}

/// Builds the demo, and runs it until it is interrupted.
pub(crate) fn run() -> Result<()> {
    build(&[DEMO])?;
    let file = root().join("target/demo.sqlite");
    let database =
        env::var("DATABASE_URL").unwrap_or_else(|_| format!("sqlite:{}", file.display()));
    // By itself it needs fewer crates than the whole workspace, whose build a test has.
    if is_built() {
        let program = root().join("target/debug/clarim-demo");
        return command(&program.to_string_lossy(), &[]).env("DATABASE_URL", &database).exec();
    }
    cargo_command(&["run", "-p", "clarim-demo"]).env("DATABASE_URL", &database).exec()
}

/// A newcomer may not have it, as nothing else here needs it.
fn check_node() -> Result<()> {
    let get = format!("install Node {NODE} or later with npm, from https://nodejs.org");
    let version = |program: &str| command(program, &["--version"]).stdout();
    let Some(node) = version("node") else {
        bail!("the pages are built with Node, and there is no program node here: {get}");
    };
    let node = node.trim();
    let major = node.trim_start_matches('v').split('.').next().and_then(|text| text.parse().ok());
    if major.is_none_or(|major: u32| major < NODE) {
        bail!("Node {node} is too old to build the pages: {get}");
    }
    if version("npm").is_none() {
        bail!("the pages are built with npm, and there is no program npm here: {get}");
    }
    Ok(())
}

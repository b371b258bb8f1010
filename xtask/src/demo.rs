//! The demo application: built, and started.

use std::env;
use std::fs;

use anyhow::{Context, Result};

use crate::run::{cargo_with, command, root};

/// The pages, with @clarim/vue as npm packs it.
pub(crate) fn build() -> Result<()> {
    let (vue, web) = (root().join("packages/vue"), root().join("apps/demo/web"));
    let packed = root().join("target/packed");
    fs::create_dir_all(&packed)?;
    let quiet = ["--no-fund", "--no-audit"];
    for folder in [&vue, &web] {
        command("npm", &[&["ci"], &quiet[..]].concat()).current_dir(folder.clone()).run()?;
    }
    let to = packed.to_string_lossy().into_owned();
    command("npm", &["pack", "--pack-destination", &to]).current_dir(vue).run()?;
    let newest = fs::read_dir(&packed)?
        .filter_map(Result::ok)
        .max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok())
        .context("npm pack has packed nothing")?;
    let tarball = newest.path().to_string_lossy().into_owned();
    // Not in package.json, whose lock would have to know what is in the tarball.
    let install = ["install", "--no-save", &tarball];
    command("npm", &[&install, &quiet[..]].concat()).current_dir(web.clone()).run()?;
    command("npm", &["run", "build"]).current_dir(web).run()
}

/// Builds it, and runs it until it is interrupted.
pub(crate) fn run() -> Result<()> {
    build()?;
    let file = root().join("target/demo.sqlite");
    let database =
        env::var("DATABASE_URL").unwrap_or_else(|_| format!("sqlite:{}", file.display()));
    cargo_with(&["run", "-p", "clarim-demo"], &[("DATABASE_URL", &database)])
}

//! Builds that several steps need.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{cargo, cargo_command, command, npm, root};
use crate::setup::{ARM, ARM_COMPILER, IMAGE, has_image_target, npm_ci};

/// Builds everything that a test runs, in one selection of packages: cargo compiles the dependencies again
/// for another selection, whose features differ.
pub(crate) fn workspace() -> Result<()> {
    if is_built() {
        return Ok(());
    }
    cargo(&["build", "--workspace", "--bins", "--examples", "--tests"])
}

/// Whether the step `build` of a suite has passed.
pub(crate) fn is_built() -> bool {
    std::env::var_os(IS_BUILT).is_some()
}

/// Set for the steps of a suite after its step `build` has passed.
pub(crate) const IS_BUILT: &str = "XTASK_IS_BUILT";

/// A workspace of its own: the SDK's old dependencies stay out of ours. What both have is compiled once.
pub(crate) fn sdk_rust() -> Result<()> {
    let manifest = ["--manifest-path", "e2e/sdk-rust/Cargo.toml", "--target-dir", "target"];
    cargo(&[&["build", "--locked"], &manifest[..]].concat())
}

/// Builds the documentation site, in `site/dist`.
pub(crate) fn site() -> Result<()> {
    npm_ci("site")?;
    npm("site", &["run", "build"])
}

/// Builds the program of the container image with the Dockerfile's own command, as `target/shipped/clarim`.
/// Without the image's target it is linked to this system's C library.
pub(crate) fn shipped() -> Result<()> {
    let built = if has_image_target() {
        let file = fs::read_to_string(root().join("deploy/docker/Dockerfile"))?;
        let line =
            file.lines().find(|line| line.starts_with("RUN") && line.contains("cargo build"));
        let line = line.context("the Dockerfile builds nothing with cargo")?;
        command("sh", &["-c", line.trim_start_matches("RUN ")]).run()?;
        root().join("target").join(IMAGE)
    } else {
        cargo_command(&["build", "--release", "--locked", "-p", "clarim-cli"]).run()?;
        root().join("target")
    };
    let shipped = root().join("target/shipped");
    fs::create_dir_all(&shipped)?;
    // A test of another step may be running the last one.
    let new = shipped.join("clarim.new");
    fs::copy(built.join("release/clarim"), &new)?;
    Ok(fs::rename(new, shipped.join("clarim"))?)
}

/// Builds the program for 64-bit Arm on another processor. The compiler has the headers of GNU's C library:
/// SQLite is kept from functions that musl lacks.
pub(crate) fn arm() -> Result<PathBuf> {
    cargo_command(&["build", "--release", "--locked", "--target", ARM, "-p", "clarim-cli"])
        .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", ARM_COMPILER)
        .env("CC_aarch64_unknown_linux_musl", ARM_COMPILER)
        .env("CFLAGS_aarch64_unknown_linux_musl", "-U_FORTIFY_SOURCE -DSQLITE_DISABLE_LFS")
        .run()?;
    Ok(root().join("target").join(ARM).join("release/clarim"))
}

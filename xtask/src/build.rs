//! Builds that several steps need.

use anyhow::Result;

use crate::run::cargo;

/// Builds everything that a test runs, in one selection of packages: cargo compiles the dependencies again
/// for another selection, whose features differ.
pub(crate) fn workspace() -> Result<()> {
    if std::env::var_os(IS_BUILT).is_some() {
        return Ok(());
    }
    cargo(&["build", "--workspace", "--bins", "--examples", "--tests"])
}

/// Set for the steps of a suite after its step `build` has passed.
pub(crate) const IS_BUILT: &str = "XTASK_IS_BUILT";

/// A workspace of its own: the SDK's old dependencies stay out of ours.
pub(crate) fn sdk_rust() -> Result<()> {
    cargo(&["build", "--locked", "--manifest-path", "e2e/sdk-rust/Cargo.toml"])
}

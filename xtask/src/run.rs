//! Running other programs.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A command in the repository, to be run with [`Run::run`].
pub(crate) fn command(program: &str, args: &[&str]) -> Run {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    // What `cargo run` says of this program. ring's build looks at it, and is done anew wherever it differs.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_") {
            command.env_remove(&*name);
        }
    }
    Run(command)
}

/// Runs cargo.
pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    cargo_command(args).run()
}

/// Cargo, in the repository; however it is run, in the same environment, for another one builds all anew.
pub(crate) fn cargo_command(args: &[&str]) -> Run {
    let cargo = command("cargo", args);
    // What is built once only has no use for gigabytes that make the next build faster.
    if env::var_os("CI").is_some() { cargo.env("CARGO_INCREMENTAL", "0") } else { cargo }
}

/// A command that is an error when it fails.
pub(crate) struct Run(Command);

impl Run {
    pub(crate) fn current_dir(mut self, folder: PathBuf) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Becomes the command: signals to this process are then signals to it, and none of the two outlives the
    /// other. Returns only if it can't be started.
    pub(crate) fn exec(mut self) -> Result<()> {
        let error = self.0.exec();
        Err(error).with_context(|| format!("cannot start {:?}", self.0))
    }

    /// What the command prints, if it can be started and succeeds.
    pub(crate) fn stdout(mut self) -> Option<String> {
        let output = self.0.output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.0.status().with_context(|| format!("cannot start {:?}", self.0))?;
        ensure!(status.success(), "{:?} failed: {status}", self.0);
        Ok(())
    }

    /// Whether the command can be started and succeeds; its output is not shown.
    pub(crate) fn succeeds(mut self) -> bool {
        self.0.output().is_ok_and(|output| output.status.success())
    }

    /// Of `id -u`: whether this is the root user.
    pub(crate) fn says_root(self) -> bool {
        self.stdout().is_some_and(|id| id.trim() == "0")
    }
}

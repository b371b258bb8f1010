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

/// Creates a command that runs in the repository.
pub(crate) fn command(program: &str, args: &[&str]) -> Run {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    // `cargo run` describes this program in variables. The build script of ring reads them, and is run again
    // wherever they differ.
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

/// Creates a cargo command.
pub(crate) fn cargo_command(args: &[&str]) -> Run {
    command("cargo", args)
}

/// Runs npm in a folder of the repository.
pub(crate) fn npm(folder: &str, args: &[&str]) -> Result<()> {
    command("npm", args).current_dir(root().join(folder)).run()
}

/// A command that is an error when it fails.
pub(crate) struct Run(Command);

impl Run {
    pub(crate) fn current_dir(mut self, folder: PathBuf) -> Self {
        self.0.current_dir(folder);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn args<T: AsRef<std::ffi::OsStr>>(mut self, args: &[T]) -> Self {
        self.0.args(args);
        self
    }

    /// Becomes the command: signals to this process reach it, and neither outlives the other. Returns only if
    /// the command can't be started.
    pub(crate) fn exec(mut self) -> Result<()> {
        let error = self.0.exec();
        Err(error).with_context(|| format!("cannot start {:?}", self.0))
    }

    /// The command's output, if it can be started and succeeds.
    pub(crate) fn stdout(mut self) -> Option<String> {
        let output = self.0.output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    }

    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.0.status().with_context(|| format!("cannot start {:?}", self.0))?;
        ensure!(status.success(), "{:?} failed: {status}", self.0);
        Ok(())
    }

    /// Starts the command without waiting for it.
    pub(crate) fn spawn(mut self) -> Result<std::process::Child> {
        self.0.spawn().with_context(|| format!("cannot start {:?}", self.0))
    }

    /// Redirects stdout and stderr to a file.
    pub(crate) fn output_to(mut self, file: &Path) -> Result<Self> {
        let name = || format!("cannot write {}", file.display());
        let file = std::fs::File::create(file).with_context(name)?;
        self.0.stdin(std::process::Stdio::null());
        self.0.stdout(file.try_clone().with_context(name)?).stderr(file);
        Ok(self)
    }

    /// Whether the command can be started and succeeds. Its output is not shown.
    pub(crate) fn succeeds(mut self) -> bool {
        self.0.output().is_ok_and(|output| output.status.success())
    }
}

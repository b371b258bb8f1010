//! What the files of a release have in common.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::run::{Run, command, root};

/// An operating system and an architecture, under each of its names.
pub(crate) struct Platform {
    /// Rust's name.
    pub(crate) target: &'static str,
    /// Node's names of the system and the architecture, joined.
    pub(crate) npm: &'static str,
    /// Tags of a Python wheel.
    pub(crate) wheel: &'static str,
    /// Condition of the Homebrew formula.
    pub(crate) brew: [&'static str; 2],
    pub(crate) linux: Option<Linux>,
}

/// An architecture under the names of Linux packages.
pub(crate) struct Linux {
    /// Debian's and OCI's name.
    pub(crate) deb: &'static str,
    pub(crate) rpm: &'static str,
}

/// Every platform with a release. Programs for macOS come from the release workflow.
pub(crate) const PLATFORMS: [Platform; 4] = [
    Platform {
        target: "x86_64-unknown-linux-musl",
        npm: "linux-x64",
        wheel: "manylinux_2_17_x86_64.musllinux_1_1_x86_64",
        brew: ["on_linux", "on_intel"],
        linux: Some(Linux { deb: "amd64", rpm: "x86_64" }),
    },
    Platform {
        target: "aarch64-unknown-linux-musl",
        npm: "linux-arm64",
        wheel: "manylinux_2_17_aarch64.musllinux_1_1_aarch64",
        brew: ["on_linux", "on_arm"],
        linux: Some(Linux { deb: "arm64", rpm: "aarch64" }),
    },
    Platform {
        target: "x86_64-apple-darwin",
        npm: "darwin-x64",
        wheel: "macosx_10_12_x86_64",
        brew: ["on_macos", "on_intel"],
        linux: None,
    },
    Platform {
        target: "aarch64-apple-darwin",
        npm: "darwin-arm64",
        wheel: "macosx_11_0_arm64",
        brew: ["on_macos", "on_arm"],
        linux: None,
    },
];

/// Shells, and the names under which they find the completions of a program.
const COMPLETIONS: [[&str; 2]; 3] =
    [["bash", "clarim.bash"], ["zsh", "_clarim"], ["fish", "clarim.fish"]];

/// Where releases are published.
pub(crate) const REPOSITORY: &str = "https://github.com/clarim/clarim";

/// The release of this version.
pub(crate) struct Release {
    pub(crate) version: &'static str,
    /// Time of all files, so that two builds of a commit are equal: seconds since 1970.
    pub(crate) time: String,
    /// Folder of the stripped programs.
    pub(crate) binaries: PathBuf,
    folder: PathBuf,
    work: PathBuf,
}

impl Release {
    pub(crate) fn new(binaries: PathBuf) -> Result<Self> {
        let given = std::env::var("SOURCE_DATE_EPOCH").ok();
        let of_commit = || command("git", &["log", "-1", "--format=%ct"]).stdout();
        let time = given.or_else(of_commit).context("set SOURCE_DATE_EPOCH outside of git")?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            time: time.trim().to_owned(),
            binaries,
            folder: root().join("dist"),
            work: root().join("target/dist"),
        })
    }

    /// Removes the files of the last run.
    pub(crate) fn clear(&self) -> Result<()> {
        for folder in [&self.folder, &self.work] {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
            fs::create_dir_all(folder)?;
        }
        Ok(())
    }

    /// A file of the release.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A folder of the release, created.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A new folder for intermediate files.
    pub(crate) fn work(&self, name: &str) -> Result<PathBuf> {
        let folder = self.work.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    pub(crate) fn binary(&self, platform: &Platform) -> PathBuf {
        self.binaries.join(platform.target).join("clarim")
    }

    /// Writes the completions and manual pages that the program prints: those of this machine's platform, since
    /// they are the same on each.
    pub(crate) fn write_manual(&self) -> Result<()> {
        let program = self.binaries.join(format!("{ARCH}-unknown-linux-musl/clarim"));
        let program = path(&program);
        let completions = self.completions();
        fs::create_dir_all(&completions)?;
        for [shell, name] in COMPLETIONS {
            let script = command(&program, &["completions", shell]).stdout();
            let script = script.with_context(|| format!("{program} does not run here"))?;
            fs::write(completions.join(name), script)?;
        }
        command(&program, &["man", &path(&self.man())]).run()
    }

    /// Folder of the completions.
    pub(crate) fn completions(&self) -> PathBuf {
        self.work.join("manual/completions")
    }

    /// Folder of the manual pages.
    pub(crate) fn man(&self) -> PathBuf {
        self.work.join("manual/man")
    }

    /// A command whose output depends on no clock.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Run {
        command(program, args).env("SOURCE_DATE_EPOCH", &self.time)
    }

    /// Writes a `.tar.gz` of entries of a folder: equal bytes for equal contents.
    pub(crate) fn tar(&self, folder: &Path, entries: &[&str], to: &Path) -> Result<()> {
        let time = format!("--mtime=@{}", self.time);
        let to = path(to);
        let options = ["--sort=name", &time, "--owner=0", "--group=0", "--numeric-owner"];
        let options = [&options[..], &["--mode=u+rwX,go+rX,go-w", "-I", "gzip -n", "-cf", &to]];
        command("tar", &options.concat()).args(entries).current_dir(folder.to_owned()).run()
    }

    /// The Helm chart with this version.
    pub(crate) fn chart(&self) -> Result<()> {
        let folder = self.work("chart")?;
        copy("deploy/helm/clarim", &folder)?;
        let file = folder.join("clarim/Chart.yaml");
        let text = fs::read_to_string(&file)?.replace("0.0.0", self.version);
        fs::write(file, text)?;
        let to = self.folder("helm")?.join(format!("clarim-{}.tgz", self.version));
        self.tar(&folder, &["clarim"], &to)
    }
}

/// Copies a file or folder of the repository into a folder, which is created.
pub(crate) fn copy(from: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    command("cp", &["-R", from, &path(folder)]).run()
}

/// Copies a file to a path, whose folder is created.
pub(crate) fn copy_file(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// A file of the repository with its examples replaced, each of which must occur.
pub(crate) fn filled(file: &str, values: &[[&str; 2]]) -> Result<String> {
    let mut text = fs::read_to_string(root().join(file)).with_context(|| file.to_owned())?;
    for [example, value] in values {
        anyhow::ensure!(text.contains(example), "{file} has no {example:?}");
        text = text.replace(example, value);
    }
    Ok(text)
}

/// A path as an argument.
pub(crate) fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

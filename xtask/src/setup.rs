//! What the tests need beyond cargo, installed where it is missing.

use anyhow::{Context, Result};

use crate::run::{cargo, command, root};

/// Programs and the Debian packages that bring them.
const PROGRAMS: [(&str, &str, &str); 18] = [
    ("caddy", "version", "caddy"),
    ("chromium", "--version", "chromium"),
    ("faketime", "--version", "faketime"),
    ("haproxy", "-v", "haproxy"),
    ("musl-gcc", "--version", "musl-tools"),
    ("nats-server", "--version", "nats-server"),
    ("nginx", "-v", "nginx-light"),
    ("node", "--version", "nodejs npm"),
    ("openssl", "version", "openssl"),
    ("patch", "--version", "patch"),
    ("prometheus", "--version", "prometheus"),
    ("psql", "--version", "postgresql"),
    ("python3", "--version", "python3 python3-venv"),
    ("readelf", "--version", "binutils"),
    ("redis-server", "--version", "redis-server"),
    ("supervisord", "--version", "supervisor"),
    ("systemd-analyze", "--version", "systemd"),
    ("valgrind", "--version", "valgrind"),
];

/// What the container image is built for.
pub(crate) const IMAGE: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-musl"
} else {
    "x86_64-unknown-linux-musl"
};

/// Everything.
pub(crate) fn all() -> Result<()> {
    programs()?;
    image_target();
    npm()?;
    fuzzer()?;
    python_env("autobahn", "kosoku==0.1.0").map(|_| ())
}

/// For the container image. A Rust that does not come by rustup, or a network without its server, has all
/// else tested; the image's tests say that they were skipped.
fn image_target() {
    if let Err(error) = command("rustup", &["target", "add", IMAGE]).run() {
        println!("{error}: the container image will not be tested");
    }
}

/// Whether the image can be built here.
pub(crate) fn has_image_target() -> bool {
    let libraries = command("rustc", &["--print", "target-libdir", "--target", IMAGE]).stdout();
    libraries.is_some_and(|folder| std::path::Path::new(folder.trim()).is_dir())
}

fn programs() -> Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, version, _)| !command(program, &[version]).succeeds())
        .flat_map(|(_, _, packages)| packages.split(' '))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let apt = |args: &[&str]| {
        // Without root it is asked for; with it, sudo need not exist.
        if command("id", &["-u"]).says_root() {
            command("apt-get", args)
        } else {
            command("sudo", &[&["apt-get"], args].concat())
        }
    };
    apt(&["update", "-q"]).run()?;
    let install = [&["install", "-qy", "--no-install-recommends"], &missing[..]].concat();
    apt(&install).run().with_context(|| format!("install these by hand: {}", missing.join(" ")))
}

fn npm() -> Result<()> {
    let args = ["ci", "--no-fund", "--no-audit"];
    for folder in ["e2e", "packages/vue"] {
        command("npm", &args).current_dir(root().join(folder)).run()?;
    }
    Ok(())
}

fn fuzzer() -> Result<()> {
    if command("cargo", &["fuzz", "--version"]).succeeds() {
        return Ok(());
    }
    cargo(&["install", "--locked", "cargo-fuzz"])
}

/// A Python environment below `target/` with one package. The folder that its programs are in.
pub(crate) fn python_env(name: &str, package: &str) -> Result<std::path::PathBuf> {
    let folder = root().join("target/python").join(name);
    let programs = folder.join("bin");
    let (python, folder) = (programs.join("python"), folder.to_string_lossy().into_owned());
    let python = python.to_string_lossy().into_owned();
    let (module, _) = package.split_once("==").unwrap_or((package, ""));
    if !command(&python, &["-c", &format!("import {module}")]).succeeds() {
        command("python3", &["-m", "venv", &folder]).run()?;
        command(&python, &["-m", "pip", "install", "-q", package]).run()?;
    }
    Ok(programs)
}

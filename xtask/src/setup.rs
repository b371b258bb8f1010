//! What the tests need beyond cargo, installed where it is missing.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{cargo, command, root};

/// Programs of cargo and what `cargo install` is given. nextest without its self-update has half the crates.
const CARGO_PROGRAMS: [(&str, &[&str]); 2] = [
    ("fuzz", &["cargo-fuzz"]),
    ("nextest", &["cargo-nextest", "--no-default-features", "--features", "default-no-update"]),
];

/// Programs, how to ask their version, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str, &str); 30] = [
    (ARM_COMPILER, "--version", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
    ("busybox", "--help", "busybox-static"),
    ("bwrap", "--version", "bubblewrap"),
    ("caddy", "version", "caddy"),
    ("chromium-headless-shell", "--version", "chromium-headless-shell"),
    ("composer", "--version", "composer php-laravel-framework php-zip"),
    ("curl", "--version", "curl"),
    ("faketime", "--version", "faketime"),
    ("go", "version", "golang-go"),
    ("haproxy", "-v", "haproxy"),
    ("mmdebstrap", "--version", "mmdebstrap"),
    ("musl-gcc", "--version", "musl-tools"),
    ("nats-server", "--version", "nats-server"),
    ("nginx", "-v", "nginx-light"),
    ("node", "--version", "nodejs npm"),
    ("openssl", "version", "openssl"),
    ("patch", "--version", "patch"),
    ("pkill", "--version", "procps"),
    ("prometheus", "--version", "prometheus"),
    ("psql", "--version", "postgresql"),
    ("python3", "--version", "python3 python3-venv"),
    ("qemu-aarch64-static", "--version", "qemu-user-static"),
    ("readelf", "--version", "binutils"),
    ("redis-server", "--version", "redis-server"),
    ("rpmbuild", "--version", "rpm"),
    ("ruby", "--version", "ruby"),
    ("supervisord", "--version", "supervisor"),
    ("systemd-analyze", "--version", "systemd"),
    ("umoci", "--version", "umoci"),
    ("valgrind", "--version", "valgrind"),
];

/// The target of the container image.
pub(crate) const IMAGE: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-musl"
} else {
    "x86_64-unknown-linux-musl"
};

/// The target for 64-bit Arm, and the compiler for it.
pub(crate) const ARM: &str = "aarch64-unknown-linux-musl";
pub(crate) const ARM_COMPILER: &str = "aarch64-linux-gnu-gcc";

/// Folders whose npm packages the tests need.
const NPM_FOLDERS: [&str; 6] = [
    "e2e",
    "packages/js",
    "packages/vue",
    "packages/react",
    "packages/react/test/react-18",
    "site",
];

/// An archive of the system in which packages are tested.
const CLEAN_ROOT: &str = "target/clean-root.tar";

/// Installs everything.
pub(crate) fn all() -> Result<()> {
    programs()?;
    static_targets();
    clean_root();
    for folder in NPM_FOLDERS {
        npm_ci(folder)?;
    }
    for (name, args) in CARGO_PROGRAMS {
        cargo_program(name, args)?;
    }
    python_env("autobahn", &["kosoku==0.1.0"])?;
    let requirements = root().join("e2e/python/requirements.txt");
    let requirements = requirements.to_str().context("the path of the repository is not UTF-8")?;
    python_env("e2e", &["-r", requirements]).map(|_| ())
}

/// Installs the targets of static programs. A Rust without rustup, or a network without its server, still has
/// everything else tested.
fn static_targets() {
    for target in [IMAGE, ARM].into_iter().filter(|target| !has_target(target)) {
        if let Err(error) = command("rustup", &["target", "add", target]).run() {
            println!("{error}: the program for {target} will not be built");
        }
    }
}

/// Downloads a system with nothing but Debian's essential packages, in which packages are installed.
/// Without it, everything else is tested.
fn clean_root() {
    let file = root().join(CLEAN_ROOT);
    if file.is_file() {
        return;
    }
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = os.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let new = root().join("target/clean-root.new.tar").to_string_lossy().into_owned();
    let args =
        ["--quiet", "--variant=essential", "--include=passwd", suite.unwrap_or("stable"), &new];
    let made = command("mmdebstrap", &args).run();
    if let Err(error) = made.and_then(|()| Ok(fs::rename(&new, &file)?)) {
        println!("{error}: the Debian and RPM packages will not be tested");
    }
}

/// Whether the image can be built here.
pub(crate) fn has_image_target() -> bool {
    has_target(IMAGE)
}

/// Whether Rust's library is installed for a target.
pub(crate) fn has_target(target: &str) -> bool {
    let libraries = command("rustc", &["--print", "target-libdir", "--target", target]).stdout();
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
        // Where this is the root user, sudo may not exist.
        if command("id", &["-u"]).stdout().is_some_and(|id| id.trim() == "0") {
            command("apt-get", args)
        } else {
            command("sudo", &[&["apt-get"], args].concat())
        }
    };
    apt(&["update", "-q"]).run()?;
    let install = [&["install", "-qy", "--no-install-recommends"], &missing[..]].concat();
    apt(&install).run().with_context(|| format!("install these by hand: {}", missing.join(" ")))
}

/// Installs a folder's npm packages, unless they are those of its lock file already.
pub(crate) fn npm_ci(folder: &str) -> Result<()> {
    let folder = root().join(folder);
    let installed = folder.join("node_modules/.lock-of-xtask");
    let lock = fs::read(folder.join("package-lock.json"))?;
    if fs::read(&installed).is_ok_and(|old| old == lock) {
        return Ok(());
    }
    command("npm", &["ci", "--no-fund", "--no-audit"]).current_dir(folder).run()?;
    Ok(fs::write(installed, lock)?)
}

fn cargo_program(name: &str, args: &[&str]) -> Result<()> {
    if command("cargo", &[name, "--version"]).succeeds() {
        return Ok(());
    }
    cargo(&[&["install", "--locked"], args].concat())
}

/// Creates a Python environment below `target/` with packages, as pip takes them. Returns the folder of its
/// programs.
pub(crate) fn python_env(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = root().join("target/python").join(name);
    let programs = folder.join("bin");
    let installed = folder.join("installed");
    // The requirements themselves, where pip is given a file.
    let wanted: Vec<String> = packages
        .iter()
        .map(|package| fs::read_to_string(package).unwrap_or_else(|_| (*package).to_owned()))
        .collect();
    let wanted = wanted.join("\n");
    if fs::read_to_string(&installed).is_ok_and(|old| old == wanted) {
        return Ok(programs);
    }
    let python = programs.join("python");
    let folder = folder.to_string_lossy().into_owned();
    command("python3", &["-m", "venv", "--clear", &folder]).run()?;
    let pip = [&["-m", "pip", "install", "-q"], packages].concat();
    command(&python.to_string_lossy(), &pip).run()?;
    fs::write(installed, wanted)?;
    Ok(programs)
}

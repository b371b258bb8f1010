//! `cargo xtask dist`: the files of a release, in `dist/`.

mod checksums;
mod composer;
mod crates;
mod debian;
mod formula;
mod image;
mod npm;
mod release;
mod rpm;
mod sbom;
mod tarball;
mod tree;
mod wheel;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::run::{command, root};
use crate::setup::{ARM, ARM_COMPILER, IMAGE, has_image_target, has_target};
use crate::{build, e2e};
use release::{PLATFORMS, Release, copy_file, path};

/// Packages the programs for Linux on Intel and Arm. `--binaries FOLDER` names a folder with stripped programs, as
/// `TARGET/clarim`, and packages those.
pub(crate) fn run(args: &[String]) -> Result<()> {
    match args {
        [] => {
            let folder = build_own()?;
            if IMAGE != ARM && has_target(ARM) && command(ARM_COMPILER, &["--version"]).succeeds() {
                let stripped = binary(&folder, ARM)?;
                let program = path(&build::arm()?);
                command("aarch64-linux-gnu-strip", &["-o", &stripped, &program]).run()?;
            } else if IMAGE != ARM {
                println!("without {ARM}: cargo xtask setup installs what its build needs");
            }
            package(folder)
        }
        [option, folder] if option == "--binaries" => package(root().join(folder)),
        _ => bail!("the only option is --binaries FOLDER"),
    }
}

/// Builds the program of the container image. Returns the folder of the programs, in which it is the only one.
fn build_own() -> Result<PathBuf> {
    ensure!(
        has_image_target(),
        "install the target {IMAGE}, or name the programs with --binaries FOLDER"
    );
    let folder = root().join("target/binaries");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let stripped = binary(&folder, IMAGE)?;
    build::shipped()?;
    command("strip", &["-o", &stripped, "target/shipped/clarim"]).run()?;
    Ok(folder)
}

/// The path of a platform's program, whose folder is created.
fn binary(folder: &Path, target: &str) -> Result<String> {
    let folder = folder.join(target);
    fs::create_dir_all(&folder)?;
    Ok(path(&folder.join("clarim")))
}

/// Writes the files of a release from the programs in a folder.
fn package(binaries: PathBuf) -> Result<()> {
    let release = Release::new(binaries)?;
    let platforms: Vec<_> =
        PLATFORMS.iter().filter(|platform| release.binary(platform).is_file()).collect();
    ensure!(
        !platforms.is_empty(),
        "{} has no program: cargo xtask dist without options builds one",
        release.binaries.display()
    );
    release.clear()?;
    release.write_manual()?;
    for platform in &platforms {
        println!("{}", platform.target);
        tarball::write(&release, platform)?;
        wheel::write(&release, platform)?;
        if let Some(linux) = &platform.linux {
            let tree = tree::write(&release, platform)?;
            debian::write(&release, linux, &tree)?;
            rpm::write(&release, linux, &tree)?;
        }
        sbom::write(&release, platform)?;
    }
    image::write(&release, &platforms)?;
    npm::write(&release, &platforms)?;
    composer::write(&release)?;
    formula::write(&release, &platforms)?;
    copy_file(&root().join("packaging/install.sh"), &release.file("install.sh"))?;
    release.chart()?;
    site(&release)?;
    checksums::write(&release)
}

/// The documentation site, as a web server serves it.
fn site(release: &Release) -> Result<()> {
    build::site()?;
    release.tar(&root().join("site/dist"), &["."], &release.file("clarim-site.tar.gz"))
}

/// Packages the program of this machine's processor, and installs each file in a clean root.
pub(crate) fn test(args: &[String]) -> Result<()> {
    if args.is_empty() && !has_image_target() {
        println!("skipped: {IMAGE} is not installed");
        return Ok(());
    }
    if args.is_empty() {
        package(build_own()?)?;
    } else {
        run(args)?;
    }
    e2e::packages()
}

/// Checks that every published crate can be packaged.
pub(crate) fn crates(args: &[String]) -> Result<()> {
    ensure!(args.is_empty(), "this step has no options");
    crates::check()
}

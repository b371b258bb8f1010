//! `cargo xtask dist`: the files of a release, in `dist/`.

mod checksums;
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

use anyhow::{Result, bail, ensure};

use crate::run::{command, root};
use crate::setup::{IMAGE, has_image_target};
use crate::{build, e2e};
use release::{PLATFORMS, Release, copy_file};

/// Packages the program of each platform. Without arguments, that is the program of the container image.
/// `--binaries FOLDER` names a folder with stripped programs, as `TARGET/clarim`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let binaries = match args {
        [] => {
            ensure!(
                has_image_target(),
                "install the target {IMAGE}, or name the programs with --binaries FOLDER"
            );
            let folder = root().join("target/binaries");
            let ours = folder.join(IMAGE);
            fs::create_dir_all(&ours)?;
            build::shipped()?;
            let stripped = ours.join("clarim").to_string_lossy().into_owned();
            command("strip", &["-o", &stripped, "target/shipped/clarim"]).run()?;
            folder
        }
        [option, folder] if option == "--binaries" => root().join(folder),
        _ => bail!("the only option is --binaries FOLDER"),
    };
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

/// Packages the program, and installs each file in a clean root.
pub(crate) fn test(args: &[String]) -> Result<()> {
    if args.is_empty() && !has_image_target() {
        println!("skipped: {IMAGE} is not installed");
        return Ok(());
    }
    run(args)?;
    e2e::packages()
}

/// Checks that every published crate can be packaged.
pub(crate) fn crates(args: &[String]) -> Result<()> {
    ensure!(args.is_empty(), "this step has no options");
    crates::check()
}

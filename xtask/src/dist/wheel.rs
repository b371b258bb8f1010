//! The Python wheel with the program.

use std::fs;

use anyhow::Result;

use super::release::{Platform, Release, copy_file, filled, path};
use crate::setup::python_env;

/// Packs wheels: it writes the list of their files.
const TOOL: &str = "wheel==0.45.1";

pub(crate) fn write(release: &Release, platform: &Platform) -> Result<()> {
    let version = release.version;
    let folder = release.work(&format!("wheel-{}", platform.target))?;
    copy_file(
        &release.binary(platform),
        &folder.join(format!("clarim-{version}.data/scripts/clarim")),
    )?;
    let info = folder.join(format!("clarim-{version}.dist-info"));
    fs::create_dir_all(info.join("licenses"))?;
    fs::write(
        info.join("METADATA"),
        filled("packaging/python/METADATA", &[["{version}", version]])?,
    )?;
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy_file(&crate::run::root().join(license), &info.join("licenses").join(license))?;
    }
    let tags: String =
        platform.wheel.split('.').map(|tag| format!("Tag: py3-none-{tag}\n")).collect();
    let wheel = format!("Wheel-Version: 1.0\nGenerator: clarim\nRoot-Is-Purelib: false\n{tags}");
    fs::write(info.join("WHEEL"), wheel)?;
    let python = python_env("dist", &[TOOL])?.join("python");
    let to = path(&release.folder("python")?);
    let pack = ["-m", "wheel", "pack", "--dest-dir", &to, &path(&folder)];
    release.command(&path(&python), &pack).run()
}

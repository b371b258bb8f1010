//! The npm packages: `clarim`, one with the program for each platform, and those for pages.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::release::{Platform, Release, copy, copy_file, path};
use crate::run::{command, root};
use crate::{build, demo};

pub(crate) fn write(release: &Release, platforms: &[&Platform]) -> Result<()> {
    let to = release.folder("npm")?;
    let work = release.work("npm")?;
    let mut programs = json!({});
    for platform in platforms {
        let name = format!("@clarim/{}", platform.npm);
        let folder = work.join(platform.npm);
        let (os, cpu) = platform.npm.split_once('-').context("a platform of npm")?;
        let mut package = manifest(release)?;
        package["name"] = json!(name);
        package["description"] = json!(format!("The program of the package clarim for {os} {cpu}"));
        package["os"] = json!([os]);
        package["cpu"] = json!([cpu]);
        package["files"] = json!(["bin"]);
        copy_file(&release.binary(platform), &folder.join("bin/clarim"))?;
        pack(&package, &folder, &to)?;
        programs[&name] = json!(release.version);
    }
    let folder = work.join("clarim");
    let mut package = manifest(release)?;
    package["bin"] = json!({"clarim": "clarim.js"});
    package["files"] = json!(["clarim.js"]);
    package["optionalDependencies"] = programs;
    for file in ["clarim.js", "README.md"] {
        copy(&format!("packaging/npm/{file}"), &folder)?;
    }
    pack(&package, &folder, &to)?;
    for package in ["packages/js", "packages/vue", "packages/react"] {
        let name = format!("clarim-{}-{}.tgz", &package["packages/".len()..], release.version);
        let packed = root().join("target/packed").join(&name);
        // In a suite, the demo's pages have been built with it.
        if !build::is_built() || !packed.is_file() {
            demo::pack(package)?;
        }
        copy_file(&packed, &to.join(name))?;
    }
    Ok(())
}

/// The fields that the packages share.
fn manifest(release: &Release) -> Result<Value> {
    let text = fs::read_to_string(root().join("packaging/npm/package.json"))?;
    let mut package: Value = serde_json::from_str(&text)?;
    package["version"] = json!(release.version);
    Ok(package)
}

fn pack(package: &Value, folder: &Path, to: &Path) -> Result<()> {
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(license, folder)?;
    }
    fs::write(folder.join("package.json"), format!("{package:#}\n"))?;
    let pack = ["pack", "--silent", "--pack-destination", &path(to)];
    command("npm", &pack).current_dir(folder.to_owned()).run()
}

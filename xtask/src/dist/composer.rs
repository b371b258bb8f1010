//! The composer package, as a repository of the type "artifact" takes it.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::release::{Release, copy};

pub(crate) fn write(release: &Release) -> Result<()> {
    let folder = release.work("composer")?.join("laravel");
    for part in ["composer.json", "config", "README.md", "src"] {
        copy(&format!("packages/laravel/{part}"), &folder)?;
    }
    for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(license, &folder)?;
    }
    let file = folder.join("composer.json");
    let mut package: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    package["version"] = json!(release.version);
    fs::write(&file, format!("{package:#}\n"))?;
    let to = release.folder("composer")?.join(format!("clarim-laravel-{}.tgz", release.version));
    let parent = folder.parent().context("the folder is in another")?;
    release.tar(parent, &["laravel"], &to)
}

//! The `.tar.gz` with the program.

use anyhow::Result;

use super::release::{Platform, Release, copy, copy_file, path};

/// Files beside the program.
const BESIDE: [&str; 6] =
    ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "README.pt-BR.md", "CHANGELOG.md", "deploy"];

/// Name of the file: the same for each version, so that a link to the latest release has no version.
pub(crate) fn name(platform: &Platform) -> String {
    format!("clarim-{}.tar.gz", platform.target)
}

pub(crate) fn write(release: &Release, platform: &Platform) -> Result<()> {
    let top = format!("clarim-{}", platform.target);
    let work = release.work("tarball")?;
    let folder = work.join(&top);
    copy_file(&release.binary(platform), &folder.join("clarim"))?;
    for name in BESIDE {
        copy(name, &folder)?;
    }
    for generated in [release.completions(), release.man()] {
        copy(&path(&generated), &folder)?;
    }
    release.tar(&work, &[&top], &release.file(&name(platform)))
}

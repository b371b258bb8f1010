//! The RPM package, by rpmbuild.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::release::{Linux, Release, path};

pub(crate) fn write(release: &Release, linux: &Linux, tree: &Path) -> Result<()> {
    let work = release.work(&format!("rpm-{}", linux.rpm))?;
    let defines = [
        format!("_topdir {}", path(&work)),
        format!("clarim_version {}", release.version),
        format!("clarim_tree {}", path(tree)),
        "use_source_date_epoch_as_buildtime 1".to_owned(),
        "clamp_mtime_to_source_date_epoch 1".to_owned(),
        "_buildhost clarim".to_owned(),
    ];
    let defines: Vec<&str> = defines.iter().flat_map(|it| ["--define", it]).collect();
    let args = ["-bb", "--quiet", "--target", linux.rpm, "packaging/rpm/clarim.spec"];
    release.command("rpmbuild", &args).args(&defines).run()?;
    let name = format!("clarim-{}-1.{}.rpm", release.version, linux.rpm);
    fs::rename(work.join("RPMS").join(linux.rpm).join(&name), release.file(&name))?;
    Ok(())
}

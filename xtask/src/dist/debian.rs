//! The Debian package, by dpkg-deb.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;

use super::release::{Linux, Release, copy, filled, path};
use crate::run::command;

/// Scripts that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

pub(crate) fn write(release: &Release, linux: &Linux, tree: &Path) -> Result<()> {
    let work = release.work(&format!("debian-{}", linux.deb))?;
    copy(&path(tree), &work)?;
    let top = work.join(tree.file_name().unwrap_or_default());
    let control = top.join("DEBIAN");
    fs::create_dir_all(&control)?;
    let size = command("du", &["-sk", &path(&top)]).stdout().unwrap_or_default();
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let values = [["{version}", release.version], ["{arch}", linux.deb], ["{size}", &size]];
    fs::write(control.join("control"), filled("packaging/debian/control", &values)?)?;
    fs::write(control.join("conffiles"), "/etc/clarim/clarim.toml\n")?;
    for name in SCRIPTS {
        let script = control.join(name);
        fs::write(&script, filled(&format!("packaging/debian/{name}"), &[])?)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    }
    let to = release.file(&format!("clarim_{}-1_{}.deb", release.version, linux.deb));
    // The highest level takes five times as long for a seventh less.
    let build = ["--root-owner-group", "-Zxz", "-z1", "--build", &path(&top), &path(&to)];
    release.command("dpkg-deb", &build).run()
}

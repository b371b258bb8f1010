//! The files that Linux packages install.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::Result;

use super::release::{Platform, Release, copy_file, filled, path};
use crate::run::{command, root};

/// Writes them below a folder.
pub(crate) fn write(release: &Release, platform: &Platform) -> Result<PathBuf> {
    let tree = release.work(&format!("tree-{}", platform.target))?;
    copy_file(&release.binary(platform), &tree.join("usr/bin/clarim"))?;
    let unit = filled(
        "deploy/systemd/clarim.service",
        &[
            ["/usr/local/bin/clarim", "/usr/bin/clarim"],
            // The package has created the user, who also owns the files in /etc/clarim.
            ["DynamicUser=yes", "User=clarim\nGroup=clarim\nRemoveIPC=yes\nRestrictSUIDSGID=yes"],
            ["[Service]\n", "[Service]\nEnvironment=CLARIM_CONFIG=/etc/clarim/clarim.toml\n"],
            [
                "# Copy to /etc/systemd/system/. Put the settings (REVERB_… and CLARIM_…) into /etc/clarim/clarim.env, which can be\n# readable by root only.\n",
                "# The settings are in /etc/clarim. Change this unit with `systemctl edit clarim`.\n",
            ],
        ],
    )?;
    let files = [
        ["usr/lib/systemd/system/clarim.service", &unit],
        ["etc/clarim/clarim.toml", &filled("packaging/config/clarim.toml", &[])?],
        ["usr/share/doc/clarim/copyright", &copyright()?],
    ];
    for [name, text] in files {
        let file = tree.join(name);
        copy_file(&root().join("LICENSE-MIT"), &file)?;
        fs::write(&file, text)?;
    }
    let completions = release.completions();
    for [from, to] in [
        ["clarim.bash", "bash-completion/completions/clarim"],
        ["_clarim", "zsh/vendor-completions/_clarim"],
        ["clarim.fish", "fish/vendor_completions.d/clarim.fish"],
    ] {
        copy_file(&completions.join(from), &tree.join("usr/share").join(to))?;
    }
    let pages = tree.join("usr/share/man/man1");
    for page in fs::read_dir(release.man())? {
        let page = page?;
        let copy = pages.join(page.file_name());
        copy_file(&page.path(), &copy)?;
        command("gzip", &["-9n", &path(&copy)]).run()?;
    }
    command("chmod", &["-R", "u=rwX,go=rX", &path(&tree)]).run()?;
    // It may hold secrets.
    fs::set_permissions(tree.join("etc/clarim/clarim.toml"), fs::Permissions::from_mode(0o640))?;
    Ok(tree)
}

fn copyright() -> Result<String> {
    let read = |name: &str| fs::read_to_string(root().join(name));
    Ok(format!(
        "Clarim is licensed under MIT or Apache-2.0, at your option.\n\n{}\n\n{}",
        read("LICENSE-MIT")?,
        read("LICENSE-APACHE")?
    ))
}

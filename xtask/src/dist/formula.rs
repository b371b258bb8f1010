//! The Homebrew formula.

use std::fs;

use anyhow::Result;

use super::release::{Platform, REPOSITORY, Release, filled};
use super::{checksums, tarball};

pub(crate) fn write(release: &Release, platforms: &[&Platform]) -> Result<()> {
    let mut downloads = String::new();
    for platform in platforms {
        let [system, cpu] = platform.brew;
        let file = tarball::name(platform);
        let digest = checksums::of_file(&release.file(&file))?;
        downloads += &format!(
            "  {system} do\n    {cpu} do\n      \
             url \"{REPOSITORY}/releases/download/v{}/{file}\"\n      \
             sha256 \"{digest}\"\n    end\n  end\n\n",
            release.version
        );
    }
    let values = [["{version}", release.version], ["{downloads}\n\n", &downloads]];
    Ok(fs::write(release.file("clarim.rb"), filled("packaging/homebrew/clarim.rb", &values)?)?)
}

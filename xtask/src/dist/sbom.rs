//! The bill of materials of a program, in CycloneDX's format.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::release::{Platform, Release};
use crate::run::{command, root};
use crate::steps::PROGRAM;

/// A crate that the program contains.
#[derive(Default)]
struct Component {
    license: String,
    dependencies: Vec<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

pub(crate) fn write(release: &Release, platform: &Platform) -> Result<()> {
    let tree = [
        "tree",
        "--locked",
        "-p",
        PROGRAM,
        "-e",
        "normal",
        "--prefix",
        "depth",
        "--target",
        platform.target,
        "-f",
        "\t{p}\t{l}",
    ];
    let tree = command("cargo", &tree).stdout().context("cargo tree failed")?;
    let components = components(&tree)?;
    let lock: Lock = toml::from_str(&fs::read_to_string(root().join("Cargo.lock"))?)?;
    let checksums: BTreeMap<String, String> = lock
        .package
        .into_iter()
        .filter_map(|it| Some((purl(&it.name, &it.version), it.checksum?)))
        .collect();
    let described: Vec<Value> = components
        .iter()
        .filter(|(purl, _)| !purl.starts_with(&purl_of_program()))
        .map(|(purl, component)| describe(purl, component, checksums.get(purl)))
        .collect();
    let edges: Vec<Value> = components
        .iter()
        .map(|(purl, it)| json!({"ref": purl, "dependsOn": it.dependencies}))
        .collect();
    let program = purl(PROGRAM, release.version);
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application", "bom-ref": program, "name": "clarim",
            "version": release.version, "purl": program,
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
        }},
        "components": described,
        "dependencies": edges,
    });
    Ok(fs::write(
        release.file(&format!("clarim-{}.cdx.json", platform.target)),
        format!("{bom:#}\n"),
    )?)
}

fn purl(name: &str, version: &str) -> String {
    format!("pkg:cargo/{name}@{version}")
}

fn purl_of_program() -> String {
    format!("pkg:cargo/{PROGRAM}@")
}

/// Reads lines such as `2<tab>serde v1.0.0<tab>MIT`. A crate that comes again has no lines below it.
fn components(tree: &str) -> Result<BTreeMap<String, Component>> {
    let mut components: BTreeMap<String, Component> = BTreeMap::new();
    let mut above: Vec<String> = Vec::new();
    for line in tree.lines() {
        let mut fields = line.split('\t');
        let mut field = || fields.next().with_context(|| format!("cargo tree: {line}"));
        let depth: usize = field()?.parse()?;
        let package = field()?;
        let license = field()?.trim_end_matches(" (*)").to_owned();
        let (name, rest) = package.split_once(" v").context("a crate without a version")?;
        let version = rest.split(' ').next().unwrap_or(rest);
        let this = purl(name, version);
        above.truncate(depth);
        if let Some(parent) = above.last().and_then(|parent| components.get_mut(parent))
            && !parent.dependencies.contains(&this)
        {
            parent.dependencies.push(this.clone());
        }
        components.entry(this.clone()).or_default().license = license;
        above.push(this);
    }
    Ok(components)
}

fn describe(purl: &str, component: &Component, checksum: Option<&String>) -> Value {
    let package = purl.trim_start_matches("pkg:cargo/");
    let (name, version) = package.split_once('@').unwrap_or((package, ""));
    let mut described = json!({
        "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
    });
    if !component.license.is_empty() {
        // Older crates separate licenses by a slash.
        let license = component.license.replace('/', " OR ");
        described["licenses"] = json!([{"expression": license}]);
    }
    if let Some(checksum) = checksum {
        described["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    described
}

//! Each feature of the published crates by itself: code behind one feature must not need another.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run::{cargo_command, command};

/// Arguments are crates; without any, all are checked.
pub(crate) fn check(args: &[String]) -> Result<()> {
    for (package, features) in features()? {
        if !args.is_empty() && !args.contains(&package) {
            continue;
        }
        clippy(&package, None)?;
        for feature in features.iter().filter(|name| *name != "default") {
            clippy(&package, Some(feature))?;
        }
    }
    Ok(())
}

/// The crates that have features, as their manifests have them.
fn features() -> Result<Vec<(String, Vec<String>)>> {
    let metadata = command("cargo", &["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value =
        serde_json::from_str(&metadata.stdout().context("cargo metadata failed")?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let of = |package: &Value| {
        let name = package["name"].as_str()?.to_owned();
        let features: Vec<String> = package["features"].as_object()?.keys().cloned().collect();
        (!features.is_empty()).then_some((name, features))
    };
    Ok(packages.iter().filter_map(of).collect())
}

/// Clippy, because it denies warnings in our crates without compiling the dependencies for another flag.
fn clippy(package: &str, feature: Option<&str>) -> Result<()> {
    println!("{package}: {}", feature.unwrap_or("no feature"));
    let choice: Vec<&str> = feature.into_iter().flat_map(|name| ["--features", name]).collect();
    cargo_command(&["clippy", "--quiet", "-p", package, "--no-default-features"])
        .args(&choice)
        .args(&["--", "-D", "warnings"])
        .run()
}

//! The crates that are published.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::run::{cargo, command};

/// Fields that the registry shows.
const FIELDS: [&str; 5] = ["description", "license", "repository", "homepage", "readme"];

/// Checks the manifests, and packages the crates without compiling them.
pub(crate) fn check() -> Result<()> {
    let metadata = command("cargo", &["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value =
        serde_json::from_str(&metadata.stdout().context("cargo metadata failed")?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let published: Vec<&Value> =
        packages.iter().filter(|package| package["publish"].is_null()).collect();
    let mut problems = Vec::new();
    let mut args = vec!["package", "--no-verify", "--allow-dirty", "--quiet"];
    for package in published {
        let name = package["name"].as_str().context("a package without a name")?;
        args.extend(["-p", name]);
        problems.extend(problems_of(name, package));
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    cargo(&args)
}

fn problems_of(name: &str, package: &Value) -> Vec<String> {
    let missing = FIELDS.iter().filter(|field| package[**field].is_null());
    let mut problems: Vec<String> =
        missing.map(|field| format!("{name}: its Cargo.toml has no {field}")).collect();
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    // Cargo leaves out tests' dependencies that have only a path.
    for dependency in dependencies.filter(|it| it["kind"] != "dev") {
        if !dependency["path"].is_null() && dependency["req"] == "*" {
            problems.push(format!("{name}: {} has a path and no version", dependency["name"]));
        }
    }
    problems
}

//! The front door for development: `cargo xtask` lists what there is.
#![expect(clippy::print_stdout, reason = "a command for people at a terminal")]

mod autobahn;
mod demo;
mod run;
mod setup;
mod tidy;
mod types;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use run::{cargo, command, root};

/// One thing that can be asked for.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn() -> Result<()>,
    /// Part of `cargo xtask test`.
    in_test: bool,
}

/// In the order in which `test` runs them: what fails soonest comes first.
const STEPS: [Step; 18] = [
    Step { name: "setup", what: "install what the tests need", run: setup::all, in_test: true },
    Step { name: "fmt", what: "check the formatting", run: fmt, in_test: true },
    Step { name: "tidy", what: "check the project's own rules", run: tidy::check, in_test: true },
    Step { name: "clippy", what: "lint, warnings denied", run: clippy, in_test: true },
    Step { name: "unit", what: "Rust tests of all crates", run: unit, in_test: true },
    Step { name: "doc", what: "build the documentation, warnings denied", run: doc, in_test: true },
    Step {
        name: "autobahn",
        what: "Autobahn's WebSocket suite",
        run: autobahn::run,
        in_test: true,
    },
    Step { name: "vue", what: "@clarim/vue: types and unit tests", run: vue, in_test: true },
    Step { name: "demo-web", what: "build the demo's pages", run: demo::build, in_test: true },
    Step { name: "image", what: "build the container image's program", run: image, in_test: true },
    Step { name: "e2e", what: "real clients against the real server", run: e2e, in_test: true },
    Step {
        name: "types-check",
        what: "the front end's types: up to date, and fit for use",
        run: types::check,
        in_test: true,
    },
    Step { name: "fuzz", what: "fuzz each target for a short time", run: fuzz, in_test: true },
    Step { name: "smoke", what: "a short run of each benchmark", run: smoke, in_test: true },
    Step {
        name: "instructions",
        what: "the server's instructions against their budgets",
        run: instructions,
        in_test: true,
    },
    Step {
        name: "types",
        what: "write the front end's types of the examples",
        run: types::write,
        in_test: false,
    },
    Step { name: "demo", what: "build the demo and start it", run: demo::run, in_test: false },
    Step { name: "bench", what: "measure beside the floor (minutes)", run: bench, in_test: false },
];

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let result = match name.as_str() {
        "test" | "ci" => test(),
        name => match STEPS.iter().find(|step| step.name == name) {
            Some(step) => (step.run)(),
            None => {
                help();
                return if name.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) };
            }
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn help() {
    println!("cargo xtask test         everything below that CI runs\n");
    for step in &STEPS {
        println!("cargo xtask {:<12} {}", step.name, step.what);
    }
}

fn test() -> Result<()> {
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for step in STEPS.iter().filter(|step| step.in_test) {
        println!("\n=== {}: {}", step.name, step.what);
        let started = Instant::now();
        (step.run)().with_context(|| format!("step {} (cargo xtask {0})", step.name))?;
        times.push((step.name, started.elapsed()));
    }
    println!("\n=== all steps passed");
    for (name, time) in &times {
        println!("{name:<12} {:>5} s", time.as_secs());
    }
    println!("{} passed, 0 failed", times.len());
    Ok(())
}

fn fmt() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])
}

fn clippy() -> Result<()> {
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn unit() -> Result<()> {
    cargo(&["test", "--workspace"])
}

fn doc() -> Result<()> {
    run::cargo_command(&["doc", "--workspace", "--all-features", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

fn vue() -> Result<()> {
    cargo(&["build", "-p", "clarim-cli"])?;
    command("npm", &["test"]).current_dir(root().join("packages/vue")).run()
}

/// As deploy/docker/Dockerfile does, whose commands e2e runs: so no test waits for minutes.
fn image() -> Result<()> {
    if !setup::has_image_target() {
        println!("skipped: {} is not installed", setup::IMAGE);
        return Ok(());
    }
    let args = ["build", "--release", "--locked", "--target", setup::IMAGE, "-p", "clarim-cli"];
    run::cargo_command(&args).env("CARGO_PROFILE_RELEASE_DEBUG", "none").run()
}

fn e2e() -> Result<()> {
    cargo(&["build", "-p", "clarim-cli", "-p", "clarim-demo"])?;
    command("npm", &["test"]).current_dir(root().join("apps/demo/web")).run()?;
    command("npm", &["test"]).current_dir(root().join("e2e")).run()
}

/// Time for each fuzz target, in seconds.
const FUZZ_SECONDS: u32 = 20;

fn fuzz() -> Result<()> {
    for target in ["frame", "session", "cluster"] {
        let limit = format!("-max_total_time={FUZZ_SECONDS}");
        cargo(&["fuzz", "run", "--sanitizer", "none", target, "--", &limit, "-rss_limit_mb=2048"])?;
    }
    Ok(())
}

fn smoke() -> Result<()> {
    measure(&["compare", "--quick"])
}

fn instructions() -> Result<()> {
    measure(&["instructions"])
}

/// `cargo xtask bench` measures one node beside the floor, `cargo xtask bench cluster` three together.
fn bench() -> Result<()> {
    match std::env::args().nth(2).as_deref() {
        Some("cluster") => measure(&["cluster"]),
        Some(other) => {
            bail!("{other:?} is no load; there is cluster, and without a name the floor")
        }
        None => measure(&["compare"]),
    }
}

/// Runs the load generator on what users get.
fn measure(args: &[&str]) -> Result<()> {
    cargo(&["build", "--release", "-p", "clarim-cli", "-p", "clarim-bench"])?;
    let binary = root().join("target/release/clarim-bench");
    let Some(binary) = binary.to_str() else { bail!("the path {} is no UTF-8", binary.display()) };
    command(binary, args).run()
}

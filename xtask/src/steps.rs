//! The table of steps, and those that are a few commands.

use anyhow::{Result, bail};

use crate::build::{sdk_rust, workspace};
use crate::run::{cargo, cargo_command, command, npm, root};
use crate::{autobahn, demo, e2e, features, fuzz, setup, tidy, types};

/// The package that has the program `clarim`.
pub(crate) const PROGRAM: &str = "clarim-cli";
/// Crates without I/O, whose tests take seconds.
const PURE: [&str; 3] = ["clarim-protocol", "clarim-hub", "clarim-cluster"];

/// A step of the tests, or another command.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Takes the arguments after the step's name.
    pub(crate) run: fn(&[String]) -> Result<()>,
    /// Part of `cargo xtask test`.
    pub(crate) in_test: bool,
    /// Part of `cargo xtask check`.
    pub(crate) in_check: bool,
    pub(crate) lane: Lane,
    /// Steps that must have passed before.
    pub(crate) after: &'static [&'static str],
}

/// What a step competes for. A lane runs one step at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Compiling and other computing, at low priority beside tests.
    Compute,
    /// Tests, which mostly wait.
    Tests,
    /// Nothing else may run.
    Alone,
}

impl Step {
    const fn new(
        name: &'static str,
        what: &'static str,
        lane: Lane,
        run: fn(&[String]) -> Result<()>,
    ) -> Self {
        Self { name, what, run, in_test: false, in_check: false, lane, after: &[] }
    }

    const fn in_test(mut self, after: &'static [&'static str]) -> Self {
        self.in_test = true;
        self.after = after;
        self
    }

    const fn in_check(mut self) -> Self {
        self.in_check = true;
        self
    }
}

/// Each lane runs its steps in this order: what fails soonest comes first, and tests start as soon as what
/// they need is built.
pub(crate) const STEPS: [Step; 26] = {
    use Lane::{Alone, Compute, Tests};
    [
        Step::new("setup", "install what the tests need", Tests, |_| setup::all()).in_test(&[]),
        Step::new("fmt", "check the formatting", Compute, |_| fmt()).in_test(&[]).in_check(),
        Step::new("tidy", "check the project's own rules", Compute, tidy::run)
            .in_test(&[])
            .in_check(),
        Step::new("clippy", "lint, warnings denied", Compute, clippy).in_test(&[]).in_check(),
        Step::new("pure", "tests of the crates without I/O", Compute, pure).in_check(),
        Step::new("build", "build all programs and tests", Compute, |_| workspace())
            .in_test(&["setup"]),
        Step::new("unit", "Rust tests of all crates", Tests, unit).in_test(&["build"]),
        Step::new("js", "@clarim/js: types and unit tests", Tests, |_| {
            npm("packages/js", &["test"])
        })
        .in_test(&["setup"]),
        Step::new("vue", "@clarim/vue: types and unit tests", Tests, |_| vue())
            .in_test(&["setup", "build"]),
        Step::new("demo-web", "build the demo's pages and test them", Compute, |_| demo_web())
            .in_test(&["setup"]),
        Step::new("e2e", "real clients against the real server", Tests, e2e::run)
            .in_test(&["build", "demo-web", "sdk-rust"]),
        Step::new("sdk-rust", "build the client of the Rust SDK", Compute, |_| sdk_rust())
            .in_test(&[]),
        Step::new("doctest", "examples in the documentation", Compute, doctest).in_test(&["build"]),
        Step::new("types-check", "generated TypeScript is up to date", Compute, |_| types::check())
            .in_test(&["build"]),
        // Its cases have limits of time.
        Step::new("autobahn", "Autobahn's WebSocket suite", Compute, |_| autobahn::run())
            .in_test(&["build", "e2e"]),
        Step::new("doc", "build the documentation, warnings denied", Compute, |_| doc())
            .in_test(&["clippy"]),
        Step::new(
            "newcomer",
            "what the README and the tutorial tell to type",
            Compute,
            e2e::newcomer,
        )
        // Its tests have limits of time, and it builds with other programs' features: not beside e2e.
        .in_test(&["demo-web", "build", "e2e"]),
        Step::new("features", "check each feature by itself", Compute, features::check),
        Step::new("image", "build and run the container image's program", Compute, e2e::image)
            .in_test(&["build"]),
        Step::new("fuzz", "fuzz each target for a short time", Compute, fuzz::run)
            .in_test(&["setup"]),
        Step::new("release", "build the optimized server and load generator", Compute, |_| {
            release()
        })
        .in_test(&[]),
        Step::new(
            "instructions",
            "the server's instructions against their budgets",
            Compute,
            instructions,
        )
        .in_test(&["setup", "release"]),
        Step::new("smoke", "a short run of each benchmark", Alone, smoke).in_test(&["release"]),
        Step::new("types", "write the front end's types of the examples", Compute, |_| {
            types::write()
        }),
        Step::new("demo", "build the demo and start it", Alone, |_| demo::run()),
        Step::new("bench", "measure beside the floor (minutes)", Alone, bench),
    ]
};

fn fmt() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])
}

/// With all features, as `doc` has it: both then share what is known of the dependencies.
fn clippy(args: &[String]) -> Result<()> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features"];
    cargo_command(&clippy).args(args).args(&["--", "-D", "warnings"]).run()
}

fn doc() -> Result<()> {
    cargo_command(&["doc", "--workspace", "--all-features", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

fn pure(args: &[String]) -> Result<()> {
    let packages: Vec<&str> = PURE.iter().flat_map(|package| ["-p", package]).collect();
    cargo_command(&["nextest", "run"]).args(&packages).args(args).run()
}

/// Arguments are cargo-nextest's: a part of a test's name, or `-p CRATE`.
fn unit(args: &[String]) -> Result<()> {
    let chooses = args.iter().any(|arg| arg == "-p" || arg.starts_with("--package"));
    let packages: &[&str] = if chooses { &[] } else { &["--workspace"] };
    cargo_command(&["nextest", "run"]).args(packages).args(args).run()
}

/// cargo-nextest runs no examples of the documentation.
fn doctest(args: &[String]) -> Result<()> {
    cargo_command(&["test", "--quiet", "--workspace", "--doc"]).args(args).run()
}

fn vue() -> Result<()> {
    workspace()?;
    npm("packages/vue", &["test"])
}

fn demo_web() -> Result<()> {
    demo::build()?;
    npm("apps/demo/web", &["test"])
}

/// What `bench` runs, and users get.
fn release() -> Result<()> {
    cargo(&["build", "--release", "-p", PROGRAM, "-p", "clarim-bench"])
}

fn smoke(args: &[String]) -> Result<()> {
    measure(&["compare", "--quick"], args)
}

fn instructions(args: &[String]) -> Result<()> {
    measure(&["instructions"], args)
}

/// `cargo xtask bench` measures one node beside the floor, `cargo xtask bench cluster` three together.
fn bench(args: &[String]) -> Result<()> {
    match args.first().map(String::as_str) {
        Some("cluster") => measure(&["cluster"], &args[1..]),
        Some(other) if !other.starts_with('-') => {
            bail!("there is no load {other:?}: use cluster, or no name for the floor")
        }
        _ => measure(&["compare"], args),
    }
}

/// Runs the load generator on the release build.
fn measure(load: &[&str], args: &[String]) -> Result<()> {
    release()?;
    let binary = root().join("target/release/clarim-bench");
    let Some(binary) = binary.to_str() else { bail!("not UTF-8: {}", binary.display()) };
    command(binary, load).args(args).run()
}

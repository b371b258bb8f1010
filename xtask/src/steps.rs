//! The table of steps, and those that are a few commands.

use anyhow::{Context, Result, bail};

use crate::build::{self, sdk_rust, workspace};
use crate::run::{cargo, cargo_command, command, npm, root};
use crate::{autobahn, demo, dist, e2e, features, fuzz, setup, tidy, types};

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
    /// Tests with real clients, which mostly wait too.
    Clients,
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

/// Each lane runs its steps in this order: first what tests wait for, so that they wait while others compile.
pub(crate) const STEPS: [Step; 34] = {
    use Lane::{Alone, Clients, Compute, Tests};
    [
        Step::new("setup", "install what the tests need", Tests, |_| setup::all()).in_test(&[]),
        Step::new("fmt", "check the formatting", Compute, |_| fmt()).in_test(&[]).in_check(),
        Step::new("tidy", "check the project's own rules", Compute, tidy::run)
            .in_test(&[])
            .in_check(),
        Step::new("build", "build all programs and tests", Compute, |_| workspace()).in_test(&[]),
        Step::new("unit", "Rust tests of all crates", Tests, unit).in_test(&["setup", "build"]),
        Step::new("demo-web", "build the pages in apps and test them", Clients, |_| demo_web())
            .in_test(&["setup"]),
        Step::new("sdk-rust", "build the client of the Rust SDK", Compute, |_| sdk_rust())
            .in_test(&[]),
        Step::new("e2e", "real clients against the real server", Tests, e2e::run)
            .in_test(&["build", "demo-web", "sdk-rust", "unit"]),
        Step::new("browser", "pages in Chromium", Clients, e2e::browser)
            .in_test(&["build", "demo-web", "unit"]),
        Step::new("js", "@clarim/js: types and unit tests", Tests, |_| {
            npm("packages/js", &["test"])
        })
        .in_test(&["setup"]),
        Step::new("vue", "@clarim/vue: types and unit tests", Tests, |_| on_server("packages/vue"))
            .in_test(&["setup", "build"]),
        Step::new("react", "@clarim/react: types and unit tests", Tests, |_| {
            on_server("packages/react")
        })
        .in_test(&["setup", "build"]),
        Step::new("site", "build the documentation site and check its links", Compute, |_| site())
            .in_test(&["setup"]),
        Step::new("doctest", "examples in the documentation", Compute, doctest).in_test(&["build"]),
        Step::new("types-check", "generated TypeScript is up to date", Compute, |_| types::check())
            .in_test(&["setup", "build"]),
        Step::new("clippy", "lint, warnings denied", Compute, clippy).in_test(&[]).in_check(),
        Step::new("pure", "tests of the crates without I/O", Compute, pure).in_check(),
        Step::new("doc", "build the documentation, warnings denied", Compute, |_| doc())
            .in_test(&["clippy"]),
        Step::new("release", "build the program as the container image has it", Compute, |_| {
            build::shipped()
        })
        .in_test(&["setup"]),
        Step::new(
            "instructions",
            "the server's instructions against their budgets",
            Compute,
            instructions,
        )
        .in_test(&["setup", "build", "release"]),
        Step::new("image", "build and run the container image's program", Compute, e2e::image)
            .in_test(&["build", "release"]),
        Step::new(
            "packages",
            "install each file of a release in a clean root",
            Clients,
            dist::test,
        )
        .in_test(&["setup", "build", "release", "demo-web", "site"]),
        Step::new("crates", "package each published crate", Compute, dist::crates)
            .in_test(&["build"]),
        Step::new("fuzz", "fuzz each target for a short time", Compute, fuzz::run)
            .in_test(&["setup"]),
        // Its cases have limits of time, so that it does not run beside other tests. Nor does what it builds
        // wait for cargo in another step, and the same goes for the newcomer's builds.
        Step::new("autobahn", "Autobahn's WebSocket suite", Clients, |_| autobahn::run())
            .in_test(&["unit", "e2e", "browser", "clippy", "doc", "doctest"]),
        Step::new(
            "newcomer",
            "what the README and the tutorial tell to type",
            Clients,
            e2e::newcomer,
        )
        .in_test(&["e2e", "browser", "clippy", "doc", "doctest"]),
        Step::new("features", "check each feature by itself", Compute, features::check),
        Step::new("smoke", "a short run of each benchmark", Alone, smoke)
            .in_test(&["build", "release"]),
        Step::new("types", "write the front end's types of the examples", Compute, |_| {
            types::write()
        }),
        Step::new("dist", "build the files of a release, in dist/", Alone, dist::run),
        Step::new("demo", "build the demo and start it", Alone, |_| demo::run()),
        Step::new("inertia", "build the application with Inertia and start it", Alone, |_| {
            demo::run_inertia()
        }),
        Step::new("pictures", "make the pictures in docs/pictures again", Alone, |_| {
            demo::build(&[demo::DEMO])?;
            e2e::pictures()
        }),
        Step::new("bench", "measure beside the floor (minutes)", Alone, bench),
    ]
};

fn fmt() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])
}

fn clippy(args: &[String]) -> Result<()> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features"];
    cargo_command(&clippy).args(args).args(&["--", "-D", "warnings"]).run()
}

/// In the way of `clippy`, so that nothing is compiled again: with its compiler, and with the features of
/// dependencies that only tests and examples need, which an example brings in.
fn doc() -> Result<()> {
    let sysroot = command("rustc", &["--print", "sysroot"]).stdout();
    let sysroot = sysroot.context("rustc has no sysroot")?;
    let programs = ["xtask", "clarim-demo", "clarim-bench"];
    let programs: Vec<&str> = programs.iter().flat_map(|program| ["--bin", program]).collect();
    cargo_command(&["doc", "--workspace", "--all-features", "--no-deps", "--lib"])
        .args(&programs)
        .args(&["--example", "types"])
        .env("RUSTC_WORKSPACE_WRAPPER", &format!("{}/bin/clippy-driver", sysroot.trim()))
        .env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__")
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

/// Tests a front-end package against the server.
fn on_server(package: &str) -> Result<()> {
    workspace()?;
    npm(package, &["test"])
}

fn site() -> Result<()> {
    build::site()?;
    npm("site", &["test"])
}

fn demo_web() -> Result<()> {
    demo::build(&[demo::DEMO, demo::INERTIA])?;
    npm(demo::DEMO, &["test"])
}

/// With the load generator of the test build: what counts is only whether each load works.
fn smoke(args: &[String]) -> Result<()> {
    measure_shipped(&["compare", "--quick"], args)
}

/// The load generator waits for each delivery, so that its speed changes no count.
fn instructions(args: &[String]) -> Result<()> {
    measure_shipped(&["instructions"], args)
}

/// Runs the load generator of the test build on the program that the tests of the image run.
fn measure_shipped(load: &[&str], args: &[String]) -> Result<()> {
    workspace()?;
    build::shipped()?;
    measure("debug", &[load, &["--file", "bench/shipped.toml"]].concat(), args)
}

/// `cargo xtask bench` measures one node beside the floor, `cargo xtask bench cluster` three together.
fn bench(args: &[String]) -> Result<()> {
    cargo(&["build", "--release", "-p", PROGRAM, "-p", "clarim-bench"])?;
    match args.first().map(String::as_str) {
        Some("cluster") => measure("release", &["cluster"], &args[1..]),
        Some(other) if !other.starts_with('-') => {
            bail!("there is no load {other:?}: use cluster, or no name for the floor")
        }
        _ => measure("release", &["compare"], args),
    }
}

fn measure(profile: &str, load: &[&str], args: &[String]) -> Result<()> {
    let binary = root().join("target").join(profile).join("clarim-bench");
    let Some(binary) = binary.to_str() else { bail!("not UTF-8: {}", binary.display()) };
    command(binary, load).args(args).run()
}

//! The front door for development: `cargo xtask` lists what there is.
#![expect(clippy::print_stdout, reason = "a command for people at a terminal")]

mod autobahn;
mod build;
mod demo;
mod dist;
mod e2e;
mod features;
mod fuzz;
mod run;
mod setup;
mod steps;
mod suite;
mod tidy;
mod types;

use std::process::ExitCode;

use anyhow::{Result, bail};

use steps::{STEPS, Step};
use suite::Suite;

/// What makes the next build of an edited crate faster costs a fifth of the first, and gigabytes. Cargo keeps
/// such builds apart from others.
const TEST_ENV: [(&str, &str); 1] = [("CARGO_INCREMENTAL", "0")];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a suite or one step. False if a suite had failures, which it has shown.
fn dispatch(args: &[String]) -> Result<bool> {
    let Some((name, args)) = args.split_first() else {
        help();
        return Ok(true);
    };
    match name.as_str() {
        "--list" | "--help" | "-h" | "help" => help(),
        "test" | "ci" => {
            let suite = Suite::new(&STEPS, |step| step.in_test).with_env(&TEST_ENV);
            return run_suite(suite, args);
        }
        "check" => return run_suite(Suite::new(&STEPS, |step| step.in_check), args),
        name => match STEPS.iter().find(|step| step.name == name) {
            Some(step) => (step.run)(args)?,
            None => bail!("there is no step {name:?}: cargo xtask --list shows all"),
        },
    }
    Ok(true)
}

/// `test [STEP…] [--from STEP] [--list]`.
fn run_suite(mut suite: Suite, args: &[String]) -> Result<bool> {
    let mut names = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => {
                suite.steps().for_each(describe);
                return Ok(true);
            }
            "--from" => match args.next() {
                Some(name) => suite.start_from(name)?,
                None => bail!("--from needs the name of a step"),
            },
            flag if flag.starts_with('-') => bail!("unknown option {flag}"),
            name => names.push(name),
        }
    }
    if !names.is_empty() {
        suite.keep(&names)?;
    }
    suite.run()
}

fn describe(step: &Step) {
    println!("cargo xtask {:<12} {}", step.name, step.what);
}

fn help() {
    println!(
        "cargo xtask test         everything that CI runs: the steps marked with *\n\
         cargo xtask check        the fast part of it: fmt, tidy, clippy and the tests of the pure crates\n\
         \n\
         cargo xtask test STEP… runs only these steps, --from STEP the rest, --list shows them.\n\
         A single step shows its output, and takes filters: cargo xtask e2e webhooks\n"
    );
    for step in &STEPS {
        let mark = if step.in_test { '*' } else { ' ' };
        println!("cargo xtask {:<12}{mark}{}", step.name, step.what);
    }
}

//! Autobahn's WebSocket test suite, as the package `kosoku` runs it, against the engine as an echo server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::run::{cargo, command, root};
use crate::setup::python_env;

/// Cases of permessage-deflate. There are 216, each of a thousand messages: these are run in one or two
/// minutes.
const DEFLATE: [&str; 2] = ["12.*", "13.*"];

/// JSON, prose and HTML with the usual offer, then JSON with the others. Left out are: bitmap and PDF (12.2,
/// 12.5), since kosoku fails where the answer to what it compressed is not compressed; offers of a window
/// that is declined (13.3, 13.5), since it counts what was not agreed on as failed.
const DEFLATE_GROUPS: [&str; 8] = ["12.1", "12.3", "12.4", "13.1", "13.2", "13.4", "13.6", "13.7"];

/// Messages of 256 and 32768 bytes whole, of 8192 in parts of 256, of 131072 in parts of 32768.
const DEFLATE_SIZES: [u8; 4] = [3, 8, 11, 18];

/// Verdicts that are a pass: informational cases have no right or wrong.
const PASSED: [&str; 2] = ["OK", "INFORMATIONAL"];

pub(crate) fn run() -> Result<()> {
    // Of the whole workspace, so that the dependencies are those that are built already.
    let example = ["--features", "clarim-server/autobahn", "--example", "autobahn-echo"];
    cargo(&[&["build", "--workspace"], &example[..]].concat())?;
    let programs = python_env("autobahn", &["kosoku==0.1.0"])?;
    let mut server = Running::start(&root().join("target/debug/examples/autobahn-echo"))?;
    let address = server.address()?;
    let kosoku = programs.join("kosoku");
    let plain: Vec<String> =
        DEFLATE.iter().flat_map(|case| ["-x".to_owned(), (*case).to_owned()]).collect();
    let deflate: Vec<String> = DEFLATE_GROUPS
        .iter()
        .flat_map(|group| DEFLATE_SIZES.map(|size| format!("{group}.{size}")))
        .flat_map(|case| ["-i".to_owned(), case])
        .collect();
    run_cases(&kosoku, &address, &plain, "target/autobahn", 300)?;
    run_cases(&kosoku, &address, &deflate, "target/autobahn-deflate", deflate.len() / 2)
}

fn run_cases(
    kosoku: &Path,
    address: &str,
    choice: &[String],
    report: &str,
    least: usize,
) -> Result<()> {
    let folder = root().join(report).to_string_lossy().into_owned();
    let mut args: Vec<&str> = choice.iter().map(String::as_str).collect();
    args.extend(["-o", &folder, address]);
    command(&kosoku.to_string_lossy(), &args).run()?;
    let index = std::fs::read_to_string(Path::new(&folder).join("index.json"))?;
    check(&serde_json::from_str(&index)?, least).with_context(|| format!("see {report}"))
}

/// Every case of every agent must have passed, and there must be some.
fn check(index: &BTreeMap<String, BTreeMap<String, Value>>, least: usize) -> Result<()> {
    let cases: Vec<(&String, &Value)> = index.values().flatten().collect();
    ensure!(cases.len() >= least, "only {} cases were run", cases.len());
    let failed: Vec<&str> = cases
        .iter()
        .filter(|(_, case)| {
            ["behavior", "behaviorClose"]
                .iter()
                .any(|field| !PASSED.contains(&case[*field].as_str().unwrap_or_default()))
        })
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(failed.is_empty(), "cases not OK: {}", failed.join(" "));
    println!("{} cases OK", cases.len());
    Ok(())
}

/// A child that ends with its owner.
struct Running(Child);

impl Running {
    fn start(program: &Path) -> Result<Self> {
        let child = Command::new(program).stdout(Stdio::piped()).spawn();
        Ok(Self(child.with_context(|| format!("cannot start {}", program.display()))?))
    }

    /// Reads the address that the server prints once it listens.
    fn address(&mut self) -> Result<String> {
        let output = self.0.stdout.take().context("the address was read already")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim();
        ensure!(!address.is_empty(), "the echo server ended before it listened");
        Ok(address.to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait()).context("the echo server");
        if let Err(error) = ended {
            println!("{error:#}");
        }
    }
}

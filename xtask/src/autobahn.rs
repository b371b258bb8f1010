//! Autobahn's WebSocket test suite, as the package `kosoku` runs it, against the engine as an echo server.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::run::{cargo, command, root};
use crate::setup::python_env;

/// Cases of the extension permessage-deflate, which is declined.
const EXCLUDED: [&str; 2] = ["12.*", "13.*"];

/// Verdicts that are a pass: informational cases have no right or wrong.
const PASSED: [&str; 2] = ["OK", "INFORMATIONAL"];

pub(crate) fn run() -> Result<()> {
    cargo(&["build", "-p", "clarim-server", "--features", "autobahn", "--bin", "autobahn-echo"])?;
    let programs = python_env("autobahn", "kosoku==0.1.0")?;
    let server = Command::new(root().join("target/debug/autobahn-echo")).spawn()?;
    let _server = Running(server);
    wait_for_port(9001)?;
    let report = root().join("target/autobahn");
    let (kosoku, report_text) = (programs.join("kosoku"), report.to_string_lossy().into_owned());
    let mut args: Vec<&str> = EXCLUDED.iter().flat_map(|case| ["-x", case]).collect();
    args.extend(["-o", &report_text, "127.0.0.1:9001"]);
    command(&kosoku.to_string_lossy(), &args).run()?;
    let index = std::fs::read_to_string(report.join("index.json"))?;
    check(&serde_json::from_str(&index)?)
}

/// Every case of every agent must have passed, and there must be some.
fn check(index: &BTreeMap<String, BTreeMap<String, Value>>) -> Result<()> {
    let cases: Vec<(&String, &Value)> = index.values().flatten().collect();
    ensure!(cases.len() >= 300, "only {} cases were run", cases.len());
    let failed: Vec<&str> = cases
        .iter()
        .filter(|(_, case)| {
            ["behavior", "behaviorClose"]
                .iter()
                .any(|field| !PASSED.contains(&case[*field].as_str().unwrap_or_default()))
        })
        .map(|(name, _)| name.as_str())
        .collect();
    ensure!(failed.is_empty(), "cases not OK: {}; see target/autobahn", failed.join(" "));
    println!("{} cases OK", cases.len());
    Ok(())
}

fn wait_for_port(port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > deadline {
            bail!("nothing listens on port {port}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A child that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait()).context("the echo server");
        if let Err(error) = ended {
            println!("{error:#}");
        }
    }
}

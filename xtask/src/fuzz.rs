//! The fuzz targets: built once, run beside each other.

use anyhow::{Context, Result, ensure};

use crate::run::{cargo, command, root};

/// Time for each target, in seconds.
const SECONDS: u32 = 20;

/// Arguments choose targets by name; without any, all run.
pub(crate) fn run(args: &[String]) -> Result<()> {
    cargo(&["fuzz", "build", "--sanitizer", "none"])?;
    let targets = targets()?;
    let chosen: Vec<&String> =
        targets.iter().filter(|name| args.is_empty() || args.contains(name)).collect();
    ensure!(!chosen.is_empty(), "the fuzz targets are {}", targets.join(", "));
    let limit = format!("-max_total_time={SECONDS}");
    let logs = root().join("target/log");
    std::fs::create_dir_all(&logs)?;
    let mut running = Vec::new();
    for target in chosen {
        let log = logs.join(format!("fuzz-{target}.log"));
        let run =
            ["fuzz", "run", "--sanitizer", "none", target, "--", &limit, "-rss_limit_mb=2048"];
        running.push((target, command("cargo", &run).output_to(&log)?.spawn()?, log));
    }
    let mut failed = Vec::new();
    for (target, mut child, log) in running {
        let passed = child.wait()?.success();
        println!("{target}: {}", if passed { "nothing found" } else { "failed" });
        if !passed {
            print!("{}", std::fs::read_to_string(log)?);
            failed.push(target.as_str());
        }
    }
    ensure!(failed.is_empty(), "fuzzing failed: {}", failed.join(", "));
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let list = command("cargo", &["fuzz", "list"]).stdout().context("cargo fuzz list failed")?;
    Ok(list.lines().map(str::to_owned).collect())
}

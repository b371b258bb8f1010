//! The machine, the versions and the command of a measurement.

use std::collections::BTreeMap;
use std::fmt;
use std::process::{Command, Stdio};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::servers::peers::Peer;

/// Context for judging the figures and repeating the measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    /// UTC.
    pub(crate) date: String,
    /// The command line.
    pub(crate) command: String,
    /// The version of each server.
    pub(crate) servers: BTreeMap<String, String>,
}

impl Machine {
    pub(crate) fn this(peers: &[Peer]) -> Result<Self> {
        let text = std::fs::read_to_string("/proc/cpuinfo")?;
        let name = text.lines().find_map(|line| line.strip_prefix("model name"));
        let processor = name.unwrap_or("unknown processor").trim_start_matches([' ', '\t', ':']);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let memory = memory.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        let servers = peers.iter().map(|peer| (peer.name.clone(), said(&peer.version)));
        Ok(Self {
            processor: processor.to_owned(),
            cores: text.lines().filter(|line| line.starts_with("processor")).count(),
            memory_mib: memory.unwrap_or_default() / 1024,
            kernel: kernel.trim().to_owned(),
            rustc: said(&["rustc", "--version"].map(str::to_owned)),
            date: said(&["date", "-u", "+%Y-%m-%d %H:%M"].map(str::to_owned)),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            servers: servers.collect(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_mib, kernel, rustc, date, command, servers } = self;
        writeln!(f, "- {date} UTC, `{command}`")?;
        writeln!(f, "- {processor}, {cores} cores, {memory_mib} MiB, Linux {kernel}, {rustc}")?;
        let servers: Vec<String> = servers.iter().map(|(name, v)| format!("{name}: {v}")).collect();
        writeln!(f, "- {}", servers.join("; "))
    }
}

/// The first line of a command's output.
fn said(command: &[String]) -> String {
    let said = command.split_first().and_then(|(program, args)| {
        let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().map(|line| line.trim().to_owned())
    });
    said.unwrap_or_else(|| "version unknown".to_owned())
}

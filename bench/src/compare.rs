//! All loads against all servers, in turn, so that what else the machine does hits all alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::load::{Churn, FanoutLoad, Idle, Load, Publish};
use crate::report::Report;
use crate::server::{Cores, Peer, Server};

/// What to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Servers, the first of which the others are set against.
    #[arg(long, default_value = "bench/peers.toml")]
    file: PathBuf,
    /// Small loads, once: to see that everything works.
    #[arg(long)]
    quick: bool,
    /// How often each load is run against each server.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only loads whose name has this in it.
    #[arg(long, default_value = "")]
    only: String,
    /// Only servers whose name has this in it.
    #[arg(long, default_value = "")]
    peer: String,
    #[command(flatten)]
    cores: Cores,
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the table goes as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
}

/// The file of servers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Peers {
    pub(crate) peer: Vec<Peer>,
}

impl Peers {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", file.display()))
    }
}

/// What one load has cost one server, over the rounds.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    load: String,
    server: String,
    /// Values of each round that was a result.
    figures: BTreeMap<String, Vec<f64>>,
    /// What a reader of the figures must know.
    marks: BTreeSet<String>,
    /// Why rounds were no result.
    failures: Vec<String>,
}

/// Where all this was measured.
#[derive(Debug, Serialize)]
struct Machine {
    processor: String,
    kernel: String,
    cores: usize,
}

/// Each run gets a port of its own: the last one's connections may linger.
const FIRST_PORT: u16 = 19_000;
const LAST_PORT: u16 = 19_999;

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut peers = Peers::read(&options.file)?.peer;
    peers.retain(|peer| peer.name.contains(&options.peer));
    ensure!(!peers.is_empty(), "no such server in {}", options.file.display());
    let rounds = if options.quick { 1 } else { options.rounds };
    let mut results = Vec::new();
    let mut ports = ports();
    for load in loads(options.quick).iter().filter(|load| load.name().contains(&options.only)) {
        let mut of_load: Vec<Outcome> = peers.iter().map(|peer| Outcome::new(load, peer)).collect();
        for _ in 0..rounds {
            for (peer, outcome) in peers.iter().zip(&mut of_load) {
                let port = free_port(&mut ports)?;
                let report =
                    Server::start(peer, port, options.cores).and_then(|server| load.run(&server));
                outcome.add(report);
            }
        }
        println!("{}", table(&of_load));
        results.push(of_load);
    }
    options.write(&results)?;
    let failed = results.iter().flatten().filter(|outcome| !outcome.failures.is_empty()).count();
    ensure!(failed == 0, "{failed} loads had rounds that were no result");
    Ok(())
}

/// Ports for servers, without end.
pub(crate) fn ports() -> impl Iterator<Item = u16> {
    (FIRST_PORT..=LAST_PORT).cycle()
}

/// The next port that nobody listens on.
pub(crate) fn free_port(ports: &mut impl Iterator<Item = u16>) -> Result<u16> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let all = usize::from(LAST_PORT - FIRST_PORT) + 1;
    ports.take(all).find(is_free).context("no free port")
}

impl Options {
    fn write(&self, results: &[Vec<Outcome>]) -> Result<()> {
        let machine = Machine::this()?;
        if let Some(file) = &self.json {
            let all: Vec<&Outcome> = results.iter().flatten().collect();
            let json = serde_json::json!({ "machine": machine, "results": all });
            std::fs::write(file, serde_json::to_string_pretty(&json)?)?;
        }
        if let Some(file) = &self.markdown {
            let Machine { processor, kernel, cores } = machine;
            let mut text = format!("{processor}, {cores} cores, Linux {kernel}\n");
            for of_load in results {
                text.push_str(&table(of_load));
                text.push('\n');
            }
            std::fs::write(file, text)?;
        }
        Ok(())
    }
}

impl Machine {
    fn this() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/cpuinfo")?;
        let name = text.lines().find_map(|line| line.strip_prefix("model name"));
        let processor = name.unwrap_or("unknown processor").trim_start_matches([' ', '\t', ':']);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let cores = text.lines().filter(|line| line.starts_with("processor")).count();
        Ok(Self { processor: processor.to_owned(), kernel: kernel.trim().to_owned(), cores })
    }
}

impl Outcome {
    fn new(load: &Load, peer: &Peer) -> Self {
        Self { load: load.name(), server: peer.name.clone(), ..Self::default() }
    }

    fn add(&mut self, report: Result<Report>) {
        match report {
            Ok(report) => {
                for (name, value) in report.figures {
                    self.figures.entry(name).or_default().push(value);
                }
                self.marks.extend(report.marks);
            }
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }
}

fn loads(quick: bool) -> Vec<Load> {
    if quick {
        return vec![
            idle(500, 1),
            closed(500, 100),
            open(500, 10, 1),
            Load::Publish(Publish { requests: 2_000, connections: 8 }),
            Load::Churn(Churn { count: 500 }),
        ];
    }
    vec![
        idle(19_000, 10),
        closed(1_000, 4_000),
        closed(10_000, 400),
        open(1_000, 10, 10),
        open(10_000, 1, 10),
        Load::Publish(Publish { requests: 100_000, connections: 8 }),
        Load::Churn(Churn { count: 10_000 }),
    ]
}

fn idle(connections: usize, after: u64) -> Load {
    Load::Idle(Idle { connections, own_channels: false, seconds: after.div_ceil(2), after })
}

fn closed(subscribers: usize, events: u64) -> Load {
    let load = fanout(subscribers);
    Load::Fanout(FanoutLoad { closed: true, events: Some(events), ..load })
}

fn open(subscribers: usize, rate: u32, seconds: u32) -> Load {
    Load::Fanout(FanoutLoad { rate, seconds, ..fanout(subscribers) })
}

pub(crate) fn fanout(subscribers: usize) -> FanoutLoad {
    FanoutLoad {
        subscribers,
        size: 128,
        rate: 1,
        seconds: 1,
        closed: false,
        in_flight: 8,
        events: None,
        deflate: false,
    }
}

/// One load's medians with their spread, as Markdown: a column for each server, with its ratio to
/// the first. Below it, what the figures do not say.
fn table(results: &[Outcome]) -> String {
    let mut text = format!("\n### {}\n\n| |", results.first().map_or("", |r| r.load.as_str()));
    for result in results {
        let _ = write!(text, " {} |", result.server);
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(results.len()));
    let names: BTreeSet<&String> =
        results.iter().flat_map(|result| result.figures.keys()).collect();
    for name in names {
        let _ = write!(text, "\n| {name} |");
        let first = results.first().and_then(|result| median(result.figures.get(name)?));
        for (n, result) in results.iter().enumerate() {
            text.push_str(&cell(result.figures.get(name), first.filter(|_| n > 0)));
        }
    }
    text.push('\n');
    for result in results {
        for note in result.marks.iter().chain(&result.failures) {
            let _ = write!(text, "\n- {}: {note}", result.server);
        }
    }
    text
}

fn cell(values: Option<&Vec<f64>>, first: Option<f64>) -> String {
    let Some((values, median)) = values.and_then(|values| Some((values, median(values)?))) else {
        return " – |".to_owned();
    };
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut cell = format!(" **{}** ({}…{})", short(median), short(low), short(high));
    if let Some(first) = first.filter(|first| *first > 0.0) {
        let _ = write!(cell, " ×{:.2}", median / first);
    }
    cell + " |"
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return sorted.get(middle).copied();
    }
    Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::{Outcome, median, table};

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        let outcome = |server: &str, values: &[f64]| Outcome {
            load: "load".to_owned(),
            server: server.to_owned(),
            figures: [("µs".to_owned(), values.to_vec())].into(),
            ..Outcome::default()
        };
        let mut bad = outcome("bad", &[]);
        bad.add(Err(anyhow::anyhow!("not a result: 1 lost")));
        let text = table(&[outcome("floor", &[2.0, 4.0, 3.0]), outcome("fast", &[1.5]), bad]);
        assert!(text.contains("| µs | **3.00** (2.00…4.00) | **1.50** (1.50…1.50) ×0.50 | – |"));
        assert!(text.ends_with("- bad: not a result: 1 lost"), "{text}");
    }
}

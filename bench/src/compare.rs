//! All loads against all servers, in turn, so that what else the machine does hits all alike.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::load::{Figures, Load};
use crate::server::{Peer, Server};

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
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peers {
    peer: Vec<Peer>,
}

/// The figures of one load and one server, over the rounds.
#[derive(Debug, Serialize)]
struct Outcome {
    load: String,
    server: String,
    /// Values of each round.
    figures: BTreeMap<String, Vec<f64>>,
}

const PORT: u16 = 19_000;

pub(crate) fn run(options: &Options) -> Result<()> {
    let text = std::fs::read_to_string(&options.file)
        .with_context(|| format!("cannot read {}", options.file.display()))?;
    let peers: Peers = toml::from_str(&text)?;
    let peers: Vec<&Peer> =
        peers.peer.iter().filter(|peer| peer.name.contains(&options.peer)).collect();
    ensure!(!peers.is_empty(), "no such server in {}", options.file.display());
    raise_open_files()?;
    let rounds = if options.quick { 1 } else { options.rounds };
    let mut results = Vec::new();
    for load in loads(options.quick).iter().filter(|load| load.name().contains(&options.only)) {
        let mut of_load: Vec<Outcome> = peers
            .iter()
            .map(|peer| Outcome {
                load: load.name(),
                server: peer.name.clone(),
                figures: BTreeMap::new(),
            })
            .collect();
        for round in 0..rounds {
            for (n, (peer, result)) in peers.iter().zip(&mut of_load).enumerate() {
                // A port of its own each time: the last one's connections may linger.
                let port = PORT + u16::try_from(round * peers.len() + n)? % 1000;
                let server = Server::start(peer, port)?;
                let figures =
                    load.run(&server).with_context(|| format!("{}: {}", peer.name, load.name()))?;
                add(&mut result.figures, figures);
            }
        }
        println!("{}", table(&of_load));
        results.extend(of_load);
    }
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_string_pretty(&results)?)?;
    }
    Ok(())
}

fn loads(quick: bool) -> Vec<Load> {
    if quick {
        return vec![
            Load::Idle { connections: 500 },
            Load::Closed { subscribers: 500, in_flight: 8, events: 100 },
            Load::Open { subscribers: 500, per_second: 10, seconds: 1 },
            Load::Publish { connections: 8, requests: 2_000 },
            Load::Churn { cycles: 500 },
        ];
    }
    vec![
        Load::Idle { connections: 19_000 },
        Load::Closed { subscribers: 1_000, in_flight: 8, events: 4_000 },
        Load::Closed { subscribers: 10_000, in_flight: 8, events: 400 },
        Load::Open { subscribers: 1_000, per_second: 10, seconds: 10 },
        Load::Open { subscribers: 10_000, per_second: 1, seconds: 10 },
        Load::Publish { connections: 8, requests: 100_000 },
        Load::Churn { cycles: 2_000 },
    ]
}

fn add(all: &mut BTreeMap<String, Vec<f64>>, figures: Figures) {
    for (name, value) in figures {
        all.entry(name).or_default().push(value);
    }
}

/// Medians with their spread, as Markdown; each server's ratio to the first.
fn table(results: &[Outcome]) -> String {
    let mut text = format!("\n### {}\n\n| |", results.first().map_or("", |r| r.load.as_str()));
    for result in results {
        let _ = write!(text, " {} |", result.server);
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(results.len()));
    let names: std::collections::BTreeSet<&String> =
        results.iter().flat_map(|result| result.figures.keys()).collect();
    for name in names {
        let _ = write!(text, "\n| {name} |");
        let first = results.first().and_then(|result| median(result.figures.get(name)?));
        for (n, result) in results.iter().enumerate() {
            text.push_str(&cell(result.figures.get(name), first.filter(|_| n > 0)));
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

fn raise_open_files() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

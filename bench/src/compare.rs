//! All loads against all servers, in turn, so that other work of the machine affects all of them alike.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clarim_testing::free_port;

use crate::loads::Load;
use crate::loads::batch::Batch;
use crate::loads::channels::Channels;
use crate::loads::chat::Chat;
use crate::loads::connections::{Churn, Idle};
use crate::loads::disturbed::recovery::Recovery;
use crate::loads::disturbed::slow::Slow;
use crate::loads::disturbed::tail::Tail;
use crate::loads::fanout::{FanoutLoad, Publish};
use crate::loads::presence::Presence;
use crate::loads::whispers::Whispers;
use crate::reports::machine::Machine;
use crate::reports::outcome::{Outcome, table};
use crate::servers::peers::{Peer, Peers};
use crate::servers::server::{Cores, Server};

/// Options of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// File of servers. The others are compared with the first one.
    #[arg(long, default_value = "bench/peers.toml")]
    file: PathBuf,
    /// Run small loads once, to check that everything works.
    #[arg(long)]
    quick: bool,
    /// Run only fan-out, from 100 to 19 000 subscribers.
    #[arg(long, conflicts_with = "quick")]
    scale: bool,
    /// Number of runs of each load against each server.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Run only loads whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Run only servers whose name contains this.
    #[arg(long, default_value = "")]
    peer: String,
    #[command(flatten)]
    cores: Cores,
    /// Path to write the figures to, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Path to write the table to, as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
}

/// Note on a load that not all servers support.
const NOT_ALL: &str = "Servers without what this load needs are left out.";

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut peers = Peers::read(&options.file)?.peer;
    peers.retain(|peer| peer.name.contains(&options.peer));
    ensure!(!peers.is_empty(), "no server in {} matches --peer", options.file.display());
    let rounds = if options.quick { 1 } else { options.rounds };
    let machine = Machine::this(&peers)?;
    let mut results = Vec::new();
    let loads = if options.scale { scale() } else { loads(options.quick) };
    for load in loads.iter().filter(|load| load.name().contains(&options.only)) {
        let able: Vec<&Peer> = peers.iter().filter(|peer| load.suits(peer)).collect();
        if able.is_empty() {
            println!("\n### {}\n\n{NOT_ALL}", load.name());
            continue;
        }
        let mut of_load: Vec<Outcome> = able.iter().map(|peer| outcome(load, peer)).collect();
        for _ in 0..rounds {
            for (peer, outcome) in able.iter().zip(&mut of_load) {
                // Another port each time: connections of the last run may linger.
                let server = Server::start(peer, free_port(), options.cores);
                let report = server.and_then(|server| load.run(&server));
                outcome.add(report);
            }
        }
        println!("{}", table(&of_load));
        if able.len() < peers.len() {
            println!("\n{NOT_ALL}");
        }
        results.push(of_load);
        // Written after each load, because a later one may fail after hours.
        options.write(&machine, &results)?;
    }
    let failed = results.iter().flatten().filter(|outcome| !outcome.failures.is_empty()).count();
    ensure!(failed == 0, "{failed} loads had invalid rounds");
    Ok(())
}

impl Options {
    fn write(&self, machine: &Machine, results: &[Vec<Outcome>]) -> Result<()> {
        if let Some(file) = &self.json {
            let all: Vec<&Outcome> = results.iter().flatten().collect();
            let json = serde_json::json!({ "machine": machine, "results": all });
            replace(file, &serde_json::to_string_pretty(&json)?)?;
        }
        if let Some(file) = &self.markdown {
            let mut text = machine.to_string();
            for of_load in results {
                text.push_str(&table(of_load));
                text.push('\n');
                if of_load.len() < machine.servers.len() {
                    text.push_str(&format!("\n{NOT_ALL}\n"));
                }
            }
            replace(file, &text)?;
        }
        Ok(())
    }
}

fn outcome(load: &Load, peer: &Peer) -> Outcome {
    Outcome {
        load: load.name(),
        kind: load.kind().to_owned(),
        scale: load.scale(),
        server: peer.name.clone(),
        ..Outcome::default()
    }
}

/// Replaces a file atomically.
fn replace(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    Ok(std::fs::rename(new, file)?)
}

fn loads(quick: bool) -> Vec<Load> {
    if quick {
        return vec![
            idle(500, 1),
            closed(500, 100),
            open(500, 10, 1),
            Load::Publish(Publish { requests: 2_000, connections: 8 }),
            Load::Churn(Churn { count: 500 }),
            batch(2_000),
            channels(2_000, 200, true),
            channels(2_000, 200, false),
            presence(200),
            whispers(50, 1),
            slow(200, 1),
            chat(1),
            tail(200, 1),
            recovery(200),
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
        batch(20_000),
        channels(100_000, 10_000, true),
        channels(100_000, 10_000, false),
        presence(1_000),
        whispers(100, 10),
        slow(1_000, 30),
        chat(20),
        tail(1_000, 30),
        recovery(10_000),
    ]
}

/// Closed and open loops to growing numbers of subscribers, with the same number of deliveries.
fn scale() -> Vec<Load> {
    let sizes = [100, 1_000, 10_000, 19_000];
    let closed = sizes.map(|n| closed(n, 1_000_000 / n as u64));
    let open = sizes.map(|n| open(n, u32::try_from(10_000 / n).unwrap_or(1).max(1), 20));
    closed.into_iter().chain(open).collect()
}

fn batch(requests: u64) -> Load {
    Load::Batch(Batch { requests, events: 10, connections: 8 })
}

fn channels(channels: usize, connections: usize, closed: bool) -> Load {
    let (seconds, events) = if channels > 10_000 { (10, 200_000) } else { (1, 5_000) };
    let rate = 2_000;
    let size = 128;
    let in_flight = 8;
    Load::Channels(Channels {
        channels,
        connections,
        size,
        rate,
        seconds,
        closed,
        in_flight,
        events,
    })
}

fn presence(connections: usize) -> Load {
    Load::Presence(Presence { connections, at_once: 100 })
}

fn whispers(clients: usize, seconds: u32) -> Load {
    Load::Whispers(Whispers { clients, rate: 8.0, size: 128, seconds })
}

fn slow(subscribers: usize, seconds: u32) -> Load {
    Load::Slow(Slow { subscribers, percent: 1.0, size: 4_096, rate: 20, seconds })
}

fn chat(seconds: u32) -> Load {
    let rooms = 50;
    let members = 20;
    let size = 128;
    let messages = 100.0;
    let whispers = 200.0;
    let changes = 40.0;
    Load::Chat(Chat { rooms, members, messages, whispers, changes, size, seconds })
}

fn tail(subscribers: usize, seconds: u32) -> Load {
    Load::Tail(Tail {
        subscribers,
        rate: 20,
        size: 1_024,
        seconds,
        stalled: 1.0,
        connections: 200.0,
        members: subscribers,
        changes: 10.0,
    })
}

fn recovery(clients: usize) -> Load {
    Load::Recovery(Recovery {
        clients,
        channels: clients / 100,
        missed: 20,
        returns: 3_500.0,
        subscribers: clients / 10,
        rate: 20.0,
        seconds: 5,
    })
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
        pages: false,
    }
}

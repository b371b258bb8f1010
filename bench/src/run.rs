//! Runs one load against one server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use clarim_testing::{Program, nats_with_jetstream, redis};

use crate::loads::Load;
use crate::servers::peers::{Peer, Peers};
use crate::servers::server::{Cores, Server};
use crate::servers::tls::Handshakes;

/// The bus of a cluster.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bus {
    Redis,
    Nats,
}

impl Bus {
    /// Starts its server, which keeps histories in this folder, and returns its URL too.
    fn start(self, folder: &Path) -> (Program, String) {
        let (program, scheme) = match self {
            Self::Redis => (redis(), "redis"),
            Self::Nats => (nats_with_jetstream(folder, &[]), "nats"),
        };
        let url = program.url(scheme);
        (program, url)
    }
}

/// Number of nodes of a cluster.
const NODES: u16 = 3;

/// The load and the server.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Command that starts the server, with {port} in place of the port. Instead of --peer.
    #[arg(long, conflicts_with = "peer")]
    command: Option<String>,
    /// NAME=VALUE in the server's environment, with --command. May be repeated.
    #[arg(long, requires = "command")]
    env: Vec<String>,
    /// ID of the app, with --command.
    #[arg(long, default_value_t = Peer::default_app(), requires = "command")]
    app_id: String,
    /// Key of the app, with --command.
    #[arg(long, default_value_t = Peer::default_key(), requires = "command")]
    key: String,
    /// Secret of the app, with --command.
    #[arg(long, default_value_t = Peer::default_secret(), requires = "command")]
    secret: String,
    /// The server has TLS, with the certificate {cert} and the key {key}; and how clients shake hands. With
    /// --command.
    #[arg(long, requires = "command")]
    tls: Option<Handshakes>,
    /// Path of the server's metrics, with --command.
    #[arg(long, default_value_t = Peer::default_scrape(), requires = "command")]
    scrape: String,
    /// Name of the server in --file.
    #[arg(long, default_value = "floor")]
    peer: String,
    /// File of servers.
    #[arg(long, default_value = "bench/peers.toml")]
    file: PathBuf,
    #[command(flatten)]
    cores: Cores,
    /// Start three nodes over this bus, which is started too. Only the load `upgrade` uses all of them.
    #[arg(long)]
    cluster: Option<Bus>,
    /// Port for the server to listen on. The nodes of a cluster have the next ones.
    #[arg(long, default_value_t = 19_000)]
    port: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    load: Load,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut peer = options.peer()?;
    ensure!(options.load.suits(&peer), "{} does not support this load", peer.name);
    let folder = tempfile::tempdir()?;
    let bus = options.cluster.map(|bus| bus.start(folder.path()));
    let nodes = bus.as_ref().map_or(1, |_| NODES);
    if let Some((_, url)) = &bus {
        peer.env.insert("CLARIM_SCALING_URL".to_owned(), url.clone());
    }
    let server = Server::start_cluster(&peer, options.port, options.cores, nodes)?;
    let report = options.load.run(&server)?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!("{}", options.load.name());
    for (name, value) in &report.figures {
        println!("  {name}: {value:.2}");
    }
    for mark in &report.marks {
        println!("  note: {mark}");
    }
    Ok(())
}

impl Options {
    fn peer(&self) -> Result<Peer> {
        let Some(command) = &self.command else {
            let peers = Peers::read(&self.file)?.peer;
            let peer = peers.into_iter().find(|peer| peer.name == self.peer);
            let file = self.file.display();
            return peer.with_context(|| format!("{file} has no server named {}", self.peer));
        };
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        ensure!(!command.is_empty(), "--command is empty");
        let mut env = BTreeMap::new();
        for pair in &self.env {
            let (name, value) = pair.split_once('=').context("--env takes NAME=VALUE")?;
            env.insert(name.to_owned(), value.to_owned());
        }
        Ok(Peer {
            name: "server".to_owned(),
            command,
            env,
            version: Vec::new(),
            floor: false,
            history: true,
            tls: self.tls,
            scrape: self.scrape.clone(),
            app_id: self.app_id.clone(),
            key: self.key.clone(),
            secret: self.secret.clone(),
        })
    }
}

//! A cluster of three nodes on this machine, over Redis and over NATS: latency, throughput and CPU.

mod client;
mod node;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clarim_testing::{Program, nats_with_jetstream, redis};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use client::Client;
use node::{Node, Publisher};

/// Measures a cluster of three nodes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Path to the server's program.
    #[arg(long, default_value = "target/release/clarim")]
    binary: PathBuf,
    /// Seconds of each load.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Number of members that join one presence channel at once.
    #[arg(long, default_value_t = 1000)]
    members: usize,
}

/// Number of subscribers on each node when throughput is measured.
const SUBSCRIBERS: usize = 100;

/// Requests in flight when throughput is measured.
const AT_ONCE: usize = 32;

/// A channel with history.
const KEPT: &str = "kept";

/// An event's data, for a message of about a hundred bytes.
const DATA: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        println!("| bus | | |\n|---|---|---|");
        let server = redis();
        measure("Redis", &server.url("redis"), &server, options).await?;
        let folder = tempfile::tempdir()?;
        let server = nats_with_jetstream(folder.path(), &[]);
        measure("NATS", &server.url("nats"), &server, options).await
    })
}

async fn measure(bus: &str, url: &str, server: &Program, options: &Options) -> Result<()> {
    let nodes = [(); 3].map(|()| Node::start(&options.binary, url));
    for node in &nodes {
        node.is_ready().await?;
    }
    let time = Duration::from_secs(options.seconds);
    let row = |what: &str, figure: String| println!("| {bus} | {what} | {figure} |");
    for (what, to, channel) in [
        ("same node", 0, "latency"),
        ("another node", 1, "latency"),
        ("another node, channel with history", 1, KEPT),
    ] {
        let latency = latency(&nodes[0], &nodes[to], channel, time).await?;
        let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
        let figure = format!("p50 {:.2} ms · p99 {:.2} ms", at(0.5), at(0.99));
        row(&format!("request until read, 200 events/s, {what}"), figure);
    }
    let bus_cost = |on: usize, load: &Load| {
        let what = format!("CPU per event there, bus, {on} node(s) with subscribers");
        row(&what, format!("{:.1} µs", load.cost[3]));
    };
    bus_cost(1, &throughput(&nodes, 1, server, time).await?);
    let load = throughput(&nodes, 2, server, time).await?;
    bus_cost(2, &load);
    row(
        &format!("deliveries/s to {SUBSCRIBERS} subscribers on each of two nodes"),
        format!("{:.0} ({:.0} events/s)", load.deliveries, load.events),
    );
    let who = ["publishing node", "node with subscribers", "node without interest"];
    for (who, cost) in who.into_iter().zip(load.cost) {
        row(&format!("CPU per event there, {who}"), format!("{cost:.1} µs"));
    }
    // Measured last, because a node stays subscribed for some seconds longer than its clients.
    bus_cost(3, &throughput(&nodes, 3, server, time).await?);
    for at_once in [1, AT_ONCE] {
        let cost = publish_to_nobody(&nodes[0], at_once, time).await?;
        let what = format!("CPU per event to nobody, publishing node, {at_once} at once");
        row(&what, format!("{cost:.1} µs"));
    }
    let storm = storm(&nodes, options.members).await?;
    let what =
        format!("{} members join one channel over 3 nodes until all know all", options.members);
    row(&what, format!("{:.2} s", storm.as_secs_f64()));
    Ok(())
}

/// Time from before the request until the event is read, at a steady rate.
async fn latency(from: &Node, to: &Node, channel: &str, time: Duration) -> Result<Histogram<u64>> {
    let mut client = Client::connect(to.port).await?;
    client.subscribe(channel, None).await?;
    let mut publisher = Publisher::connect(from).await?;
    let mut histogram = Histogram::<u64>::new(3)?;
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let begun = Instant::now();
    while begun.elapsed() < time {
        ticks.tick().await;
        let at = Instant::now();
        publisher.publish(channel, "x").await?;
        client.event().await?;
        histogram.record(u64::try_from(at.elapsed().as_micros())?)?;
    }
    Ok(histogram)
}

struct Load {
    deliveries: f64,
    events: f64,
    /// CPU microseconds per event, of each node and of the bus.
    cost: [f64; 4],
}

/// Publishes to the first node as fast as possible, with subscribers on the first `on` nodes. All events must
/// arrive.
async fn throughput(nodes: &[Node; 3], on: usize, bus: &Program, time: Duration) -> Result<Load> {
    let mut readers = JoinSet::new();
    for n in 0..on * SUBSCRIBERS {
        let mut client = Client::connect(nodes[n % on].port).await?;
        client.subscribe("load", None).await?;
        readers.spawn(async move { client.count("end").await });
    }
    let processes: Vec<u32> = nodes.iter().map(|n| n.program.id()).chain([bus.id()]).collect();
    let before: Vec<Duration> = processes.iter().map(|id| node::cpu(*id)).collect::<Result<_>>()?;
    let begun = Instant::now();
    let sent = publish_for(&nodes[0], "load", AT_ONCE, time).await?;
    Publisher::connect(&nodes[0]).await?.publish("load", "end").await?;
    let mut read = 0;
    while let Some(done) = readers.join_next().await {
        read += done??;
    }
    let took = begun.elapsed().as_secs_f64();
    let mut cost = [0.0; 4];
    for ((cost, id), before) in cost.iter_mut().zip(&processes).zip(before) {
        *cost = (node::cpu(*id)? - before).as_secs_f64() * 1e6 / f64::from(sent);
    }
    let expected = sent as usize * on * SUBSCRIBERS;
    ensure!(
        read == expected,
        "{read} deliveries instead of {expected}: events were lost or duplicated"
    );
    Ok(Load { deliveries: read as f64 / took, events: f64::from(sent) / took, cost })
}

/// CPU microseconds of a publish without subscribers, which goes only to the bus.
async fn publish_to_nobody(node: &Node, at_once: usize, time: Duration) -> Result<f64> {
    let before = node::cpu(node.program.id())?;
    let sent = publish_for(node, "nobody", at_once, time).await?;
    let cost = node::cpu(node.program.id())? - before;
    Ok(cost.as_secs_f64() * 1e6 / f64::from(sent))
}

/// Publishes as fast as possible with `at_once` requests in flight, and returns the number of events.
async fn publish_for(
    node: &Node,
    channel: &'static str,
    at_once: usize,
    time: Duration,
) -> Result<u32> {
    let begun = Instant::now();
    let mut publishers = JoinSet::new();
    for _ in 0..at_once {
        let mut publisher = Publisher::connect(node).await?;
        publishers.spawn(async move {
            let mut sent = 0;
            while begun.elapsed() < time {
                publisher.publish(channel, DATA).await?;
                sent += 1;
            }
            anyhow::Ok(sent)
        });
    }
    let mut sent = 0;
    while let Some(done) = publishers.join_next().await {
        sent += done??;
    }
    Ok(sent)
}

/// Time until members that join one presence channel at once, on all nodes, have the full member list.
async fn storm(nodes: &[Node; 3], members: usize) -> Result<Duration> {
    let mut clients = Vec::new();
    for n in 0..members {
        clients.push(Client::connect(nodes[n % 3].port).await?);
    }
    let begun = Instant::now();
    let mut joining = JoinSet::new();
    for (n, mut client) in clients.into_iter().enumerate() {
        joining.spawn(async move {
            let mut known = client.subscribe("presence-storm", Some(n)).await?;
            while known.len() < members {
                known.insert(client.member_added().await?);
            }
            anyhow::Ok((client, known))
        });
    }
    let mut lists: Vec<(Client, BTreeSet<String>)> = Vec::new();
    while let Some(done) = joining.join_next().await {
        lists.push(done??);
    }
    let took = begun.elapsed();
    ensure!(lists.windows(2).all(|pair| pair[0].1 == pair[1].1), "the member lists differ");
    Ok(took)
}

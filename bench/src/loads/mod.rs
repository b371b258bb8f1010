//! The loads, and what is measured of each.

pub(crate) mod batch;
pub(crate) mod channels;
pub(crate) mod chat;
pub(crate) mod connections;
mod crowd;
pub(crate) mod disturbed;
pub(crate) mod fanout;
mod inspector;
pub(crate) mod presence;
pub(crate) mod upgrade;
pub(crate) mod whispers;

use anyhow::Result;
use clap::Subcommand;

use crate::reports::report::Report;
use crate::servers::peers::Peer;
use crate::servers::server::Server;
use batch::Batch;
use channels::Channels;
use chat::Chat;
use connections::{Churn, Idle};
use crowd::Crowd;
use disturbed::recovery::Recovery;
use disturbed::slow::Slow;
use disturbed::tail::Tail;
use fanout::{FanoutLoad, Publish};
use inspector::Watched;
use presence::Presence;
use upgrade::Upgrade;
use whispers::Whispers;

/// A load.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Load {
    /// Idle connections: memory per connection, and idle CPU.
    Idle(Idle),
    /// Events to all subscribers of one channel: at a fixed rate, or with --closed as fast as possible.
    Fanout(FanoutLoad),
    /// Events to a channel without subscribers: the HTTP API alone.
    Publish(Publish),
    /// Clients that connect, subscribe and close, one after the other.
    Churn(Churn),
    /// More connections than a process may have open files, and events to all of them.
    Crowd(Crowd),
    /// Batches of events to a channel without subscribers.
    Batch(Batch),
    /// Many channels with one subscriber each: at a fixed rate, or with --closed as fast as possible.
    Channels(Channels),
    /// All clients join one presence channel, leave and reconnect at once.
    Presence(Presence),
    /// Client events from all clients of one private channel.
    Whispers(Whispers),
    /// Events to subscribers, some of which do not read.
    Slow(Slow),
    /// Rooms with messages, client events, joins and leaves.
    Chat(Chat),
    /// Tail latency, without and with other load on the server.
    Tail(Tail),
    /// Clients that come back at once, after missing events of channels with history.
    Recovery(Recovery),
    /// Upgrades of the running server, while events go out to all connections.
    Upgrade(Upgrade),
    /// The cost of open inspector pages for a server with many connections.
    Watched(Watched),
}

impl Load {
    /// Its name in tables.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Idle(Idle { connections, own_channels: true, .. }) => {
                format!("idle, {connections} connections, own channels")
            }
            Self::Idle(Idle { connections, .. }) => format!("idle, {connections} connections"),
            Self::Fanout(FanoutLoad { subscribers, closed: true, in_flight, .. }) => {
                format!("closed loop, {in_flight} in flight to {subscribers}")
            }
            Self::Fanout(FanoutLoad { subscribers, rate, .. }) => {
                format!("open loop, {rate}/s to {subscribers}")
            }
            Self::Publish(Publish { connections, .. }) => {
                format!("publish, {connections} connections")
            }
            Self::Churn(_) => "connect, subscribe, close".to_owned(),
            Self::Crowd(crowd) => format!("crowd of {}", crowd.connections),
            Self::Batch(batch) => format!("batches of {}", batch.events),
            Self::Channels(Channels { channels, closed: true, in_flight, .. }) => {
                format!("{channels} channels, closed loop, {in_flight} in flight")
            }
            Self::Channels(Channels { channels, rate, .. }) => {
                format!("{channels} channels, open loop, {rate}/s")
            }
            Self::Presence(presence) => format!("presence storm of {}", presence.connections),
            Self::Whispers(Whispers { clients, rate, .. }) => {
                format!("whispers, {clients} clients, {rate}/s each")
            }
            Self::Slow(Slow { subscribers, percent, rate, .. }) => {
                format!("slow readers, {percent} % of {subscribers}, {rate}/s")
            }
            Self::Chat(Chat { rooms, members, .. }) => format!("chat, {rooms} rooms of {members}"),
            Self::Tail(Tail { subscribers, rate, .. }) => {
                format!("tail, {rate}/s to {subscribers}")
            }
            Self::Recovery(Recovery { clients, missed, .. }) => {
                format!("recovery, {clients} clients, {missed} events each")
            }
            Self::Upgrade(upgrade) => format!("upgrade, {} connections", upgrade.connections),
            Self::Watched(Watched { connections, .. }) => {
                format!("inspector, {connections} connections")
            }
        }
    }

    /// Its command, which plots group by.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Idle(_) => "idle",
            Self::Fanout(FanoutLoad { closed: true, .. }) => "fanout, closed",
            Self::Fanout(_) => "fanout, open",
            Self::Publish(_) => "publish",
            Self::Churn(_) => "churn",
            Self::Crowd(_) => "crowd",
            Self::Batch(_) => "batch",
            Self::Channels(_) => "channels",
            Self::Presence(_) => "presence",
            Self::Whispers(_) => "whispers",
            Self::Slow(_) => "slow",
            Self::Chat(_) => "chat",
            Self::Tail(_) => "tail",
            Self::Recovery(_) => "recovery",
            Self::Upgrade(_) => "upgrade",
            Self::Watched(_) => "watched",
        }
    }

    /// Its number of subscribers, if plots show the load by it.
    pub(crate) fn scale(&self) -> Option<usize> {
        match self {
            Self::Fanout(load) => Some(load.subscribers),
            _ => None,
        }
    }

    /// Whether this server can be measured with it. The floor server has no presence channels and no
    /// inspector.
    pub(crate) fn suits(&self, peer: &Peer) -> bool {
        match self {
            Self::Idle(_)
            | Self::Fanout(_)
            | Self::Publish(_)
            | Self::Churn(_)
            | Self::Batch(_) => true,
            // Their clients have no TLS.
            _ if peer.tls.is_some() => false,
            Self::Recovery(_) => peer.history,
            Self::Presence(_)
            | Self::Chat(_)
            | Self::Tail(_)
            | Self::Upgrade(_)
            | Self::Watched(_) => !peer.floor,
            _ => true,
        }
    }

    pub(crate) fn run(&self, server: &Server) -> Result<Report> {
        match self {
            Self::Idle(idle) => idle.run(server),
            Self::Fanout(load) if load.closed => load.run_closed(server),
            Self::Fanout(load) => load.run_open(server),
            Self::Publish(publish) => publish.run(server),
            Self::Churn(churn) => churn.run(server),
            Self::Crowd(crowd) => crowd.run(server),
            Self::Batch(batch) => batch.run(server),
            Self::Channels(channels) => channels.run(server),
            Self::Presence(presence) => presence.run(server),
            Self::Whispers(whispers) => whispers.run(server),
            Self::Slow(slow) => slow.run(server),
            Self::Chat(chat) => chat.run(server),
            Self::Tail(tail) => tail.run(server),
            Self::Recovery(recovery) => recovery.run(server),
            Self::Upgrade(upgrade) => upgrade.run(server),
            Self::Watched(watched) => watched.run(server),
        }
    }
}

//! The loads: what is done to a server, and what is measured meanwhile.

pub(crate) mod batch;
pub(crate) mod channels;
pub(crate) mod chat;
pub(crate) mod connections;
mod crowd;
pub(crate) mod fanout;
mod inspector;
pub(crate) mod presence;
pub(crate) mod slow;
pub(crate) mod tail;
pub(crate) mod whispers;

use anyhow::Result;
use clap::Subcommand;

use crate::reports::report::Report;
use crate::servers::server::Server;
use batch::Batch;
use channels::Channels;
use chat::Chat;
use connections::{Churn, Idle};
use crowd::Crowd;
use fanout::{FanoutLoad, Publish};
use inspector::Watched;
use presence::Presence;
use slow::Slow;
use tail::Tail;
use whispers::Whispers;

/// One load.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Load {
    /// Connections that are subscribed and do nothing: memory for each, and idle CPU.
    Idle(Idle),
    /// Events to all subscribers of one channel: by the clock, or with --closed as fast as they go.
    Fanout(FanoutLoad),
    /// Events to a channel without subscribers: the HTTP API alone.
    Publish(Publish),
    /// Connect, subscribe, close, one after the other.
    Churn(Churn),
    /// More connections than a process may hold files, and one event to all of them.
    Crowd(Crowd),
    /// Batches of events to a channel without subscribers.
    Batch(Batch),
    /// Many channels with one subscriber each: by the clock, or with --closed as fast as they go.
    Channels(Channels),
    /// Everybody joins one presence channel, leaves and comes back, as fast as they can.
    Presence(Presence),
    /// Client events of everybody in one private channel.
    Whispers(Whispers),
    /// Events to subscribers of whom some do not read.
    Slow(Slow),
    /// Rooms with messages, client events, joins and leaves.
    Chat(Chat),
    /// How late the latest deliveries are, in quiet and while much else goes on.
    Tail(Tail),
    /// What it costs that people look at the inspector while many are connected.
    Watched(Watched),
}

impl Load {
    /// What it is called in tables.
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
            Self::Watched(Watched { connections, .. }) => {
                format!("inspector, {connections} connections")
            }
        }
    }

    /// Its command: what is one line of a plot.
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
            Self::Watched(_) => "watched",
        }
    }

    /// How many hear an event, where that is what a plot goes by.
    pub(crate) fn scale(&self) -> Option<usize> {
        match self {
            Self::Fanout(load) => Some(load.subscribers),
            _ => None,
        }
    }

    /// Whether the floor can do it: it knows no members, and has no inspector.
    pub(crate) fn has_floor(&self) -> bool {
        !matches!(self, Self::Presence(_) | Self::Chat(_) | Self::Tail(_) | Self::Watched(_))
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
            Self::Watched(watched) => watched.run(server),
        }
    }
}

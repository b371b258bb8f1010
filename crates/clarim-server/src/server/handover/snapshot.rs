//! The snapshot of a server: all records, and the way into it.

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::IpAddr;

use clarim_hub::snapshot::{NodeRecord, SavedCluster, SavedNode, SnapshotWriter};
use serde::{Deserialize, Serialize};

use super::super::consumers::SavedWebhooks;
use crate::cluster::SavedTraffic;
use crate::http::SavedKeys;
use crate::net::DescriptorSender;
use crate::runtime::{SavedCounters, handover::EngineRecord};

/// A record of a snapshot. They come in the order of the variants.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record {
    Server(SavedServer),
    Listener(SavedListener),
    Node(SavedNode),
    Contents(NodeRecord),
    Counters(SavedCounters),
    Keys(SavedKeys),
    Webhooks(SavedWebhooks),
    Cluster(SavedCluster),
    BusTraffic(SavedTraffic),
    Http(SavedHttp),
    Engine(EngineRecord),
}

/// The server's own settings and times.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedServer {
    /// The configured address. If it has changed, the listeners are not used.
    pub(super) host: String,
    pub(super) port: u16,
    #[serde(default)]
    pub(super) restarts_in_place: bool,
    /// When the server began to stop, in milliseconds since 1970.
    pub(super) began_ms: u64,
}

/// A listening socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedListener {
    /// The number of its descriptor.
    pub(super) descriptor: u32,
}

/// An HTTP connection that waits for a request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedHttp {
    /// The number of its descriptor.
    pub(super) descriptor: u32,
    pub(super) peer: Option<IpAddr>,
    /// Bytes that were read from it.
    #[serde(default, with = "serde_bytes")]
    pub(super) early: Vec<u8>,
}

/// The way into a snapshot. One thread after the other has it.
#[derive(Debug)]
pub(in crate::server) struct SnapshotSink {
    pub(super) writer: SnapshotWriter<BufWriter<File>>,
    pub(super) descriptors: DescriptorSender,
}

impl SnapshotSink {
    pub(super) fn begin(file: File) -> io::Result<Self> {
        let writer = SnapshotWriter::begin(
            BufWriter::with_capacity(64 << 10, file),
            env!("CARGO_PKG_VERSION"),
        )?;
        Ok(Self { writer, descriptors: DescriptorSender::default() })
    }

    pub(super) fn write(&mut self, record: &Record) -> io::Result<()> {
        self.writer.write(record)
    }
}

//! The snapshot of a server: all records, and how it is written.

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::IpAddr;
use std::path::PathBuf;

use clarim_hub::snapshot::{NodeRecord, Records, SavedCluster, SavedNode, SnapshotWriter};
use serde::{Deserialize, Serialize};

use super::super::consumers::SavedWebhooks;
use crate::cluster::SavedTraffic;
use crate::http::SavedKeys;
use crate::net::{DescriptorSender, InPassage, SentDescriptors};
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
    /// The file of the histories.
    #[serde(default)]
    pub(super) history_path: Option<PathBuf>,
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
pub(in crate::server) struct SavedHttp {
    /// The number of its descriptor.
    pub(in crate::server) descriptor: u32,
    pub(in crate::server) peer: Option<IpAddr>,
    /// Bytes that were read from it.
    #[serde(default, with = "serde_bytes")]
    pub(in crate::server) early: Vec<u8>,
}

/// A snapshot that is being written.
pub(super) struct SnapshotFile {
    pub(super) writer: SnapshotWriter<BufWriter<File>>,
    pub(super) descriptors: SentDescriptors,
}

impl SnapshotFile {
    pub(super) fn begin(file: File) -> io::Result<Self> {
        let writer = SnapshotWriter::begin(
            BufWriter::with_capacity(64 << 10, file),
            env!("CARGO_PKG_VERSION"),
        )?;
        Ok(Self { writer, descriptors: SentDescriptors::default() })
    }

    pub(super) fn write(&mut self, record: &Record) -> io::Result<()> {
        self.writer.write(record)
    }
}

/// A worker's part of a snapshot.
#[derive(Debug)]
pub(super) struct SnapshotPart {
    pub(super) records: Records,
    pub(super) descriptors: DescriptorSender,
}

impl SnapshotPart {
    /// `first`: the number of its first descriptor.
    pub(super) fn starting_at(first: u32) -> Self {
        let descriptors = DescriptorSender::starting_at(first);
        Self { records: Records::default(), descriptors }
    }

    pub(super) fn write(&mut self, record: &Record) -> io::Result<()> {
        self.records.add(record)
    }
}

/// A worker's part of a snapshot, whose descriptors are on their way.
#[derive(Debug)]
pub(in crate::server) struct SavedPart {
    pub(super) records: Records,
    pub(super) descriptors: InPassage,
}

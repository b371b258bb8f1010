//! What the node has for the bus, on its way from the workers to the cluster's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clarim_hub::BusCommand;
use clarim_protocol::cluster::NodeId;
use tokio::sync::mpsc;

/// Publishers wait while more than this many bytes do.
const MAX_BYTES: usize = 64 << 20;

/// The workers' end.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) id: NodeId,
    sender: mpsc::UnboundedSender<BusCommand>,
    bytes: Arc<AtomicUsize>,
}

/// The end of the cluster's thread.
#[derive(Debug)]
pub(crate) struct Incoming {
    receiver: mpsc::UnboundedReceiver<BusCommand>,
    bytes: Arc<AtomicUsize>,
}

/// A way for what `id` has for the bus.
pub(crate) fn channel(id: NodeId) -> (Outgoing, Incoming) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let bytes = Arc::<AtomicUsize>::default();
    (Outgoing { id, sender, bytes: bytes.clone() }, Incoming { receiver, bytes })
}

impl Outgoing {
    pub(crate) fn tell(&self, told: BusCommand) {
        let weight = told.weight();
        self.bytes.fetch_add(weight, Ordering::Relaxed);
        if self.sender.send(told).is_err() {
            // The server is ending.
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < MAX_BYTES
    }
}

impl Incoming {
    pub(crate) async fn recv(&mut self) -> Option<BusCommand> {
        let told = self.receiver.recv().await?;
        Some(self.taken(told))
    }

    pub(crate) fn try_recv(&mut self) -> Option<BusCommand> {
        let told = self.receiver.try_recv().ok()?;
        Some(self.taken(told))
    }

    fn taken(&self, told: BusCommand) -> BusCommand {
        self.bytes.fetch_sub(told.weight(), Ordering::Relaxed);
        told
    }
}

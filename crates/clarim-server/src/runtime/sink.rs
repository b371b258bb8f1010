//! The sink that executes the hub's outputs.

use std::sync::Arc;
use std::time::Duration;

use clarim_hub::{BusCommand, Output, OutputSink};
use tokio::time::{Instant, sleep};

use super::inbox::Inboxes;
use super::observer::{Observers, Tracer};
use crate::sync::BacklogSender;

/// How long publishers wait for room before they are refused.
const ROOM_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between two checks for room.
const ROOM_INTERVAL: Duration = Duration::from_millis(5);

/// Executes the hub's outputs: messages go to the workers' inboxes, commands to the bus, events to the
/// observers.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) inboxes: Inboxes,
    pub(crate) observers: Observers,
    pub(crate) tracer: Option<Arc<dyn Tracer>>,
    /// The way to the bus, in a cluster.
    pub(crate) bus: Option<BacklogSender<BusCommand>>,
}

impl Sink {
    /// Whether the workers and the bus can take more.
    pub(crate) fn has_room(&self) -> bool {
        self.inboxes.have_room() && self.bus.as_ref().is_none_or(BacklogSender::has_room)
    }

    /// Waits until the workers and the bus have room. Returns `false` if they have none for too long.
    pub(crate) async fn wait_for_room(&self) -> bool {
        if self.has_room() {
            return true;
        }
        let deadline = Instant::now() + ROOM_TIMEOUT;
        while !self.has_room() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(ROOM_INTERVAL).await;
        }
        true
    }
}

impl OutputSink for Sink {
    fn execute(&self, output: Output) {
        match output {
            Output::Worker(worker, message) => self.inboxes.push(worker, message),
            Output::Bus(command) => {
                if let Some(bus) = &self.bus {
                    let bytes = command.weight();
                    bus.send(command, bytes);
                }
            }
            Output::ChannelEvent(event) => {
                self.observers.notify(|observer| observer.channel_event(&event));
            }
            Output::ConnectionEvent(event) => {
                self.observers.notify(|observer| observer.connection_event(&event));
            }
            Output::Migration(migration) => {
                self.observers.notify(|observer| observer.migrated(&migration));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clarim_hub::{ConnectionId, WorkerId, WorkerMessage};

    use super::*;
    use crate::runtime::inbox::MAX_BYTES;

    #[tokio::test(start_paused = true)]
    async fn publishers_wait_for_room_and_are_refused_after_a_timeout() {
        let sink = Arc::new(Sink {
            inboxes: Inboxes::new(2),
            observers: Observers::new(Vec::new()),
            tracer: None,
            bus: None,
        });
        assert!(sink.wait_for_room().await);
        let frame = clarim_protocol::Frame::text(&vec![b'x'; MAX_BYTES]);
        let connection = ConnectionId(0);
        let message = WorkerMessage::Send { connection, socket_id: "1.1".parse().unwrap(), frame };
        sink.execute(Output::Worker(WorkerId(1), message));
        assert!(!sink.wait_for_room().await);
        let waiting = tokio::spawn({
            let sink = sink.clone();
            async move { sink.wait_for_room().await }
        });
        sleep(Duration::from_millis(20)).await;
        sink.inboxes.of(WorkerId(1)).close();
        assert!(waiting.await.unwrap());
    }
}

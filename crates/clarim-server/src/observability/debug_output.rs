//! The debug output: connections and messages as they come and go.
//!
//! These are `tracing` events of one target at debug level, so they cost a comparison while nobody looks.

use clarim_hub::app::App;
use clarim_protocol::{Code, SocketId};

use crate::redact::{pretty, printable};
use crate::runtime::{Closing, Observer, PublishedEvent};

/// Target of the `tracing` events that report connections and messages, at debug level. Their fields are
/// `title`, `subject` and, with several lines, `payload`.
pub const TARGET: &str = "clarim::traffic";

macro_rules! traffic {
    ($title:literal, $subject:expr $(, $payload:expr)?) => {
        tracing::debug!(target: TARGET, title = $title, subject = %$subject $(, payload = $payload)?)
    };
}

fn is_enabled() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
}

/// Writes what happens as `tracing` events.
#[derive(Debug)]
pub(crate) struct DebugOutput;

impl Observer for DebugOutput {
    fn connected(&self, app: &App, socket_id: SocketId) {
        traffic!("Connection Established", format_args!("{socket_id} (app {})", app.id));
    }

    fn received(&self, _app: &App, socket_id: SocketId, text: &str) {
        if is_enabled() {
            traffic!("Message Received", socket_id, pretty(text));
        }
    }

    fn handled(&self, socket_id: SocketId) {
        traffic!("Message Handled", socket_id);
    }

    fn published(&self, event: PublishedEvent<'_>) {
        if is_enabled() {
            let PublishedEvent { channel, name, data, .. } = event;
            let inner = serde_json::from_str::<String>(data).unwrap_or_else(|_| data.to_owned());
            traffic!(
                "Broadcasting To",
                channel.as_str(),
                format!("{}\n{}", printable(name), pretty(&inner))
            );
        }
    }

    fn closing(&self, _app: &App, socket_id: SocketId, closing: Closing) {
        match closing {
            Closing::Slow | Closing::ByClient(_) => {}
            Closing::ByServer(Code::PONG_TIMEOUT) => traffic!("Connection Pruned", socket_id),
            Closing::ByServer(code) => {
                traffic!("Connection Closing", format_args!("{socket_id} ({code})"));
            }
        }
    }

    fn closed(&self, app: &App, socket_id: SocketId) {
        traffic!("Connection Closed", format_args!("{socket_id} (app {})", app.id));
    }
}

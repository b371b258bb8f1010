//! The debug output: connections and messages as they come and go.
//!
//! These are `tracing` events of one target at debug level, so they cost a comparison while nobody looks.

use clarim_hub::app::App;
use clarim_protocol::{Code, SocketId};

use crate::redact::{pretty, printable};
use crate::runtime::{Closing, Observer, PublishedEvent};

/// Target of the `tracing` events that report connections and messages, at debug level. Their fields are
/// `title`, `subject`, where known `app` and `size` (in bytes), and with several lines `payload`.
pub const TARGET: &str = "clarim::traffic";

macro_rules! traffic {
    ($title:literal, $subject:expr $(, $name:ident = $value:expr)*) => {
        tracing::debug!(target: TARGET, title = $title, subject = %$subject $(, $name = $value)*)
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
        traffic!("Connection Established", socket_id, app = app.id);
    }

    fn received(&self, app: &App, socket_id: SocketId, text: &str) {
        if is_enabled() {
            let payload = pretty(text);
            traffic!(
                "Message Received",
                socket_id,
                app = app.id,
                size = text.len(),
                payload = payload
            );
        }
    }

    fn handled(&self, socket_id: SocketId) {
        traffic!("Message Handled", socket_id);
    }

    fn published(&self, event: PublishedEvent<'_>) {
        if is_enabled() {
            let PublishedEvent { app, channel, name, data, .. } = event;
            let inner = serde_json::from_str::<String>(data).unwrap_or_else(|_| data.to_owned());
            let payload = format!("{}\n{}", printable(name), pretty(&inner));
            traffic!(
                "Broadcasting To",
                channel.as_str(),
                app = app.id,
                size = inner.len(),
                payload = payload
            );
        }
    }

    fn closing(&self, app: &App, socket_id: SocketId, closing: Closing) {
        match closing {
            Closing::Slow | Closing::ByClient(_) => {}
            Closing::ByServer(Code::PONG_TIMEOUT) => {
                traffic!("Connection Pruned", socket_id, app = app.id);
            }
            Closing::ByServer(code) => {
                traffic!("Connection Closing", format_args!("{socket_id} ({code})"), app = app.id);
            }
        }
    }

    fn closed(&self, app: &App, socket_id: SocketId) {
        traffic!("Connection Closed", socket_id, app = app.id);
    }
}

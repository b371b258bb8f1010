//! The engine as an echo server, for Autobahn's test suite. Built by its own feature alone.

use clarim_hub::app::App;
use clarim_server::{Server, config::ServerConfig};

/// Autobahn sends messages of up to 16 MiB.
const LARGEST: usize = 32 << 20;

fn main() -> std::io::Result<()> {
    let mut app = App::new("echo", "echo", "echo");
    app.limits.message_bytes = LARGEST;
    let settings = ServerConfig {
        port: 9001,
        outbox_bytes: 2 * LARGEST,
        compression: true,
        ..ServerConfig::default()
    };
    Server::start(settings, vec![app], false)?.wait()
}

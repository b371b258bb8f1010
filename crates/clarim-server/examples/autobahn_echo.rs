//! The engine as an echo server, for Autobahn's test suite. Prints its address.
#![expect(clippy::print_stdout, reason = "the caller reads the address")]

use clarim_server::config::ServerConfig;
use clarim_server::{App, Server};

/// Maximum message size. Autobahn sends messages of up to 16 MiB.
const MAX_MESSAGE: usize = 32 << 20;

fn main() -> std::io::Result<()> {
    let mut app = App::new("echo", "echo", "echo");
    app.limits.message_bytes = MAX_MESSAGE;
    let config = ServerConfig::default().port(0).outbox_bytes(2 * MAX_MESSAGE).compression(true);
    let bound = Server::bind(config)?;
    println!("{}", bound.address());
    bound.start(vec![app], false)?.wait()
}

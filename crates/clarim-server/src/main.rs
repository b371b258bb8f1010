//! stand-in
use clarim_hub::app::App;
use clarim_server::{Server, settings::ServerSettings};
fn main() {
    let port = std::env::args().nth(1).map_or(8080, |p| p.parse().unwrap());
    tracing_subscriber::fmt().init();
    let server = Server::start(
        ServerSettings { port, ..Default::default() },
        vec![App::new("123456", "reverb-key", "reverb-secret")],
        true,
    )
    .unwrap();
    eprintln!("{}", server.address());
    server.wait().unwrap();
}

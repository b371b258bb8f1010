//! One event, with the server in the application's process. Run `cargo run -p clarim --example hello`, and
//! open the printed address in two windows.
#![expect(clippy::print_stdout, reason = "the example prints its address")]

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use clarim::embedded::{App, ServerConfig};
use clarim::{Broadcast, Clarim};
use serde::Serialize;
use tokio::net::TcpListener;
use ts_rs::TS;

#[derive(Serialize, TS, Broadcast)]
#[broadcast(channel = "greetings", now)]
pub(crate) struct Greeting {
    text: &'static str,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let apps = vec![App::new("1", "hello-key", "hello-secret")];
    let clarim = Clarim::embedded(ServerConfig::default(), apps)?;
    let app = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/hello", post(hello))
        .merge(clarim.routes())
        .with_state(clarim.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let stop = clarim.drained(async { tokio::signal::ctrl_c().await.unwrap_or_default() });
    clarim::embedded::serve(listener, app, stop).await;
    Ok(())
}

async fn hello(State(clarim): State<Clarim>) -> Result<(), (StatusCode, String)> {
    let sent = clarim.broadcast(Greeting { text: "Olá" }).await;
    sent.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))
}

/// With Echo this would be one line. A page without a build step uses the protocol directly.
const PAGE: &str = r#"<!doctype html><title>Clarim</title><button>Say hello</button> <output></output>
<script type="module">
  const socket = new WebSocket(`ws://${location.host}/app/hello-key?protocol=7`);
  socket.onmessage = ({ data }) => {
    const { event, data: text } = JSON.parse(data);
    if (event === 'pusher:connection_established') {
      socket.send(JSON.stringify({ event: 'pusher:subscribe', data: { channel: 'greetings' } }));
    } else if (event === 'App\\Events\\Greeting') {
      document.querySelector("output").append(`${JSON.parse(text).text} `);
    }
  };
  document.querySelector('button').onclick = () => fetch('/hello', { method: 'POST' });
</script>
"#;

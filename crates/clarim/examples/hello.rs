//! Server and application in one process, and one event. `cargo run -p clarim --example hello`, then open
//! the address that it prints in two windows.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

use axum::extract::State;
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use clarim::embedded::{App, ServerSettings};
use clarim::{Broadcast, Clarim};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use ts_rs::TS;

#[derive(Serialize, TS, Broadcast)]
#[broadcast(channel = "greetings", now)]
pub(crate) struct Greeting {
    text: &'static str,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = ServerSettings { port: 0, ..ServerSettings::default() };
    let clarim = Clarim::embedded(server, vec![App::new("1", "hello-key", "hello-secret")])?;
    let app = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/port", get(port))
        .route("/hello", post(hello))
        .with_state(clarim);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn hello(State(clarim): State<Clarim>) -> Result<(), String> {
    clarim.broadcast(Greeting { text: "Olá" }).await.map_err(|error| error.to_string())
}

async fn port(State(clarim): State<Clarim>) -> Json<Value> {
    Json(json!(clarim.server().map(|server| server.address().port())))
}

/// Echo would do this in one line; a page without a build step speaks to the server itself.
const PAGE: &str = r#"<!doctype html><title>Clarim</title><button>Say hello</button> <output></output>
<script type="module">
  const port = await (await fetch('/port')).json();
  const socket = new WebSocket(`ws://127.0.0.1:${port}/app/hello-key?protocol=7`);
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

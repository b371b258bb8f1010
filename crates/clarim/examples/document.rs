//! A shared document with its current members: a presence channel and client events, which bypass the
//! backend. Run `cargo run -p clarim --example document`, and open the printed address in two windows, with
//! two names.
#![expect(clippy::print_stdout, reason = "the example prints its address")]

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use clarim::Clarim;
use clarim::authorization::{Channels, Member};
use clarim::embedded::{App, ServerConfig};
use tokio::net::TcpListener;

/// The user of a request; in an application, from a session or a token.
struct User {
    name: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let apps = vec![App::new("1", "document-key", "document-secret")];
    let clarim = Clarim::embedded(ServerConfig::default(), apps)?;
    let channels = Channels::new().presence("documents.{id}", |user: User, id: u32| {
        // There is one document, and every user may edit it.
        (id == 1).then(|| Member::new(user.name))
    });
    let authorization = channels.routes(
        |parts| Some(User { name: parts.headers.get("x-user")?.to_str().ok()?.to_owned() }),
        clarim.clone(),
    )?;
    let app: Router = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .merge(authorization)
        .merge(clarim.routes());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let stop = clarim.drained(async { tokio::signal::ctrl_c().await.unwrap_or_default() });
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

/// With Echo this would be a few lines. A page without a build step uses the protocol directly.
const PAGE: &str = r#"<!doctype html><title>Document</title><p>Here: <output></output></p><textarea></textarea>
<script type="module">
  const channel = 'presence-documents.1';
  const name = prompt('Your name') ?? 'guest';
  const socket = new WebSocket(`ws://${location.host}/app/document-key?protocol=7`);
  const [list, text] = ['output', 'textarea'].map((tag) => document.querySelector(tag));
  const here = new Set();
  const send = (event, data) => socket.send(JSON.stringify({ event, channel, data }));
  const hear = {
    'pusher:connection_established': async ({ socket_id }) => {
      const body = new URLSearchParams({ socket_id, channel_name: channel });
      const answer = await fetch('/broadcasting/auth', { method: 'POST', body, headers: { 'X-User': name } });
      send('pusher:subscribe', { channel, ...(await answer.json()) });
    },
    'pusher_internal:subscription_succeeded': ({ presence }) => presence.ids.forEach((id) => here.add(id)),
    'pusher_internal:member_added': ({ user_id }) => here.add(user_id),
    'pusher_internal:member_removed': ({ user_id }) => here.delete(user_id),
    'client-written': ({ written }) => { text.value = written; },
  };
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    const parsed = typeof message.data === 'string' ? JSON.parse(message.data) : message.data;
    hear[message.event]?.(parsed);
    list.value = [...here].join(', ');
  };
  text.oninput = () => send('client-written', { written: text.value });
</script>
"#;

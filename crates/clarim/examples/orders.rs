//! An application with a private channel. Start a server (`cargo run`), give this its `REVERB_APP_*`
//! variables, and run `cargo run -p clarim --example orders`. The front end listens with
//! `Echo.private('orders.1').listen('OrderShipped', …)`, and `POST /orders/1/ship` is what it hears.
//! With `QUEUE_CONNECTION=sqlite` the events wait in a file, until `orders queue work` takes them from there.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::process::ExitCode;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::routing::post;
use clarim::authorization::Channels;
use clarim::{Broadcast, Clarim, SocketId};
use serde::Serialize;
use tokio::net::TcpListener;

#[derive(Serialize, Broadcast)]
#[broadcast(private = "orders.{order}")]
struct OrderShipped {
    order: u64,
    tracking: String,
}

/// Who makes a request; in an application, of a session or a token.
struct User {
    id: u64,
}

fn user(parts: &Parts) -> Option<User> {
    let id = parts.headers.get("x-user")?.to_str().ok()?.parse().ok()?;
    Some(User { id })
}

/// The orders of a user are those with its own number, and the hundreds above it.
fn owns(user: &User, order: u64) -> bool {
    order % 100 == user.id
}

async fn ship(State(clarim): State<Clarim>, Path(order): Path<u64>, socket: Option<SocketId>) {
    let event = OrderShipped { order, tracking: format!("BR{order:09}") };
    // Queued, and an error doesn't fail the request.
    clarim.broadcast(event).to_others(socket).rescue().await.ok();
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let clarim = Clarim::from_env()?;
    // `orders queue work`, `orders queue failed`, …
    if let Some(code) = clarim::queue::cli::run(&clarim).await {
        return Ok(code);
    }
    let channels = Channels::new()
        .private("orders.{order}", |user: User, order: u64| async move { owns(&user, order) });
    let app = Router::new()
        .route("/orders/{order}/ship", post(ship))
        .merge(channels.routes(|parts| user(&parts), clarim.clone())?)
        .with_state(clarim.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(interrupted()).await?;
    clarim.idle().await;
    Ok(ExitCode::SUCCESS)
}

async fn interrupted() {
    tokio::signal::ctrl_c().await.ok();
}

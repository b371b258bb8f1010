//! An application with a private channel. Start a server (`cargo run`), set its `REVERB_APP_*` variables,
//! and run `cargo run -p clarim --example orders`. The front end listens with
//! `Echo.private('orders.1').listen('OrderShipped', …)`, and `POST /orders/1/ship` sends the event. With
//! `QUEUE_CONNECTION=sqlite` the events wait in a file until `orders queue work` publishes them.
#![expect(clippy::print_stdout, reason = "the example prints its address")]

use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::routing::post;
use clarim::authorization::Channels;
use clarim::{Broadcast, Clarim, SocketId};
use serde::Serialize;
use tokio::net::TcpListener;
use ts_rs::TS;

#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "orders.{order}")]
pub(crate) struct OrderShipped {
    order: u64,
    tracking: String,
}

/// The user of a request; in an application, from a session or a token.
struct User {
    id: u64,
}

fn user(parts: &Parts) -> Option<User> {
    let id = parts.headers.get("x-user")?.to_str().ok()?.parse().ok()?;
    Some(User { id })
}

/// A user owns the orders whose last two digits are its id.
fn owns(user: &User, order: u64) -> bool {
    order % 100 == user.id
}

async fn ship(State(clarim): State<Clarim>, Path(order): Path<u64>, socket: Option<SocketId>) {
    let event = OrderShipped { order, tracking: format!("BR{order:09}") };
    // The event is queued, and an error does not fail the request.
    clarim.broadcast(event).to_others(socket).rescue().await;
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
    axum::serve(listener, app).with_graceful_shutdown(clarim.drained(interrupted())).await?;
    clarim.idle_within(Duration::from_secs(5)).await?;
    Ok(ExitCode::SUCCESS)
}

async fn interrupted() {
    tokio::signal::ctrl_c().await.ok();
}

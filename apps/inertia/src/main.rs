//! A chat as an Inertia application: Vue pages with props from Rust, live over Clarim. `cargo xtask inertia`
//! builds and starts it. Two windows, one of them private, are two users.
#![expect(clippy::print_stdout, reason = "prints the address at start")]

mod chat;
mod pages;
mod users;

use std::env;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};
use clarim::Clarim;
use clarim::authorization::Channels;
use clarim::embedded::{App as ServerApp, ServerConfig};
use tokio::net::TcpListener;
use tower_http::services::ServeDir;
use tower_sessions::{MemoryStore, SessionManagerLayer};
use veer::InertiaLayer;

use chat::Message;
use users::User;

/// The state of the handlers. A real application has a database.
#[derive(Debug, Clone)]
struct App {
    clarim: Clarim,
    messages: Arc<Mutex<Vec<Message>>>,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let server = ServerApp::new("inertia", "inertia-key", "inertia-secret");
    let clarim = Clarim::embedded(ServerConfig::default(), vec![server])?;

    let channels = Channels::new()
        .presence("online", |user: User| Some(user.member()))
        .presence("chat.{id}", |user: User, id: u64| chat::find(id).map(|_| user.member()))
        .private("App.Models.User.{id}", |user: User, id: u64| user.id == id);
    let dist = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist"));
    let router = Router::new()
        .route("/", get(async || Redirect::to("/chats/1")))
        .route("/login", get(users::login).post(users::log_in))
        .route("/logout", post(users::log_out))
        .route("/chats/{id}", get(chat::show))
        .route("/chats/{id}/messages", post(chat::send))
        .merge(channels.routes_by_extractor(clarim.clone())?)
        .layer(InertiaLayer::new(pages::config(dist)?))
        // Over HTTPS, use the default: true.
        .layer(SessionManagerLayer::new(MemoryStore::default()).with_secure(false))
        .nest_service("/assets", ServeDir::new(dist.join("assets")))
        .merge(clarim.routes())
        .with_state(App { clarim: clarim.clone(), messages: Arc::default() });

    let address = env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    let stop = clarim.drained(async { tokio::signal::ctrl_c().await.unwrap_or_default() });
    clarim::embedded::serve(listener, router, stop).await;
    Ok(())
}

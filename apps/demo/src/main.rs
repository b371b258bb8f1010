//! Chat, notifications, a live dashboard and a shared editor: what the parts of Clarim are together. See
//! the README beside this.
#![expect(clippy::print_stdout, reason = "it says where it listens, and who can log in")]

mod chat;
mod dashboard;
mod database;
mod editor;
mod notifications;
mod parts;
mod refusal;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod web;

use std::sync::Arc;

use anyhow::{Context, Result};
use clarim::embedded::{App as ServerApp, Server, ServerConfig};
use clarim::notification::Notifications;
use clarim::types::Types;
use clarim::{Clarim, Connection};
use sqlx::AnyPool;
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

use session::User;
use settings::Settings;

/// What handlers work with.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) db: AnyPool,
    pub(crate) clarim: Clarim,
    pub(crate) notifications: Notifications,
    pub(crate) settings: Arc<Settings>,
}

impl App {
    async fn open(settings: Settings) -> Result<Self> {
        let db = database::open(&settings.database).await?;
        let notifications = Notifications::connect(&settings.database).await?;
        notifications.migrate().await?;
        let clarim =
            broadcasting(settings.clarim.clone())?.with_notifications(notifications.clone());
        Ok(Self { db, clarim, notifications, settings: Arc::new(settings) })
    }
}

/// The server in this process, at the address of the pages; or one elsewhere.
fn broadcasting(settings: clarim::Settings) -> Result<Clarim> {
    if settings.connection != Connection::Embedded {
        return Ok(Clarim::new(settings)?);
    }
    // Nobody else signs with it, and nothing that is signed outlives the process.
    let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let app = ServerApp::new("demo", "demo-key", secret);
    let server = ServerConfig::default().drain(parts::DRAIN);
    let server = Server::without_port(server, vec![app.clone()])
        .context("the embedded server cannot be started")?;
    Ok(Clarim::with_server(settings, server, &app))
}

/// What the pages know of the events: `clarim-demo types FILE` writes it.
fn types() -> Types {
    let types = Types::new().member::<User>().member::<session::SessionInfo>();
    editor::types(dashboard::types(notifications::types(chat::types(types))))
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, file] = &arguments[..]
        && command == "types"
    {
        return Ok(types().write(file)?);
    }
    dotenvy::dotenv().ok();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let app = App::open(Settings::from_env()?).await?;
    parts::run(app).await
}

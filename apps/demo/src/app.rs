//! The application's state.

use std::sync::Arc;

use anyhow::{Context, Result};
use clarim::embedded::{App as ServerApp, HistoryRule, Server, ServerConfig};
use clarim::notification::Notifications;
use clarim::{Clarim, Connection};
use sqlx::AnyPool;
use uuid::Uuid;

use crate::database;
use crate::limits::Limits;
use crate::settings::{DRAIN, Settings};

/// The application's state, which handlers share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) db: AnyPool,
    pub(crate) clarim: Clarim,
    pub(crate) notifications: Notifications,
    pub(crate) settings: Arc<Settings>,
    pub(crate) limits: Arc<Limits>,
}

impl App {
    pub(crate) async fn open(settings: Settings) -> Result<Self> {
        let db = database::open(&settings.database).await?;
        let notifications = Notifications::connect(&settings.database).await?;
        notifications.migrate().await?;
        let clarim =
            broadcasting(settings.clarim.clone())?.with_notifications(notifications.clone());
        let limits = Arc::new(Limits::new());
        Ok(Self { db, clarim, notifications, settings: Arc::new(settings), limits })
    }
}

/// Broadcasts through a server in this process, or through another one if the settings name it.
fn broadcasting(settings: clarim::Settings) -> Result<Clarim> {
    if settings.connection != Connection::Embedded {
        return Ok(Clarim::new(settings)?);
    }
    // A random secret is enough: signatures are made and checked only in this process.
    let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let mut app = ServerApp::new("demo", "demo-key", secret);
    // Pages that reconnect get what they missed, and fetch again only after a gap.
    app.history.push(HistoryRule::new("*"));
    let server = ServerConfig::default().drain(DRAIN);
    let server = Server::without_port(server, vec![app.clone()])
        .context("cannot start the embedded server")?;
    Ok(Clarim::with_server(settings, server, &app))
}

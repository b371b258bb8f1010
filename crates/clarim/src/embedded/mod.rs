//! The server in the application's process, for [`Clarim::embedded`](crate::Clarim::embedded) and
//! [`Clarim::with_server`](crate::Clarim::with_server).
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use clarim::Clarim;
//! use clarim::embedded::{App, ClientEvents, Origins, ServerConfig};
//!
//! let mut app = App::new("100001", "key", "secret");
//! app.origins = Origins::new(["example.com"]);
//! app.client_events = ClientEvents::None;
//! app.limits.presence_members = 100;
//!
//! let server = ServerConfig::default().drain(Duration::from_secs(5));
//! let clarim = Clarim::embedded(server, vec![app])?;
//! # Ok::<(), clarim::Error>(())
//! ```

mod serve;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;

use crate::error::Error;

pub use clarim_protocol::auth::AppKey;
pub use clarim_server::config::{Bus, Scaling, ServerConfig, Tls, Token, Webhook};
pub use clarim_server::{
    App, ClientEventData, ClientEvents, Ended, Events, HistoryRule, Limits, Origins, PublishError,
    RateLimit, Server, ServerEvent, StartError,
};
pub use serve::serve;

/// The app as which the application publishes.
pub(crate) fn first_app(apps: &[App]) -> Result<App, Error> {
    apps.first().cloned().ok_or_else(|| failed(NoApp))
}

#[derive(Debug, thiserror::Error)]
#[error(
    "it has no app; add one with App::new, or set REVERB_APP_ID, REVERB_APP_KEY and REVERB_APP_SECRET"
)]
struct NoApp;

pub(crate) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Embedded { source: Box::new(error), temporary: false }
}

/// Starts a server with the configuration of the command `clarim start`.
#[cfg(feature = "config")]
pub(crate) fn server_from_env() -> Result<(Server, App), Error> {
    use clarim_config::{Config, ConfigSources, Flags};
    let found = Config::load(&Flags::default(), &ConfigSources::of_process()).map_err(failed)?;
    for warning in &found.warnings {
        tracing::warn!("{warning}");
    }
    let app = first_app(&found.apps)?;
    let server = Server::start(found.server, found.apps, false).map_err(failed)?;
    Ok((server, app))
}

/// The settings to publish over HTTP to the server that another process has started with this environment.
#[cfg(all(feature = "config", feature = "cli"))]
pub(crate) fn over_http_from_env(
    settings: crate::settings::Settings,
) -> Result<crate::settings::Settings, Error> {
    use clarim_config::{Config, ConfigSources, Flags};
    let found = Config::load(&Flags::default(), &ConfigSources::of_process()).map_err(failed)?;
    let app = first_app(&found.apps)?;
    let server = found.server;
    // An address of all interfaces is not one to connect to.
    let host = match server.host.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "::1".to_owned(),
        host => host.to_owned(),
    };
    Ok(crate::settings::Settings {
        connection: crate::settings::Connection::Http,
        app_id: app.id.clone(),
        app_key: Some(app.key.clone()),
        max_data_bytes: app.limits.event_data_bytes,
        host,
        port: server.port,
        https: server.tls.is_some(),
        path: server.path,
        ..settings
    })
}

/// The server's routes for the application's router.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(server: &Server) -> Router<S> {
    let service = server.http_service();
    let path = service.path().to_owned();
    let answer = any(move |request: Request| {
        let service = service.clone();
        async move { service.call(request).await }
    });
    Router::new()
        .route(&format!("{path}/app/{{key}}"), answer.clone())
        .route(&format!("{path}/app/{{page}}/app/{{key}}"), answer.clone())
        .route(&format!("{path}/pusher/app/{{*rest}}"), answer.clone())
        .route(&format!("{path}/pusher/{{page}}/app/{{*rest}}"), answer.clone())
        .route(&format!("{path}/apps/{{*rest}}"), answer)
}

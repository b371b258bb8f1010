//! The apps of a running server.

use std::collections::HashMap;
use std::sync::Arc;

use clarim_hub::Node;
use clarim_hub::app::{App, Hooks};

use super::consumers::WebhookHandle;
use crate::config::{Webhook, hooks};
use crate::runtime::Sink;

/// A handle that changes the apps of a running server. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ServedApps {
    pub(super) node: Arc<Node<Sink>>,
    pub(super) webhooks: WebhookHandle,
    /// Whether the server reports everything to event streams.
    pub(super) has_events: bool,
}

impl ServedApps {
    /// Replaces the apps, and their webhook endpoints by the app's id.
    ///
    /// An app that is served already keeps its connections, whatever else changes. The connections of a
    /// removed app are closed with code 4003 within a second.
    ///
    /// ```no_run
    /// use std::collections::HashMap;
    /// use clarim_server::{App, Server, config::ServerConfig};
    ///
    /// let first = App::new("1", "key", "secret");
    /// let server = Server::start(ServerConfig::default(), vec![first.clone()], false)?;
    /// let second = App::new("2", "another-key", "another-secret");
    /// server.apps().set(vec![first, second], HashMap::new());
    /// # Ok::<(), clarim_server::StartError>(())
    /// ```
    pub fn set(&self, apps: Vec<App>, webhooks: HashMap<String, Vec<Webhook>>) {
        self.node.apps().set(with_hooks(apps, &webhooks, self.has_events));
        self.webhooks.set(webhooks);
    }
}

/// Sets the hub's hooks of each app to what its webhooks need, or to everything with `has_events`.
pub(super) fn with_hooks(
    apps: Vec<App>,
    webhooks: &HashMap<String, Vec<Webhook>>,
    has_events: bool,
) -> Vec<App> {
    let set = |mut app: App| {
        // Without the feature nothing would be sent, and the hub need not report anything.
        let endpoints = webhooks.get(&app.id).filter(|_| cfg!(feature = "webhooks"));
        let hooks = endpoints.map_or(app.hooks, |all| hooks(all));
        app.hooks = if has_events { Hooks::ALL } else { hooks };
        app
    };
    apps.into_iter().map(set).collect()
}

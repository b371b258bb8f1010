//! Apps with their webhooks.

use std::collections::HashMap;

use clarim_server::App;
use clarim_server::config::Webhook;

use crate::apps_database::Table;

/// Apps, and their webhook endpoints by the app's id.
#[derive(Clone, Default)]
pub(super) struct AppSet {
    pub(super) apps: Vec<App>,
    pub(super) webhooks: HashMap<String, Vec<Webhook>>,
}

impl AppSet {
    /// These apps and those of the table.
    pub(super) fn with(mut self, table: &Table) -> Self {
        for it in table.apps() {
            if !it.webhooks.is_empty() {
                self.webhooks.insert(it.app.id.clone(), it.webhooks.clone());
            }
            self.apps.push(it.app.clone());
        }
        self
    }
}

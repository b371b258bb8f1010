//! While the server runs: apps that were added, changed or removed in the files of the settings, or in the
//! database of apps.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use clarim_config::{AppRow, Config, ConfigSources, DatabaseUrl, Flags, Row};
use clarim_hub::app::App;
use clarim_server::ServedApps;
use clarim_server::config::Webhook;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc::Receiver;
use tokio::time::{MissedTickBehavior, interval};

use crate::apps_database::{Change, INTERVAL, Table, told};

/// What the server was started with, and what changes of it.
pub(super) struct Reload {
    flags: Flags,
    sources: ConfigSources,
    apps: ServedApps,
    started: Started,
    stamps: Vec<Stamp>,
    /// Those of the files.
    own: Apps,
    table: Table,
}

/// Apps, and who is told what happens there.
#[derive(Clone, Default)]
pub(super) struct Apps(pub(super) Vec<App>, pub(super) HashMap<String, Vec<Webhook>>);

impl Apps {
    /// These, and those of the table.
    pub(super) fn with(mut self, table: &Table) -> Self {
        for it in table.apps() {
            if !it.webhooks.is_empty() {
                self.1.insert(it.app.id.clone(), it.webhooks.clone());
            }
            self.0.push(it.app.clone());
        }
        self
    }
}

/// When a file was last changed, and its size.
type Stamp = Option<(SystemTime, u64)>;

impl Reload {
    pub(super) fn new(
        flags: &Flags,
        sources: ConfigSources,
        started: Started,
        apps: ServedApps,
        (own, table): (Apps, Table),
    ) -> Self {
        let stamps = stamps(&started.files);
        Self { flags: flags.clone(), sources, apps, started, stamps, own, table }
    }

    /// Reads the settings when a file has changed or SIGHUP comes, and takes the database's rows that come,
    /// for ever.
    pub(super) async fn run(
        mut self,
        hangup: std::io::Result<Signal>,
        mut rows: Receiver<Vec<AppRow>>,
    ) {
        let mut hangup = hangup.ok();
        let mut pause = interval(INTERVAL);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = told(&mut hangup) => {}
                Some(rows) = rows.recv() => {
                    let change = self.table.take(rows, &self.own.0);
                    self.serve_table(&change);
                    continue;
                }
                _ = pause.tick() => {
                    if stamps(&self.started.files) == self.stamps {
                        continue;
                    }
                }
            }
            self.stamps = stamps(&self.started.files);
            self.read();
        }
    }

    fn read(&mut self) {
        let settings = match Config::check(&self.flags, &self.sources) {
            Ok(settings) => settings,
            Err(error) => {
                return tracing::error!(
                    "the changed settings are not used, for they are wrong:\n{error}"
                );
            }
        };
        if let Err(error) = self.table.allows(&settings.apps) {
            return tracing::error!(
                "the changed settings are not used, for they are wrong:\n{error}"
            );
        }
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        if settings.is_development() != self.started.is_development {
            let begun = if self.started.is_development { "without an app" } else { "with apps" };
            return tracing::warn!(
                "the server was started {begun}; start it again for the changed settings"
            );
        }
        let Started { server, .. } = Started::of(&settings);
        for (old, new) in self.started.server.iter().zip(&server) {
            if old.value != new.value {
                let (name, value) = (new.name, &new.value);
                tracing::warn!(
                    name,
                    value,
                    "this setting is in force when the server is started again"
                );
            }
        }
        let both = self.started.database.as_ref().zip(settings.apps_database.as_ref());
        if both.is_some_and(|(old, new)| old != new) {
            tracing::warn!(
                name = "APPS_DATABASE_URL",
                "this setting is in force when the server is started again"
            );
        }
        let count = settings.apps.len();
        self.own = Apps(settings.apps, settings.server.webhooks);
        // A row that could not be beside the files' apps may be now.
        let change = self.table.settle(&self.own.0);
        self.serve();
        tracing::info!(count, "the apps were read again");
        tell(&change);
    }

    fn serve_table(&self, change: &Change) {
        if change.is_any() {
            self.serve();
        }
        tell(change);
    }

    fn serve(&self) {
        let Apps(apps, webhooks) = self.own.clone().with(&self.table);
        self.apps.set(apps, webhooks);
    }
}

/// What has changed in the database's table.
fn tell(change: &Change) {
    for (app, error) in &change.wrong {
        tracing::error!(
            app,
            "a row of clarim_apps is not used, for it is wrong; its app stays as it was:\n{error}"
        );
    }
    if change.is_any() {
        let Change { added, changed, removed, .. } = change;
        tracing::info!(added, changed, removed, "the apps of the database have changed");
    }
}

/// What is kept of the settings at the start.
pub(super) struct Started {
    is_development: bool,
    /// Of the server as a whole: what is in force until it is started again.
    server: Vec<Row>,
    database: Option<DatabaseUrl>,
    files: Vec<PathBuf>,
}

impl Started {
    pub(super) fn of(settings: &Config) -> Self {
        let of_server = |row: &&Row| row.group == "server";
        Self {
            is_development: settings.is_development(),
            server: settings.rows.iter().filter(of_server).cloned().collect(),
            database: settings.apps_database.clone(),
            files: settings.files.clone(),
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let data = fs::metadata(file).ok()?;
        Some((data.modified().ok()?, data.len()))
    };
    files.iter().map(stamp).collect()
}

//! Changes of apps while the server runs, in the files of the settings or in the database.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use clarim_config::{AppRow, Config, DatabaseUrl, Row};
use clarim_server::ServedApps;
use tokio::sync::mpsc::Receiver;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::served_apps::AppSet;
use crate::apps_database::{Change, INTERVAL, Table};
use crate::flags::ConfigInputs;
use crate::process::signals::ReloadSignal;

const INVALID: &str = "invalid settings are ignored; the previous ones stay in force";
const AFTER_RESTART: &str = "this setting takes effect after a restart";

/// The task that applies changes of apps.
pub(super) struct Reload {
    inputs: ConfigInputs,
    fixed: FixedSettings,
    served: ServedApps,
    stamps: Vec<Stamp>,
    /// The apps of the files.
    own: AppSet,
    table: Table,
}

/// Time of a file's last change, and its size.
type Stamp = Option<(SystemTime, u64)>;

impl Reload {
    pub(super) fn new(
        inputs: ConfigInputs,
        fixed: FixedSettings,
        served: ServedApps,
        own: AppSet,
        table: Table,
    ) -> Self {
        let stamps = stamps(&fixed.files);
        Self { inputs, fixed, served, stamps, own, table }
    }

    /// Reads the settings again when a file has changed or at SIGHUP, and applies rows of the database.
    pub(super) async fn run(mut self, mut hangup: ReloadSignal, mut rows: Receiver<Vec<AppRow>>) {
        let mut pause = interval(INTERVAL);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = hangup.next() => {}
                Some(rows) = rows.recv() => {
                    let change = self.table.update(rows, &self.own.apps);
                    if change.is_any() {
                        self.serve();
                    }
                    log_change(&change);
                    continue;
                }
                _ = pause.tick() => {
                    if stamps(&self.fixed.files) == self.stamps {
                        continue;
                    }
                }
            }
            self.stamps = stamps(&self.fixed.files);
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let ConfigInputs { flags, sources } = self.inputs.clone();
        // In a Laravel application it runs PHP. Signals and the watchdog must not wait for that.
        let checked = spawn_blocking(move || Config::check(&flags, &sources)).await;
        let settings = match checked {
            Ok(Ok(settings)) => settings,
            Ok(Err(error)) => return tracing::error!("{INVALID}:\n{error}"),
            Err(error) => return tracing::error!("{INVALID}:\n{error}"),
        };
        if let Err(error) = self.table.check_beside(&settings.apps) {
            return tracing::error!("{INVALID}:\n{error}");
        }
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        if settings.is_development() != self.fixed.is_development {
            let mode = if self.fixed.is_development { "without an app" } else { "with apps" };
            return tracing::warn!(
                "the server was started {mode}; restart it to apply the settings"
            );
        }
        self.fixed.warn_of_changes(&settings);
        let count = settings.apps.len();
        self.own = AppSet { apps: settings.apps, webhooks: settings.server.webhooks };
        // A row that conflicted with an app of the files may be valid now.
        let change = self.table.settle(&self.own.apps);
        self.serve();
        tracing::info!(count, "apps reloaded");
        log_change(&change);
    }

    fn serve(&self) {
        let AppSet { apps, webhooks } = self.own.clone().with(&self.table);
        self.served.set(apps, webhooks);
    }
}

fn log_change(change: &Change) {
    for (app, error) in &change.wrong {
        tracing::error!(
            app,
            "invalid row of clarim_apps is ignored; its app stays as it was:\n{error}"
        );
    }
    if change.is_any() {
        let Change { added, changed, removed, .. } = change;
        tracing::info!(added, changed, removed, "apps of the database changed");
    }
}

/// Settings that can't change while the server runs.
pub(super) struct FixedSettings {
    is_development: bool,
    server: Vec<Row>,
    database: Option<DatabaseUrl>,
    files: Vec<PathBuf>,
}

impl FixedSettings {
    pub(super) fn of(settings: &Config) -> Self {
        let of_server = |row: &&Row| row.group == "server";
        Self {
            is_development: settings.is_development(),
            server: settings.rows.iter().filter(of_server).cloned().collect(),
            database: settings.apps_database.clone(),
            files: settings.files.clone(),
        }
    }

    fn warn_of_changes(&self, settings: &Config) {
        let new = Self::of(settings);
        for (old, new) in self.server.iter().zip(&new.server) {
            if old.value != new.value {
                tracing::warn!(name = new.name, value = new.value, "{AFTER_RESTART}");
            }
        }
        // The report does not show its value.
        let both = self.database.as_ref().zip(new.database.as_ref());
        if both.is_some_and(|(old, new)| old != new) {
            tracing::warn!(name = "APPS_DATABASE_URL", "{AFTER_RESTART}");
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

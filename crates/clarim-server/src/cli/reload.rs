//! While the server runs: apps that were added, changed or removed in the files of the settings.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::Signal;
use tokio::time::sleep;

use crate::server::ServedApps;
use crate::settings::{Flags, Row, Settings, Surroundings};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// What the server was started with, and what changes of it.
pub(super) struct Reload {
    flags: Flags,
    surroundings: Surroundings,
    apps: ServedApps,
    started: Started,
    stamps: Vec<Stamp>,
}

/// When a file was last changed, and its size.
type Stamp = Option<(SystemTime, u64)>;

impl Reload {
    pub(super) fn new(
        flags: &Flags,
        surroundings: Surroundings,
        started: Started,
        apps: ServedApps,
    ) -> Self {
        let stamps = stamps(&started.files);
        Self { flags: flags.clone(), surroundings, apps, started, stamps }
    }

    /// Reads the settings when a file has changed or SIGHUP comes, for ever.
    pub(super) async fn run(mut self, hangup: std::io::Result<Signal>) {
        let mut hangup = hangup.ok();
        loop {
            let told = async {
                match &mut hangup {
                    Some(signal) => signal.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = told => {}
                () = sleep(INTERVAL) => {
                    if stamps(&self.started.files) == self.stamps {
                        continue;
                    }
                }
            }
            self.stamps = stamps(&self.started.files);
            self.read();
        }
    }

    fn read(&self) {
        let settings = match Settings::check(&self.flags, &self.surroundings) {
            Ok(settings) => settings,
            Err(error) => {
                return tracing::error!(
                    "the changed settings are not used, for they are wrong:\n{error}"
                );
            }
        };
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
        let count = settings.apps.len();
        self.apps.set(settings.apps, settings.server.webhooks);
        tracing::info!(count, "the apps were read again");
    }
}

/// What is kept of the settings at the start.
pub(super) struct Started {
    is_development: bool,
    /// Of the server as a whole: what is in force until it is started again.
    server: Vec<Row>,
    files: Vec<PathBuf>,
}

impl Started {
    pub(super) fn of(settings: &Settings) -> Self {
        let of_server = |row: &&Row| row.group == "server";
        Self {
            is_development: settings.is_development(),
            server: settings.rows.iter().filter(of_server).cloned().collect(),
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

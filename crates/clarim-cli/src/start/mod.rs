//! `clarim start`: the server, from its settings to its end.

mod banner;
mod reload;
mod served_apps;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clarim_config::{Config, CreateIfMissing, Flags};
use clarim_server::Server;

use crate::apps_database::{self, HOW_TO_ADD, INTERVAL, Table, Watcher};
use crate::error::CommandError;
use crate::flags::sources;
use crate::log;
use crate::process::open_files;
use crate::process::run_file::RunFile;
use crate::process::signals::{ReloadSignal, StopSignals};
use crate::process::systemd;
use banner::{Banner, has_playground};
use reload::{FixedSettings, Reload};
use served_apps::AppSet;

/// Runs the server until SIGTERM or SIGINT, then drains it. A second signal ends it immediately.
pub(crate) fn run(flags: &Flags, out: &mut dyn Write) -> Result<ExitCode, CommandError> {
    let sources = sources();
    let mut settings = Config::load(flags, &sources)?;
    let _log = log::start(settings.log).map_err(io::Error::other)?;
    settings.server.dropped_log_lines = log::dropped;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let loaded = runtime.block_on(load_apps(&mut settings))?;
    let open_files = open_files::raise_limit();
    let bound = Server::bind(settings.server.clone())?;
    let address = bound.address();
    let is_terminal = io::stdout().is_terminal();
    let banner = Banner { settings: &settings, address, open_files, is_terminal }.to_string();
    let run_file = RunFile::create(&settings.state_dir, address.port())
        .inspect_err(|error| {
            let directory = settings.state_dir.display();
            tracing::warn!(%error, %directory, "`clarim restart` will not find this server");
        })
        .ok();
    let playground = has_playground(&settings, address);
    let fixed = FixedSettings::of(&settings);
    let server = bound.start(settings.apps, playground)?;
    let context = runtime.enter();
    // A supervisor may stop the server as soon as it is ready.
    let signals = StopSignals::listen();
    let (changes, rows) = tokio::sync::mpsc::channel(1);
    if let Some(watcher) = loaded.watcher {
        runtime.spawn(watcher.run(changes, ReloadSignal::listen()));
    }
    let reload =
        Reload::new(flags.clone(), sources, fixed, server.apps(), loaded.own, loaded.table);
    runtime.spawn(reload.run(ReloadSignal::listen(), rows));
    drop(context);
    // The output may be closed already.
    let _ = out.write_all(banner.as_bytes()).and_then(|()| out.flush());
    tracing::info!(%address, "listening");
    systemd::notify_ready();
    if let Some(timeout) = systemd::watchdog_timeout() {
        runtime.spawn(systemd::feed_watchdog(server.liveness(), timeout));
    }
    let result = runtime.block_on(serve(server, run_file, signals));
    // After a second signal a thread still waits for the server.
    runtime.shutdown_background();
    Ok(result?)
}

/// The apps of the files, and the table of the database.
struct LoadedApps {
    own: AppSet,
    table: Table,
    watcher: Option<Watcher>,
}

/// Reads the apps of the database and adds them to the settings.
async fn load_apps(settings: &mut Config) -> Result<LoadedApps, CommandError> {
    let own = AppSet { apps: settings.apps.clone(), webhooks: settings.server.webhooks.clone() };
    let mut table = Table::new(&settings.server);
    let Some(opened) = apps_database::open(settings, CreateIfMissing::Yes).await? else {
        return Ok(LoadedApps { own, table, watcher: None });
    };
    table.update(opened.rows, &own.apps);
    table.check()?;
    let all = own.clone().with(&table);
    settings.apps = all.apps;
    settings.server.webhooks = all.webhooks;
    if settings.apps.is_empty() {
        tracing::warn!(
            "there is no app yet; add one to serve it within {INTERVAL:?}: {HOW_TO_ADD}"
        );
    } else {
        tracing::info!(count = table.apps().count(), "apps read from the database");
    }
    Ok(LoadedApps { own, table, watcher: Some(opened.watcher) })
}

async fn serve(
    server: Server,
    run_file: Option<RunFile>,
    mut signals: StopSignals,
) -> io::Result<ExitCode> {
    let stop = server.stopper();
    let mut ended = tokio::task::spawn_blocking(|| server.wait());
    tokio::select! {
        result = &mut ended => return result?.map(|()| ExitCode::SUCCESS),
        name = signals.next() => {
            tracing::info!(signal = name, "draining; a second signal ends the server immediately");
            systemd::notify_stopping();
        }
    }
    // A successor can take over the port from now on.
    drop(run_file);
    stop();
    tokio::select! {
        result = ended => {
            tracing::info!("all connections are closed");
            result?.map(|()| ExitCode::SUCCESS)
        }
        name = signals.next() => {
            tracing::warn!(signal = name, "ending immediately");
            Ok(ExitCode::FAILURE)
        }
    }
}

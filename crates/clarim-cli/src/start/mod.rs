//! `clarim start`: the server, from its settings to its end.

mod banner;
mod reload;
mod served_apps;
mod upgrade;

use std::io::{self, Write};
use std::process::ExitCode;

use clarim_config::{Config, CreateIfMissing};
use clarim_server::config::ServerConfig;
use clarim_server::{BoundServer, HandoverHandle, Server, StartError};
use futures_util::FutureExt;

use crate::apps_database::{self, HOW_TO_ADD, INTERVAL, Table, Watcher};
use crate::doctor::{self, Finding, Level};
use crate::error::CommandError;
use crate::flags::ConfigInputs;
use crate::log;
use crate::printable::has_colours;
use crate::process::open_files;
use crate::process::program::unblock_signals;
use crate::process::run_file::RunFile;
use crate::process::signals::{ReloadSignal, RestartSignal, StopSignals};
use crate::process::succession::{CheckReport, Start};
use crate::process::supervision;
use crate::process::systemd;
use banner::{Banner, has_playground};
use reload::{FixedSettings, Reload};
use served_apps::AppSet;
use upgrade::{Predecessor, Upgrade};

/// Runs the server until SIGTERM or SIGINT, then drains it. A second signal ends it immediately.
pub(crate) fn run(inputs: ConfigInputs, out: &mut dyn Write) -> Result<ExitCode, CommandError> {
    // Before anything else reads the standard input.
    let mut predecessor = match Start::of_process()? {
        Start::Fresh => None,
        Start::Check => return check(&inputs, out),
        Start::Successor => Some(Predecessor::of_process()?),
    };
    let mut settings = Config::load(&inputs.flags, &inputs.sources)?;
    let _log = log::start(settings.log).map_err(io::Error::other)?;
    settings.server.dropped_log_lines = log::dropped;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let loaded = runtime.block_on(load_apps(&mut settings))?;
    let open_files = open_files::raise_limit();
    let run_file = predecessor.as_mut().and_then(Predecessor::take_run_file);
    settings.server.restarts_in_place = supervision::restarts_in_place();
    let bound = bind(predecessor, &settings.server)?;
    let address = bound.address();
    // The port is open: clients that come while the bus does not reply wait.
    if bound.paused_since().is_none() {
        runtime.block_on(check_history(&settings))?;
    }
    let is_coloured = has_colours(&io::stdout());
    let banner = Banner { settings: &settings, address, open_files, is_coloured }.to_string();
    let run_file = run_file.or_else(|| {
        let drains = !HandoverHandle::is_supported();
        let created = RunFile::create(&settings.state_dir, address.port(), drains);
        let warn = "`clarim restart` will not find this server";
        created.inspect_err(|error| tracing::warn!(%error, "{warn}")).ok()
    });
    let playground = has_playground(&settings, address);
    let fixed = FixedSettings::of(&settings);
    let paused_since = bound.paused_since();
    let server = bound.start(settings.apps, playground)?;
    let context = runtime.enter();
    // A supervisor may stop the server as soon as it is ready.
    let signals = StopSignals::listen();
    let restarts = RestartSignal::listen();
    let (changes, rows) = tokio::sync::mpsc::channel(1);
    if let Some(watcher) = loaded.watcher {
        runtime.spawn(watcher.run(changes, ReloadSignal::listen()));
    }
    let reload = Reload::new(inputs, fixed, server.apps(), loaded.own, loaded.table);
    runtime.spawn(reload.run(ReloadSignal::listen(), rows));
    drop(context);
    let mut upgrade = Upgrade::new(run_file, server.handover());
    if let Some(since) = paused_since {
        upgrade.report_success(since.elapsed().unwrap_or_default());
    } else {
        // The output may be closed already.
        let _ = out.write_all(banner.as_bytes()).and_then(|()| out.flush());
        tracing::info!(%address, "listening");
    }
    unblock_signals();
    systemd::notify_ready();
    if let Some(timeout) = systemd::watchdog_timeout() {
        runtime.spawn(systemd::feed_watchdog(server.liveness(), timeout));
    }
    let result = runtime.block_on(serve(server, upgrade, signals, restarts));
    // After a second signal a thread still waits for the server.
    runtime.shutdown_background();
    Ok(result?)
}

/// Checks that the server would start, for a running one that is to be replaced.
fn check(inputs: &ConfigInputs, out: &mut dyn Write) -> Result<ExitCode, CommandError> {
    let mut settings = Config::load(&inputs.flags, &inputs.sources)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(load_apps(&mut settings))?;
    runtime.block_on(check_history(&settings))?;
    Server::check(&settings.server)?;
    writeln!(out, "{}", serde_json::to_string(&CheckReport::own()).map_err(io::Error::from)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses history rules if the bus keeps no events. A bus that does not reply may do so later.
async fn check_history(settings: &Config) -> Result<(), CommandError> {
    match doctor::history_store(settings).await {
        Some(finding) if finding.level == Level::Problem => Err(CommandError::History(finding)),
        Some(Finding { level: Level::Warning, what, remedy, .. }) => {
            tracing::warn!("{what}; {remedy}");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Listens: where the predecessor did, on a socket that a service manager has opened, or at the configured
/// address.
fn bind(
    predecessor: Option<Predecessor>,
    config: &ServerConfig,
) -> Result<BoundServer, StartError> {
    let config = config.clone();
    match predecessor {
        Some(predecessor) => predecessor.inherited.bind(config),
        None => match supervision::listening_socket() {
            Some(socket) => Server::bind_to(config, socket),
            None => Server::bind(config),
        },
    }
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
    mut upgrade: Upgrade,
    mut signals: StopSignals,
    mut restarts: RestartSignal,
) -> io::Result<ExitCode> {
    let stop = server.stopper();
    let mut ended = tokio::task::spawn_blocking(|| server.wait());
    let name = loop {
        tokio::select! {
            result = &mut ended => return result?.map(|()| ExitCode::SUCCESS),
            name = signals.next() => break name,
            () = restarts.next() => {}
        }
        // A stop has priority: dropping the restart lets the server go on.
        tokio::select! {
            biased;
            name = signals.next() => break name,
            () = upgrade.run() => {}
        }
        // One that was asked for in the meantime was refused.
        while restarts.next().now_or_never().is_some() {}
    };
    tracing::info!(signal = name, "draining; a second signal ends the server immediately");
    systemd::notify_stopping();
    // A successor can take over the port from now on.
    drop(upgrade);
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

//! `clarim start`: the server, from its settings to its end.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clarim_config::{Config, CreateIfMissing, Flags};
use clarim_server::{Liveness, Server};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CommandError;
use super::banner::banner;
use super::reload::{Apps, Reload, Started};
use crate::apps_database::{self, HOW_TO_ADD, INTERVAL, Table, Watched};
use crate::run_file::RunFile;
use crate::{log, open_files};

/// Runs the server until SIGTERM or SIGINT, then drains it. A second signal ends it at once.
pub(super) fn start(flags: &Flags, out: &mut dyn Write) -> Result<ExitCode, CommandError> {
    let sources = super::sources();
    let mut settings = Config::load(flags, &sources)?;
    let _log = log::start(settings.log).map_err(io::Error::other)?;
    settings.server.dropped_log_lines = log::dropped;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (own, table, watched) = runtime.block_on(apps(&mut settings))?;
    let open_files = open_files::raise();
    let bound = Server::bind(settings.server.clone()).map_err(io::Error::from)?;
    let address = bound.address();
    let text = banner(&settings, address, open_files, io::stdout().is_terminal());
    let run_file = RunFile::create(&settings.state_dir, address.port())
        .inspect_err(|error| {
            let directory = settings.state_dir.display();
            tracing::warn!(%error, %directory, "`clarim restart` will not find this server");
        })
        .ok();
    let playground = has_playground(&settings, address);
    let started = Started::of(&settings);
    let server = bound.start(settings.apps, playground).map_err(io::Error::from)?;
    // Whoever reads below that the server listens may stop it at once.
    let (signals, hangups) = {
        let _context = runtime.enter();
        let stop = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        (stop, [SignalKind::hangup(); 2].map(signal))
    };
    let [hangup, hangup_too] = hangups;
    let (news, rows) = tokio::sync::mpsc::channel(1);
    if let Some(watched) = watched {
        runtime.spawn(watched.run(news, hangup_too));
    }
    let reload = Reload::new(flags, sources, started, server.apps(), (own, table));
    runtime.spawn(reload.run(hangup, rows));
    // Whoever has started the server may have closed its output.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    tracing::info!(%address, "listening");
    tell_systemd(NotifyState::Ready);
    if let Some(limit) = sd_notify::watchdog_enabled() {
        runtime.spawn(reassure(server.liveness(), limit));
    }
    let result = runtime.block_on(serve(server, run_file, signals));
    // The thread that waits for the server may still wait, after a second signal.
    runtime.shutdown_background();
    Ok(result?)
}

/// The apps of the files, and those of the database, which join them in the settings.
async fn apps(settings: &mut Config) -> Result<(Apps, Table, Option<Watched>), CommandError> {
    let own = Apps(settings.apps.clone(), settings.server.webhooks.clone());
    let mut table = Table::new(&settings.server);
    let Some((watched, rows)) = apps_database::open(settings, CreateIfMissing::Yes).await? else {
        return Ok((own, table, None));
    };
    table.take(rows, &own.0);
    table.check()?;
    let Apps(apps, webhooks) = own.clone().with(&table);
    (settings.apps, settings.server.webhooks) = (apps, webhooks);
    if settings.apps.is_empty() {
        tracing::warn!(
            "there is no app yet; add one, and it is served within {INTERVAL:?}: {HOW_TO_ADD}"
        );
    } else {
        tracing::info!(count = table.apps().count(), "apps were read from the database");
    }
    Ok((own, table, Some(watched)))
}

/// Says how the server is doing to who has started it, if that is systemd (`Type=notify`).
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd was not told");
    }
}

/// Tells systemd within each `limit` (`WatchdogSec=`) that all is well, while each worker has turned since
/// the last time. A server with a worker that is stuck serves some of its clients and not the others, and
/// does not know which: it is started anew.
async fn reassure(mut liveness: Liveness, limit: Duration) {
    let mut pause = tokio::time::interval((limit / 2).max(Liveness::MIN_INTERVAL));
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known = None;
    loop {
        pause.tick().await;
        let stuck = liveness.stuck_worker();
        match stuck {
            None => tell_systemd(NotifyState::Watchdog),
            Some(worker) if stuck != known => {
                tracing::error!(worker, "stuck; systemd is to start the server anew");
            }
            Some(_) => {}
        }
        known = stuck;
    }
}

/// The built-in page publishes for whoever opens it: it is for this machine alone, and for nobody once
/// an app is configured.
pub(super) fn has_playground(settings: &Config, address: SocketAddr) -> bool {
    settings.is_development() && address.ip().is_loopback()
}

async fn serve(
    server: Server,
    run_file: Option<RunFile>,
    mut signals: Signals,
) -> io::Result<ExitCode> {
    let stop = server.stopper();
    let mut ended = tokio::task::spawn_blocking(|| server.wait());
    tokio::select! {
        result = &mut ended => return result?.map(|()| ExitCode::SUCCESS),
        name = received(&mut signals) => {
            tracing::info!(signal = name, "draining; the same signal again ends it at once");
            tell_systemd(NotifyState::Stopping);
        }
    }
    // A successor may have the address from now on.
    drop(run_file);
    stop();
    tokio::select! {
        result = ended => {
            tracing::info!("all connections are closed");
            result?.map(|()| ExitCode::SUCCESS)
        }
        name = received(&mut signals) => {
            tracing::warn!(signal = name, "ending at once");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// SIGTERM and SIGINT.
type Signals = [io::Result<Signal>; 2];

/// The name of the next signal. A signal that can't be waited for never comes.
async fn received(signals: &mut Signals) -> &'static str {
    async fn one(signal: &mut io::Result<Signal>) {
        match signal {
            Ok(signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    }
    let [terminate, interrupt] = signals;
    tokio::select! {
        () = one(terminate) => "SIGTERM",
        () = one(interrupt) => "SIGINT",
    }
}

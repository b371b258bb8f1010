//! `clarim start`: the server, from its settings to its end.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CommandError;
use super::banner::banner;
use super::reload::{Reload, Started};
use crate::engine::SWEEP_INTERVAL;
use crate::listen::listen;
use crate::pulse::Watch;
use crate::run_file::RunFile;
use crate::server::Server;
use crate::settings::{Flags, Settings, Surroundings};
use crate::{log, open_files};

/// Runs the server until SIGTERM or SIGINT, then drains it. A second signal ends it at once.
pub(super) fn start(flags: &Flags, out: &mut dyn Write) -> Result<ExitCode, CommandError> {
    let surroundings = Surroundings::current();
    let settings = Settings::load(flags, &surroundings)?;
    let server = &settings.server;
    let log = log::start(server.log_format, server.log_level, server.debug);
    let _log = log.map_err(io::Error::other)?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let open_files = open_files::raise();
    let (address, listeners) = listen(server)?;
    let text = banner(&settings, address, open_files, io::stdout().is_terminal());
    let run_file = RunFile::create(&server.state_dir, address.port())
        .inspect_err(|error| {
            let directory = server.state_dir.display();
            tracing::warn!(%error, %directory, "`clarim restart` will not find this server");
        })
        .ok();
    let playground = has_playground(&settings, address);
    let started = Started::of(&settings);
    let server = Server::start_on(listeners, settings.server, settings.apps, playground)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Whoever reads below that the server listens may stop it at once.
    let (signals, hangup) = {
        let _context = runtime.enter();
        let stop = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
        (stop, signal(SignalKind::hangup()))
    };
    runtime.spawn(Reload::new(flags, surroundings, started, server.apps()).run(hangup));
    // Whoever has started the server may have closed its output.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    tracing::info!(%address, "listening");
    tell_systemd(NotifyState::Ready);
    if let Some(limit) = sd_notify::watchdog_enabled() {
        runtime.spawn(reassure(server.watch(), limit));
    }
    let result = runtime.block_on(serve(server, run_file, signals));
    // The thread that waits for the server may still wait, after a second signal.
    runtime.shutdown_background();
    Ok(result?)
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
async fn reassure(mut watch: Watch, limit: Duration) {
    let mut pause = tokio::time::interval((limit / 2).max(SWEEP_INTERVAL * 3));
    pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known = None;
    loop {
        pause.tick().await;
        let stuck = watch.stuck();
        match stuck {
            None => tell_systemd(NotifyState::Watchdog),
            Some(worker) if stuck != known => {
                tracing::error!(worker = worker.0, "stuck; systemd is to start the server anew");
            }
            Some(_) => {}
        }
        known = stuck;
    }
}

/// The built-in page publishes for whoever opens it: it is for this machine alone, and for nobody once
/// an app is configured.
pub(super) fn has_playground(settings: &Settings, address: SocketAddr) -> bool {
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

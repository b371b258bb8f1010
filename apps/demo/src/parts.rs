//! The parts of the application: web, worker and scheduler, in one process or in several.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clarim::queue::{JobState, Worker};
use clarim::schedule::Schedule;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::app::App;
use crate::database::{PASSWORD, USERS};
use crate::session::Sessions;
use crate::{dashboard, web};

/// Polling interval of an idle worker, about the delay of a queued event.
const POLL: Duration = Duration::from_millis(20);

/// Maximum time for the events of a queue in memory, at the end of the process.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// Runs the parts until the process receives SIGINT or SIGTERM, or a part fails.
pub(crate) async fn run(app: App) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let parts = app.settings.run;
    let on_signal = async {
        let signalled = shutdown_signal().await;
        stop.send_replace(true);
        signalled
    };
    let web = async {
        match parts.web {
            true => serve(&app, stopped.clone()).await,
            false => Ok(()),
        }
    };
    let worker = async {
        // A queue in memory runs its jobs itself.
        if parts.worker && app.clarim.storage().is_ok() {
            let worker = Worker::new(&app.clarim)?.poll(POLL).concurrency(4).report(|report| {
                if let JobState::Retrying { error, .. } | JobState::Failed { error, .. } =
                    report.state
                {
                    tracing::warn!(event = report.name, error, "queued event not sent");
                }
            });
            worker.run_until(until(stopped.clone())).await;
        }
        Ok(())
    };
    let scheduler = async {
        if parts.scheduler {
            schedule(&app)?.run(until(stopped.clone())).await?;
        }
        Ok(())
    };
    tokio::try_join!(on_signal, web, worker, scheduler)?;
    Ok(app.clarim.idle_within(SHUTDOWN).await?)
}

/// The scheduled tasks. The queue's locks let only one of several nodes run each of them.
fn schedule(app: &App) -> Result<Schedule> {
    let db = app.db.clone();
    let schedule = Schedule::new()
        .time_zone("America/Sao_Paulo")
        .lock(app.clarim.queue())
        .call("delete expired sessions", move || {
            let db = db.clone();
            async move { Sessions::prune(&db).await }
        })
        .hourly()
        .on_one_node();
    dashboard::schedule(schedule, app)
}

async fn serve(app: &App, stopped: watch::Receiver<bool>) -> Result<()> {
    let router = web::router(app.clone())?;
    let address = app.settings.address;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on ADDRESS={address}"))?;
    greet(app, listener.local_addr()?);
    let stop = app.clarim.drained(until(stopped));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stop).await.context("HTTP")
}

fn greet(app: &App, listens: SocketAddr) {
    println!("{} (listening on {listens})", app.settings.url);
    let logins: Vec<&str> = USERS.iter().map(|(_, login, _)| *login).collect();
    println!("users: {}; password: {PASSWORD}", logins.join(", "));
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender was dropped, which stops the process as well.
    stopped.wait_for(|stopped| *stopped).await.ok();
}

async fn shutdown_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

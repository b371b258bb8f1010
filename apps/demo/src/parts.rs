//! The parts of the application, in one process or in several: web, worker, scheduler.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clarim::queue::{JobState, Worker};
use clarim::schedule::Schedule;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::database::{PASSWORD, USERS};
use crate::session::Sessions;
use crate::{App, dashboard, web};

/// How often an idle worker looks for events that wait: about the time that they wait.
const POLL: Duration = Duration::from_millis(20);

/// In which the embedded server sends its pages away.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);

/// Until the process is told to stop, or one part can't go on.
pub(crate) async fn run(app: App) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let parts = app.settings.run;
    let on_signal = async {
        let signalled = told_to_stop().await;
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
                    tracing::warn!(event = report.name, error, "a queued event was not sent");
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
    app.clarim.idle().await;
    Ok(())
}

/// What is done by the clock. On one node of several: the queue's locks are for all of them.
fn schedule(app: &App) -> Result<Schedule> {
    let db = app.db.clone();
    let schedule = Schedule::new()
        .time_zone("America/Sao_Paulo")
        .lock(app.clarim.queue())
        .call("forget expired sessions", move || {
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
        .with_context(|| format!("ADDRESS={address} cannot be listened at"))?;
    greet(app, listener.local_addr()?);
    let clarim = app.clarim.clone();
    let stop = async move {
        until(stopped).await;
        if let Some(server) = clarim.server() {
            server.stop();
            // Pages are sent away one after the other. Who comes again meanwhile is told to wait a second,
            // which is better than to find nobody.
            let emptied = async {
                while !server.is_empty() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(DRAIN + Duration::from_secs(1), emptied).await.ok();
        }
    };
    axum::serve(listener, router).with_graceful_shutdown(stop).await.context("HTTP")
}

fn greet(app: &App, listens: SocketAddr) {
    println!("{} (listens at {listens})", app.settings.url);
    let logins: Vec<&str> = USERS.iter().map(|(_, login, _)| *login).collect();
    println!("users: {}; password: {PASSWORD}", logins.join(", "));
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that who would say it is gone.
    stopped.wait_for(|stopped| *stopped).await.ok();
}

async fn told_to_stop() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

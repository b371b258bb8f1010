//! Figures of the shop and of the server, measured by the scheduler and pushed to every page that shows
//! them. For comparison, pages can poll them instead.

mod store;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use clarim::Broadcast;
use clarim::authorization::Channels;
use clarim::notification::Notification;
use clarim::schedule::Schedule;
use clarim::types::Types;
use serde::{Deserialize, Serialize};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use ts_rs::TS;

use crate::app::App;
use crate::database::now;
use crate::error::{ApiError, ApiResult};
use crate::orders;
use crate::session::User;
use store::{Limit, Metric, Sample};

/// Maximum range of a chart, in seconds: as long as samples are kept.
const MAX_RANGE: i64 = 24 * 60 * 60;

/// New metrics, for every page that shows them.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "dashboard", now)]
struct MetricsUpdated {
    sample: Sample,
}

/// A value has exceeded the limit that this user has set.
#[derive(Debug, Serialize, TS)]
pub(crate) struct LimitCrossed {
    metric: Metric,
    value: f64,
    above: f64,
}

impl Notification<User> for LimitCrossed {}

/// Samples, oldest first.
#[derive(Serialize, TS)]
struct MetricsPage {
    samples: Vec<Sample>,
    /// Seconds between two samples.
    every: u32,
}

/// The application's time, by which pages correct their own clocks.
#[derive(Serialize, TS)]
struct ServerTime {
    /// Milliseconds since 1970.
    now: i64,
}

pub(crate) fn types(types: Types) -> Types {
    types
        .event::<MetricsUpdated>()
        .notification::<LimitCrossed>("App\\Notifications\\LimitCrossed")
        .member::<MetricsPage>()
        .member::<Limit>()
        .member::<ServerTime>()
}

pub(crate) fn channels(channels: Channels<User, App>) -> Channels<User, App> {
    channels.private("dashboard", |_: User| true)
}

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/api/metrics", get(list))
        .route("/api/metrics/limits", get(limits).put(set_limit))
        .route("/api/time", get(time))
}

pub(crate) fn schedule(schedule: Schedule, app: &App) -> Result<Schedule> {
    let app = app.clone();
    let probe = Arc::new(Probe::new()?);
    let every = app.settings.metrics_every;
    let db = app.db.clone();
    Ok(schedule
        .call("place and ship orders", move || {
            let db = db.clone();
            async move { orders::trade(&db).await }
        })
        .every(every)
        .on_one_node()
        .without_overlapping()
        .call("measure", move || {
            let app = app.clone();
            let probe = probe.clone();
            async move { measure(&app, &probe).await }
        })
        .every(every)
        .on_one_node()
        .without_overlapping())
}

/// Measures the process and the machine. CPU usage is measured between two calls.
struct Probe(Mutex<System>);

impl Probe {
    fn new() -> Result<Self> {
        let mut system = System::new()?;
        system.refresh_cpu_usage();
        Ok(Self(Mutex::new(system)))
    }

    /// CPU usage of the machine in percent, and memory of this process in MiB.
    fn measure(&self) -> (f64, f64) {
        let pid = Pid::from_u32(std::process::id());
        // Held for microseconds, and only by one task.
        let mut system = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        system.refresh_cpu_usage();
        system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[pid]),
            false,
            ProcessRefreshKind::nothing().with_memory(),
        );
        let bytes = system.process(pid).map_or(0, sysinfo::Process::memory);
        #[expect(clippy::cast_precision_loss, reason = "a process has less than 2^52 KiB")]
        let memory = (bytes / 1024) as f64 / 1024.0;
        (f64::from(system.global_cpu_usage()), memory)
    }
}

/// Rounds to two decimal places, to keep events short.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "neither is anywhere near 2^52")]
fn per_minute(count: i64, milliseconds: i64) -> f64 {
    count as f64 * 60_000.0 / milliseconds.max(1) as f64
}

/// Measures, stores and broadcasts a sample, and notifies users whose limit is exceeded.
async fn measure(app: &App, probe: &Probe) -> Result<()> {
    let total = store::total(&app.db).await?;
    let last = store::last(&app.db).await?;
    let (cpu, memory) = probe.measure();
    let server = app.clarim.server();
    let connections = server.map(|server| server.connections("demo").into());
    let at = now();
    let activity =
        last.map_or(0.0, |(then, before)| per_minute((total - before).max(0), at - then));
    let cpu = rounded(cpu);
    let memory = rounded(memory);
    let activity = rounded(activity);
    let orders::Figures { sales_today, active_users, pending_orders } =
        orders::figures(&app.db, at).await?;
    let sample = Sample {
        at,
        sales_today,
        active_users,
        pending_orders,
        cpu,
        memory,
        connections,
        activity,
    };
    store::add(&app.db, &sample, total).await?;
    let notified = notify(app, &sample).await;
    app.clarim.broadcast(MetricsUpdated { sample }).await?;
    notified
}

async fn notify(app: &App, sample: &Sample) -> Result<()> {
    for store::Crossing { user, metric, value, above } in store::crossings(&app.db, sample).await? {
        if let Some(user) = User::find(&app.db, user).await? {
            app.clarim.notify(&user, LimitCrossed { metric, value, above }).await?;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Filter {
    /// Only samples after this time.
    after: Option<i64>,
    /// Only samples of the last so many seconds, and averages where there are many.
    range: Option<i64>,
}

async fn list(
    State(app): State<App>,
    _: User,
    Query(Filter { after, range }): Query<Filter>,
) -> ApiResult<Json<MetricsPage>> {
    let samples = match range {
        Some(range) => store::range(&app.db, range.clamp(60, MAX_RANGE)).await?,
        None => store::samples(&app.db, after.unwrap_or(0)).await?,
    };
    let every = u32::try_from(app.settings.metrics_every.as_secs())?;
    Ok(Json(MetricsPage { samples, every }))
}

async fn limits(State(app): State<App>, user: User) -> ApiResult<Json<Vec<Limit>>> {
    Ok(Json(store::limits(&app.db, user.id).await?))
}

#[derive(Deserialize)]
struct NewLimit {
    metric: Metric,
    /// `null` removes the limit.
    above: Option<f64>,
}

async fn set_limit(
    State(app): State<App>,
    user: User,
    Json(NewLimit { metric, above }): Json<NewLimit>,
) -> ApiResult<StatusCode> {
    if above.is_some_and(|above| !(0.0..=1_000_000.0).contains(&above)) {
        return Err(ApiError::Invalid("above", "out_of_range"));
    }
    store::set_limit(&app.db, user.id, metric, above).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn time() -> Json<ServerTime> {
    Json(ServerTime { now: now() })
}

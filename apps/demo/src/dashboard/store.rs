//! Samples and limits in the database.

use serde::{Deserialize, Serialize};
use sqlx::{AnyPool, FromRow};
use ts_rs::TS;

use crate::database::now;

/// Maximum number of samples in a response: an hour at 30 s.
const PAGE: i64 = 120;
/// Maximum number of points in a chart.
const POINTS: i64 = 600;
/// Retention of samples, in milliseconds.
const KEPT: i64 = 24 * 60 * 60 * 1000;

/// The metrics at one time.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow, TS)]
pub(crate) struct Sample {
    /// Time of the measurement, in milliseconds since 1970.
    pub(super) at: i64,
    /// Sum of today's orders, in reais.
    pub(super) sales_today: f64,
    /// Users with a request in the last five minutes.
    pub(super) active_users: i64,
    /// Orders that are not shipped yet.
    pub(super) pending_orders: i64,
    /// CPU usage of the machine, in percent.
    pub(super) cpu: f64,
    /// Memory of the process, in MiB.
    pub(super) memory: f64,
    /// Open connections. `null` if the server is another process.
    pub(super) connections: Option<i64>,
    /// Messages and edits per minute.
    pub(super) activity: f64,
}

/// A metric that can have a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    SalesToday,
    ActiveUsers,
    PendingOrders,
    Cpu,
    Memory,
    Connections,
    Activity,
}

impl Metric {
    const ALL: [Self; 7] = [
        Self::SalesToday,
        Self::ActiveUsers,
        Self::PendingOrders,
        Self::Cpu,
        Self::Memory,
        Self::Connections,
        Self::Activity,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::SalesToday => "sales_today",
            Self::ActiveUsers => "active_users",
            Self::PendingOrders => "pending_orders",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Connections => "connections",
            Self::Activity => "activity",
        }
    }

    fn of(self, sample: &Sample) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "no count is anywhere near 2^52")]
        let counted = |count: i64| count as f64;
        match self {
            Self::SalesToday => Some(sample.sales_today),
            Self::ActiveUsers => Some(counted(sample.active_users)),
            Self::PendingOrders => Some(counted(sample.pending_orders)),
            Self::Cpu => Some(sample.cpu),
            Self::Memory => Some(sample.memory),
            Self::Connections => sample.connections.map(counted),
            Self::Activity => Some(sample.activity),
        }
    }
}

/// A limit above which a user is notified.
#[derive(Debug, PartialEq, Serialize, TS)]
pub(crate) struct Limit {
    metric: Metric,
    above: f64,
}

/// The newest samples after this time, oldest first.
pub(super) async fn samples(db: &AnyPool, after: i64) -> sqlx::Result<Vec<Sample>> {
    let mut samples: Vec<Sample> = sqlx::query_as(
        "SELECT at, sales_today, active_users, pending_orders, cpu, memory, connections, activity
         FROM metrics WHERE at > $1 ORDER BY at DESC LIMIT $2",
    )
    .bind(after)
    .bind(PAGE)
    .fetch_all(db)
    .await?;
    samples.reverse();
    Ok(samples)
}

/// Samples of the last `seconds`, oldest first. If there are more than [`POINTS`], averages of equal periods.
pub(super) async fn range(db: &AnyPool, seconds: i64) -> sqlx::Result<Vec<Sample>> {
    let first = now() - seconds * 1000;
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM metrics WHERE at > $1")
        .bind(first)
        .fetch_one(db)
        .await?;
    let period = if count > POINTS { seconds * 1000 / POINTS } else { 1 };
    sqlx::query_as(
        "SELECT MAX(at) AS at, AVG(sales_today) AS sales_today, MAX(active_users) AS active_users,
                MAX(pending_orders) AS pending_orders, AVG(cpu) AS cpu, AVG(memory) AS memory,
                MAX(connections) AS connections, AVG(activity) AS activity
         FROM metrics WHERE at > $1 GROUP BY at / $2 ORDER BY 1",
    )
    .bind(first)
    .bind(period)
    .fetch_all(db)
    .await
}

/// Total number of messages and edits.
pub(super) async fn total(db: &AnyPool) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT CAST((SELECT COALESCE(SUM(last_seq), 0) FROM conversations)
         + (SELECT COALESCE(SUM(last_seq), 0) FROM documents) AS BIGINT)",
    )
    .fetch_one(db)
    .await
}

/// Time of the last sample, and the total at that time.
pub(super) async fn last(db: &AnyPool) -> sqlx::Result<Option<(i64, i64)>> {
    let query = sqlx::query_as("SELECT at, total FROM metrics ORDER BY at DESC LIMIT 1");
    query.fetch_optional(db).await
}

pub(super) async fn add(db: &AnyPool, sample: &Sample, total: i64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO metrics (at, sales_today, active_users, pending_orders, cpu, memory, connections,
                              activity, total)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (at) DO NOTHING",
    )
    .bind(sample.at)
    .bind(sample.sales_today)
    .bind(sample.active_users)
    .bind(sample.pending_orders)
    .bind(sample.cpu)
    .bind(sample.memory)
    .bind(sample.connections)
    .bind(sample.activity)
    .bind(total)
    .execute(db)
    .await?;
    let old = sqlx::query("DELETE FROM metrics WHERE at < $1").bind(now() - KEPT);
    old.execute(db).await.map(drop)
}

pub(super) async fn limits(db: &AnyPool, user: i64) -> sqlx::Result<Vec<Limit>> {
    let rows: Vec<(String, f64)> =
        sqlx::query_as("SELECT metric, above FROM metric_limits WHERE user_id = $1")
            .bind(user)
            .fetch_all(db)
            .await?;
    let limit = |metric: Metric| {
        let found = rows.iter().find(|(name, _)| name == metric.name())?;
        Some(Limit { metric, above: found.1 })
    };
    Ok(Metric::ALL.into_iter().filter_map(limit).collect())
}

/// Sets or removes a limit. The user is notified at the next sample if the value exceeds it.
pub(super) async fn set_limit(
    db: &AnyPool,
    user: i64,
    metric: Metric,
    above: Option<f64>,
) -> sqlx::Result<()> {
    let query = match above {
        Some(above) => sqlx::query(
            "INSERT INTO metric_limits (user_id, metric, above) VALUES ($1, $2, $3)
             ON CONFLICT (user_id, metric) DO UPDATE SET above = excluded.above, is_over = 0",
        )
        .bind(user)
        .bind(metric.name())
        .bind(above),
        None => sqlx::query("DELETE FROM metric_limits WHERE user_id = $1 AND metric = $2")
            .bind(user)
            .bind(metric.name()),
    };
    query.execute(db).await.map(drop)
}

/// A user whose limit was exceeded.
#[derive(Debug, PartialEq)]
pub(super) struct Crossing {
    pub(super) user: i64,
    pub(super) metric: Metric,
    pub(super) value: f64,
    pub(super) above: f64,
}

/// Limits that this sample exceeds for the first time since the value was at the limit or below.
pub(super) async fn crossings(db: &AnyPool, sample: &Sample) -> sqlx::Result<Vec<Crossing>> {
    let mut crossings = Vec::new();
    for metric in Metric::ALL {
        let Some(value) = metric.of(sample) else { continue };
        let below = sqlx::query(
            "UPDATE metric_limits SET is_over = 0 WHERE metric = $1 AND above >= $2 AND is_over = 1",
        );
        below.bind(metric.name()).bind(value).execute(db).await?;
        let crossed: Vec<(i64, f64)> = sqlx::query_as(
            "UPDATE metric_limits SET is_over = 1 WHERE metric = $1 AND above < $2 AND is_over = 0
             RETURNING user_id, above",
        )
        .bind(metric.name())
        .bind(value)
        .fetch_all(db)
        .await?;
        let notifications = crossed.into_iter();
        crossings.extend(notifications.map(|(user, above)| Crossing {
            user,
            metric,
            value,
            above,
        }));
    }
    Ok(crossings)
}

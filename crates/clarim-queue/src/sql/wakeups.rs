//! Wake-ups of workers when a transaction with jobs commits, from any process.

#[cfg(feature = "postgres")]
use std::pin::pin;
use std::time::Duration;

use crate::wakeups::WakeupSender;

/// Delay before a connection that failed is made again. Until then the worker polls.
const RECONNECT: Duration = Duration::from_secs(1);

/// Waits for notifications of PostgreSQL, which a trigger of the table sends with each commit.
#[cfg(feature = "postgres")]
pub(super) async fn listen(url: String, wakeups: WakeupSender) {
    keep_up(&wakeups, || postgres(&url, &wakeups)).await;
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str, wakeups: &WakeupSender) -> sqlx::Result<()> {
    /// Time in which a transaction commits that left its notification to another one.
    const NEXT_COMMIT: Duration = Duration::from_millis(20);

    let mut listener = sqlx::postgres::PgListener::connect(url).await?;
    listener.listen(super::schema::NOTIFICATIONS).await?;
    loop {
        // Also after a reconnection, since notifications may be missing.
        wakeups.wake();
        let mut received = pin!(listener.try_recv());
        tokio::select! {
            received = &mut received => {
                received?;
                continue;
            }
            () = tokio::time::sleep(NEXT_COMMIT) => wakeups.wake(),
        }
        received.await?;
    }
}

/// Watches a SQLite file for commits.
#[cfg(feature = "sqlite")]
pub(super) async fn watch(url: String, wakeups: WakeupSender) {
    keep_up(&wakeups, || sqlite(&url, &wakeups)).await;
}

/// Reads the counter of commits that SQLite keeps in shared memory. SQLite has no notifications between
/// connections, let alone processes, and its hooks see the commits of their own connection only.
#[cfg(feature = "sqlite")]
async fn sqlite(url: &str, wakeups: &WakeupSender) -> sqlx::Result<()> {
    use std::str::FromStr;

    use sqlx::ConnectOptions;

    const INTERVAL: Duration = Duration::from_millis(10);
    let options = sqlx::sqlite::SqliteConnectOptions::from_str(url)?.disable_statement_logging();
    let mut connection = options.connect().await?;
    let mut last = None;
    loop {
        let version = sqlx::query_scalar::<_, i64>("PRAGMA data_version");
        let version = version.fetch_one(&mut connection).await?;
        if last.replace(version) != Some(version) {
            wakeups.wake();
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Runs a source of wake-ups, again if it fails, until the worker ends.
async fn keep_up<F>(wakeups: &WakeupSender, source: impl Fn() -> F)
where
    F: Future<Output = sqlx::Result<()>>,
{
    loop {
        let failed = tokio::select! {
            () = wakeups.closed() => return,
            failed = source() => failed,
        };
        if let Err(error) = failed {
            tracing::debug!(%error, "no wake-ups from the queue's database; the worker polls");
        }
        tokio::select! {
            () = wakeups.closed() => return,
            () = tokio::time::sleep(RECONNECT) => {}
        }
    }
}

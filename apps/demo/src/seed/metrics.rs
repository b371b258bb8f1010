//! An hour of metrics, so that the dashboard's first charts are not empty.

use anyhow::Result;
use sqlx::AnyConnection;

use crate::database::now;

const SAMPLES: i32 = 120;
/// Milliseconds between two samples.
const EVERY: i64 = 30_000;

/// `total`: the number of messages and edits so far.
pub(super) async fn write(tx: &mut AnyConnection, total: i64) -> Result<()> {
    let end = now();
    for n in 0..SAMPLES {
        let turn = f64::from(n);
        // Some calm and some busy minutes.
        let wave = (turn / 9.0).sin() + 0.4 * (turn / 2.3).sin();
        let cpu = 21.0 + 9.0 * wave + f64::from(n * 7 % 5);
        let memory = 44.0 + turn / 40.0 + wave;
        let busy = 4.0 + 3.0 * wave;
        let activity = if busy > 3.5 { (busy * 4.0).round() / 2.0 } else { 0.0 };
        sqlx::query(
            "INSERT INTO metrics (at, cpu, memory, connections, activity, total)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(end - i64::from(SAMPLES - n) * EVERY)
        .bind((cpu * 10.0).round() / 10.0)
        .bind((memory * 10.0).round() / 10.0)
        .bind(i64::from(3 + n / 7 * 5 % 4))
        .bind(activity)
        .bind(total)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

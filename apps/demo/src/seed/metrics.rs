//! A day of orders and an hour of metrics, so that the dashboard's first charts are not empty.

use anyhow::Result;
use sqlx::AnyConnection;

use crate::database::now;
use crate::orders::{Order, day_start};

const SAMPLES: i32 = 120;
/// Milliseconds between two samples.
const EVERY: i64 = 30_000;
const ORDERS: i64 = 160;
/// Milliseconds between two orders.
const PAUSE: i64 = 9 * 60_000;
/// The newest orders are not shipped yet.
const PENDING: i64 = 7;

/// `total`: the number of messages and edits so far.
pub(super) async fn write(tx: &mut AnyConnection, total: i64) -> Result<()> {
    let end = now();
    let orders = orders(end);
    for order in &orders {
        order.insert(&mut *tx).await?;
    }
    for n in 0..SAMPLES {
        let turn = f64::from(n);
        // Some calm and some busy minutes.
        let wave = (turn / 9.0).sin() + 0.4 * (turn / 2.3).sin();
        let cpu = 21.0 + 9.0 * wave + f64::from(n * 7 % 5);
        let memory = 44.0 + turn / 40.0 + wave;
        let busy = 4.0 + 3.0 * wave;
        let activity = if busy > 3.5 { (busy * 4.0).round() / 2.0 } else { 0.0 };
        let at = end - i64::from(SAMPLES - n) * EVERY;
        sqlx::query(
            "INSERT INTO metrics (at, sales_today, active_users, pending_orders, cpu, memory, connections,
                                  activity, total)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(at)
        .bind(sales(&orders, at))
        .bind(i64::from(1 + n / 11 * 2 % 3))
        .bind(PENDING + i64::from(n / 5 * 3 % 5) - 2)
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

/// The orders of the last day, oldest first.
fn orders(end: i64) -> Vec<Order> {
    let order = |n: i64| Order {
        total: 2_990 + n * 7_919 % 31_000,
        created_at: end - (ORDERS - n) * PAUSE,
        is_pending: n >= ORDERS - PENDING,
    };
    (0..ORDERS).map(order).collect()
}

/// Sales of a day until this time, in reais.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 centavos")]
fn sales(orders: &[Order], at: i64) -> f64 {
    let day = day_start(at)..=at;
    let today = orders.iter().filter(|order| day.contains(&order.created_at));
    today.map(|order| order.total).sum::<i64>() as f64 / 100.0
}

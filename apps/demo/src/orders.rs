//! Orders of a shop. Nobody places them here, so a scheduled task does.

use sqlx::{AnyConnection, AnyPool};
use uuid::Uuid;

use crate::database::now;

/// The shop is in São Paulo, three hours behind UTC. Brazil has no daylight saving time.
const TIME_ZONE: i64 = -3 * 60 * 60 * 1000;
const DAY: i64 = 24 * 60 * 60 * 1000;
/// A user is active for this long after a request.
const ACTIVE: i64 = 5 * 60 * 1000;
/// More pending orders than this are shipped faster than new ones come.
const BUSY: i64 = 12;

/// Figures of the shop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    /// In reais.
    pub(crate) sales_today: f64,
    pub(crate) active_users: i64,
    pub(crate) pending_orders: i64,
}

/// An order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    /// In centavos.
    pub(crate) total: i64,
    /// Milliseconds since 1970.
    pub(crate) created_at: i64,
    pub(crate) is_pending: bool,
}

impl Order {
    pub(crate) async fn insert(self, db: &mut AnyConnection) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO orders (id, total, created_at, status) VALUES ($1, $2, $3, $4)")
            .bind(Uuid::new_v4().to_string())
            .bind(self.total)
            .bind(self.created_at)
            .bind(if self.is_pending { "pending" } else { "shipped" })
            .execute(db)
            .await
            .map(drop)
    }
}

/// When the day of this time began, in the shop's time zone.
pub(crate) fn day_start(at: i64) -> i64 {
    (at + TIME_ZONE).div_euclid(DAY) * DAY - TIME_ZONE
}

/// Places up to three orders, and ships the ones that have waited the longest.
pub(crate) async fn trade(db: &AnyPool) -> sqlx::Result<()> {
    let mut db = db.acquire().await?;
    for _ in 0..fastrand::u8(0..=3) {
        let total = fastrand::i64(1_990..40_000);
        Order { total, created_at: now(), is_pending: true }.insert(&mut db).await?;
    }
    let pending: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM orders WHERE status = 'pending'")
        .fetch_one(&mut *db)
        .await?;
    let shipped = fastrand::i64(0..=if pending > BUSY { 4 } else { 2 });
    sqlx::query(
        "UPDATE orders SET status = 'shipped' WHERE id IN (
             SELECT id FROM orders WHERE status = 'pending' ORDER BY created_at LIMIT $1)",
    )
    .bind(shipped)
    .execute(&mut *db)
    .await?;
    let old = sqlx::query("DELETE FROM orders WHERE created_at < $1 AND status = 'shipped'");
    old.bind(now() - 2 * DAY).execute(&mut *db).await.map(drop)
}

/// Queries the figures at this time.
pub(crate) async fn figures(db: &AnyPool, at: i64) -> sqlx::Result<Figures> {
    let (centavos, pending_orders, active_users): (i64, i64, i64) = sqlx::query_as(
        "SELECT
           CAST((SELECT COALESCE(SUM(total), 0) FROM orders WHERE created_at >= $1) AS BIGINT),
           (SELECT COUNT(*) FROM orders WHERE status = 'pending'),
           (SELECT COUNT(*) FROM users WHERE active_at > $2)",
    )
    .bind(day_start(at))
    .bind(at - ACTIVE)
    .fetch_one(db)
    .await?;
    #[expect(clippy::cast_precision_loss, reason = "a day's sales are far below 2^52 centavos")]
    let sales_today = centavos as f64 / 100.0;
    Ok(Figures { sales_today, active_users, pending_orders })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::TestApp;

    #[tokio::test]
    async fn sales_are_those_of_today_and_users_are_active_for_five_minutes() {
        let app = TestApp::start().await;
        let mut ana = app.user("ana").await;
        ana.get("/api/conversations").await;
        let at = now();
        let today = day_start(at);
        let place = async |total, created_at, is_pending| {
            let mut db = app.app().db.acquire().await.unwrap();
            Order { total, created_at, is_pending }.insert(&mut db).await.unwrap();
        };
        place(5_000, today - 1, true).await;
        place(12_345, today, false).await;
        place(1_000, at, true).await;
        let first = figures(&app.app().db, at).await.unwrap();
        assert_eq!(first, Figures { sales_today: 133.45, active_users: 1, pending_orders: 2 });

        sqlx::query("UPDATE users SET active_at = $1 WHERE login = 'ana'")
            .bind(at - 301_000)
            .execute(&app.app().db)
            .await
            .unwrap();
        assert_eq!(figures(&app.app().db, at).await.unwrap().active_users, 0);
        ana.get("/api/conversations").await;
        assert_eq!(figures(&app.app().db, at).await.unwrap().active_users, 1);
    }

    #[tokio::test]
    async fn orders_keep_coming_and_are_shipped() {
        let app = TestApp::start().await;
        let db = &app.app().db;
        for _ in 0..200 {
            trade(db).await.unwrap();
        }
        let count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM orders").fetch_one(db).await.unwrap();
        let found = figures(db, now()).await.unwrap();
        assert!(count > 100 && (0..60).contains(&found.pending_orders), "{count}: {found:?}");
        assert!(found.sales_today > 0.0, "{found:?}");
    }

    #[test]
    fn a_day_begins_at_midnight_in_sao_paulo() {
        // 2026-11-30T02:59:59.999Z is still the 29th there.
        let midnight = 1_796_007_600_000;
        assert_eq!(day_start(midnight), midnight);
        assert_eq!(day_start(midnight - 1), midnight - 24 * 60 * 60 * 1000);
        assert_eq!(day_start(midnight + 60_000), midnight);
    }
}

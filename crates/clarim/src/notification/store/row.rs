//! Rows of the table.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// Timeout for acquiring a connection of a pool that this crate creates.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// The end of the year 9999. As text, later times have more digits and don't sort.
pub(crate) const FAR_FUTURE: DateTime<Utc> =
    DateTime::from_timestamp(253_402_300_799, 0).expect("chrono can represent it");

/// A stored notification.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoredNotification {
    /// The id, the same as in the broadcast.
    pub id: Uuid,
    /// The type, such as `App\Notifications\InvoicePaid`. In JSON its name is `type`, as in the broadcast.
    #[serde(rename = "type")]
    pub notification_type: String,
    /// The data, from [`to_array`](crate::notification::Notification::to_array).
    pub data: Value,
    /// When it was marked as read.
    pub read_at: Option<DateTime<Utc>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// A page of a list that begins with the newest notification. New notifications don't shift pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    pub(crate) limit: u32,
    pub(crate) before: (DateTime<Utc>, Uuid),
}

impl Page {
    /// The newest notifications, at most this number.
    #[must_use]
    pub fn of(limit: u32) -> Self {
        Self { limit, before: (FAR_FUTURE, Uuid::max()) }
    }

    /// The page that follows this notification, the last one of the page before.
    #[must_use]
    pub fn before(self, last: &StoredNotification) -> Self {
        Self { before: (last.created_at, last.id), ..self }
    }
}

/// The newest fifteen.
impl Default for Page {
    fn default() -> Self {
        Self::of(15)
    }
}

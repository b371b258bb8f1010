//! Notifications: stored in a table, shown on the page at once, sent by mail, or all of it.
//!
//! A notification is a type, and so is the user that it goes to. The defaults are those of Laravel:
//!
//! ```
//! use clarim::Clarim;
//! use clarim::notification::{Notifiable, Notification, Notifications, Page};
//! use serde::Serialize;
//!
//! struct User {
//!     id: u64,
//! }
//!
//! impl Notifiable for User {
//!     fn notifiable_id(&self) -> String {
//!         self.id.to_string()
//!     }
//! }
//!
//! #[derive(Serialize)]
//! struct InvoicePaid {
//!     invoice: u64,
//!     amount: u64,
//! }
//!
//! // In the table, and on the page
//! impl Notification<User> for InvoicePaid {}
//!
//! # #[cfg(feature = "sqlite")]
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let table = Notifications::connect("sqlite::memory:").await?; // or Notifications::from_env()
//! table.migrate().await?;
//! let clarim = Clarim::from_env()?.with_notifications(table.clone());
//!
//! let user = User { id: 7 };
//! clarim.notify(&user, InvoicePaid { invoice: 1, amount: 4200 }).await?;
//!
//! let unread = table.unread(&user, Page::default()).await?;
//! assert_eq!(unread[0].notification_type, "App\\Notifications\\InvoicePaid");
//! assert_eq!(unread[0].data["amount"], 4200);
//! # clarim.idle().await;
//! # Ok::<(), clarim::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The page listens on a private channel, which the application authorizes with
//! `Channels::new().private("App.Models.User.{id}", |user: User, id: u64| user.id == id)`:
//!
//! ```js
//! echo.private('App.Models.User.7').notification(({ id, type, invoice, amount }) => …);
//! ```
//!
//! The id is that of the row. The row is written before the broadcast, so a page that fetches its
//! notifications after the event finds it.
//!
//! # Queues and errors
//!
//! `notify(…).await` writes the row and calls the application's notification channels before it returns.
//! The broadcast is queued as [`delivery`](Notification::delivery) says. With a
//! [`delay`](Notification::delay) everything is queued, the row and the broadcast as one job. A worker then
//! needs the table and the channels: it runs jobs with the [`publisher`](crate::Clarim::publisher) of a
//! [`Clarim`](crate::Clarim) that has them.
//!
//! An error does not stop the other deliveries. [`Error::Notification`](crate::Error::Notification) lists
//! what failed, and for which users.

pub(crate) mod message;
pub(crate) mod send;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod store;

pub use crate::notices::channel::{NotificationChannel, Via};
pub use crate::notices::notifiable::Notifiable;
pub use crate::publisher::publication::Notice;
pub use message::{BROADCAST_NOTIFICATION_CREATED, Notification};
pub use send::PendingNotification;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use store::{
    row::{Page, StoredNotification},
    table::Notifications,
};

//! What is kept of a channel for later subscribers: its history, the last event of a cache channel.

mod cache;
mod history;
mod page;
mod retention;

pub use cache::CACHE_TTL;
pub(super) use cache::CachedEvent;
pub(crate) use history::History;
pub(super) use history::Recovery;
pub use page::{HistoryEvent, HistoryPage, HistoryQuery};
pub(super) use retention::Retention;

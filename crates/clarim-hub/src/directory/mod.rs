//! The directory of channels: subscribers by worker, presence members, cached events, users.

mod channel;
mod clock;
mod counts;
mod kept;
mod loss;
mod presence;
mod recording;
mod requests;
mod shadows;
mod shard;
mod step;
mod user;
pub(crate) mod watchlist;

pub(crate) use channel::Channel;
pub use channel::ChannelState;
pub(crate) use clock::LogicalClock;
pub use counts::{Recoveries, Totals};
pub(crate) use kept::History;
pub use kept::{CACHE_TTL, HistoryEvent, HistoryPage, HistoryQuery};
pub(crate) use loss::Loss;
pub(crate) use presence::PresenceFull;
pub(crate) use recording::Succession;
pub(crate) use requests::{Join, Joining, Keep, Leave, LogPlace, Publication};
pub(crate) use shard::{Shard, backup, saved};
pub(crate) use step::Step;
pub use step::{NodeBus, NodeConfig};

//! Redis and Valkey: one server, one that Sentinels watch over, or a cluster with sharded pub/sub.
//!
//! There are two connections to each server, one to listen and one to publish. Redis may end subscriptions of
//! its own accord when a slot moves, and that must not be taken for the answer to something else.

mod servers;
mod session;

use std::time::Duration;

pub(crate) use servers::{Servers, Watched, info};

/// An answer that takes longer will not come: the server is frozen, or the way to it is cut.
const PATIENCE: Duration = Duration::from_secs(3);

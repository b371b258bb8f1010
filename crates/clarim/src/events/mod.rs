//! Events, their names and their delivery.

pub(crate) mod delivery;
pub(crate) mod event;
pub(crate) mod model;
pub(crate) mod name;

pub use delivery::Delivery;
pub use event::{Broadcast, EventType};
pub use model::{BroadcastModel, ModelEvent};
pub use name::EventName;

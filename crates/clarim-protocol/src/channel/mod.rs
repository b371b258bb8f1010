//! Channel names and kinds.

mod kind;
mod name;

pub use kind::ChannelKind;
pub use name::{ChannelName, InvalidChannelName};

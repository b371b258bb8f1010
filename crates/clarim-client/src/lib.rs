#![doc = include_str!("../README.md")]

mod authorizer;
mod channel;
mod client;
mod driver;
mod error;
mod machine;
mod options;
mod shared;
mod state;
mod topic;
mod wire;

pub use authorizer::{
    Authorization, Authorizer, BoxFuture, HttpAuthorizer, KeyAuthorizer, UserAuthorization,
};
pub use channel::{Channel, Listening};
pub use client::Client;
pub use error::Error;
pub use options::Options;
pub use state::State;
pub use topic::{Event, GapReason, Member, Position, Update};

//! A client for Clarim, Reverb, Soketi, Pusher and every other server of the Pusher protocol, in the shape of
//! Laravel Echo: for services that listen, for tests, for programs in a terminal.
//!
//! ```text
//! cargo add clarim-client
//! cargo add serde tokio --features serde/derive,tokio/full
//! ```
//!
//! ```no_run
//! use clarim_client::{Client, HttpAuthorizer, Options};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct OrderShipped {
//!     order: u64,
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), clarim_client::Error> {
//!     let options = Options::new("my-key")
//!         .host("127.0.0.1", 8080)
//!         .authorizer(HttpAuthorizer::new("http://127.0.0.1:8000/broadcasting/auth")?);
//!     let client = Client::connect(options)?;
//!     // Echo.private('orders.7').listen('OrderShipped', …)
//!     let orders = client.private("orders.7");
//!     let _listening = orders.listen("OrderShipped", |shipped: OrderShipped| {
//!         println!("order {} is on its way", shipped.order);
//!     });
//!     orders.subscribed().await?;
//!     std::future::pending().await
//! }
//! ```
//!
//! # What happens when the connection breaks
//!
//! The client comes back by itself, and subscribes again to what is wanted. Close codes are obeyed: after
//! 4000 to 4099 it [has failed](State::Failed), after 4100 to 4199 and after a network's failure it pauses
//! (one second, doubled up to thirty, with chance in it), after 4200 to 4299 it comes back at once. What was
//! sent meanwhile is lost, as with every client of this protocol: [`Update::Subscribed`] on a channel is the
//! moment to fetch what was missed.
//!
//! A server that has been silent for its activity timeout is asked for a sign of life, and left when it gives
//! none.
//!
//! # Slow listeners
//!
//! Each handle of a channel has [so many](Options::buffer) updates kept for it. Who reads more slowly than
//! they come loses the rest, and is told so: [`Update::Missed`].

mod authorizer;
mod channel;
mod client;
mod driver;
mod error;
mod machine;
mod options;
mod state;
mod wire;

pub use authorizer::{
    Authorization, Authorizer, BoxFuture, HttpAuthorizer, KeyAuthorizer, UserAuthorization,
};
pub use channel::{Channel, Event, Listening, Member, Update};
pub use client::Client;
pub use error::Error;
pub use options::Options;
pub use state::State;

//! Broadcasting for Rust applications: the application says something once, and every browser that may
//! hear it hears it now. It is what `ShouldBroadcast` and `routes/channels.php` are to a Laravel developer,
//! for axum; the front end is an unmodified [Laravel Echo](https://www.npmjs.com/package/laravel-echo).
//!
//! # From nothing to an event in the browser
//!
//! ```text
//! cargo add clarim --features embedded
//! cargo add axum serde serde_json tokio --features serde/derive,tokio/full
//! ```
//!
//! An event is a type. What it serializes to is what the browser gets; the attribute says who hears it,
//! and `{user}` in it is the field:
//!
//! ```
//! use clarim::Broadcast;
//! use serde::Serialize;
//!
//! #[derive(Serialize, Broadcast)]
//! #[broadcast(private = "users.{user}")]
//! struct OrderShipped {
//!     user: u64,
//!     tracking: String,
//! }
//! ```
//!
//! Private channels are for those whom the application lets in, so it is asked, at `/broadcasting/auth`:
//!
//! ```
//! use axum::Router;
//! use axum::extract::{Path, State};
//! use axum::routing::post;
//! use clarim::authorization::Channels;
//! use clarim::{Broadcast, Clarim, SocketId};
//! # use serde::Serialize;
//! # #[derive(Serialize, Broadcast)]
//! # #[broadcast(private = "users.{user}")]
//! # struct OrderShipped { user: u64, tracking: String }
//!
//! struct User {
//!     id: u64,
//! }
//!
//! fn app(clarim: Clarim) -> Result<Router, clarim::Error> {
//!     let channels = Channels::new().private("users.{id}", |user: User, id: u64| user.id == id);
//!     let routes = channels.routes(
//!         // Who makes the request: of your session, or of a token; None is a guest
//!         |parts| Some(User { id: parts.headers.get("x-user")?.to_str().ok()?.parse().ok()? }),
//!         clarim.clone(),
//!     )?;
//!     Ok(Router::new().route("/ship/{user}", post(ship)).merge(routes).with_state(clarim))
//! }
//!
//! async fn ship(State(clarim): State<Clarim>, Path(user): Path<u64>, socket: Option<SocketId>) {
//!     let event = OrderShipped { user, tracking: "BR123".to_owned() };
//!     clarim.broadcast(event).to_others(socket).rescue().await.ok();
//! }
//! # let (clarim, _) = Clarim::fake();
//! # app(clarim)?;
//! # Ok::<(), clarim::Error>(())
//! ```
//!
//! In `main`, with the server in the same process and at the same address:
//!
//! ```no_run
//! # use axum::Router;
//! # use clarim::Clarim;
//! # fn app(_: Clarim) -> Result<Router, clarim::Error> { Ok(Router::new()) }
//! use clarim::embedded::{App, ServerConfig};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let app_of_server = App::new("100001", "my-key", "my-secret");
//!     let clarim = Clarim::embedded(ServerConfig::default(), vec![app_of_server])?;
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//!     let routes = clarim.routes();
//!     axum::serve(listener, app(clarim)?.merge(routes)).await?;
//!     Ok(())
//! }
//! ```
//!
//! And in the page (`npm install laravel-echo pusher-js`), which is served by the application too, so that
//! `/broadcasting/auth` is found:
//!
//! ```js
//! import Echo from 'laravel-echo';
//! import Pusher from 'pusher-js';
//!
//! const echo = new Echo({
//!   broadcaster: 'reverb', Pusher, key: 'my-key',
//!   wsHost: location.hostname, wsPort: location.port, forceTLS: false, enabledTransports: ['ws'],
//!   auth: { headers: { 'X-User': '7' } },
//! });
//! echo.private('users.7').listen('OrderShipped', ({ tracking }) => console.log(tracking));
//! ```
//!
//! `POST /ship/7`, and the page says `BR123`.
//!
//! # Where events go
//!
//! [`Clarim::with_server`] is for a server in this process with a port of its own. With [`Clarim::from_env`]
//! the same application runs against a server elsewhere, any that speaks the
//! protocol: Clarim, Reverb, Soketi, Pusher. It reads the `REVERB_*` variables that a Laravel project has
//! already, and `BROADCAST_CONNECTION`: `reverb`, `pusher`, `embedded`, `log` or `null`;
//! [`Settings::from_env`] lists them all.
//!
//! # How events are named
//!
//! An event is called like its type, below the namespace that Echo adds too: `OrderShipped` is
//! `App\Events\OrderShipped` on the wire, and `listen('OrderShipped', …)` hears it. A name of its own,
//! `#[broadcast(name = "order.shipped")]`, is heard with a dot before it: `listen('.order.shipped', …)`.
//! [`Settings::namespace`] is Echo's option `namespace`, with backslashes.
//!
//! # When events are sent
//!
//! Queued by default, so that no request waits for a server: [`queue`] says how, and what happens when the
//! server is down. They wait in memory, or in SQLite, PostgreSQL or Redis (`QUEUE_CONNECTION`), where a
//! [`Worker`](queue::Worker) takes them. [`Clarim::idle`] waits for the queue before the process ends. With
//! `#[broadcast(now)]`, or `.now()` per call, the await returns when the server has handed the event out,
//! and its [`Error`] says whether trying again [may help](Error::is_temporary).
//!
//! | per call | does |
//! |---|---|
//! | [`.to_others(socket)`][others] | leaves out the page whose request it was: its [`SocketId`] |
//! | [`.now()`][now], [`.queued()`][queued] | past the queue, or through it |
//! | [`.rescue()`][rescue] | logs an error, and does not return it |
//!
//! [others]: PendingBroadcast::to_others
//! [now]: PendingBroadcast::now
//! [queued]: PendingBroadcast::queued
//! [rescue]: PendingBroadcast::rescue
//!
//! An event that needs no type: [`Clarim::on`].
//!
//! # By the clock
//!
//! With the feature `schedule`, [`schedule`][mod@schedule] runs tasks at their times, beside the server or a
//! worker:
//!
//! ```no_run
//! use clarim::schedule::Schedule;
//!
//! # async fn prune() {}
//! # async fn run() -> Result<(), clarim::Error> {
//! let schedule = Schedule::new().call("prune", prune).daily_at("03:30").without_overlapping();
//! schedule.run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await
//! # }
//! ```
//!
//! # Types for the front end
//!
//! With the feature `types`, [`types`][mod@types] writes what each event brings as TypeScript, so that a
//! page that listens for something else does not build.
//!
//! # What one user is told
//!
//! With the feature `notifications`, and `sqlite` or `postgres` for the table in which they are kept:
//! `clarim.notify(&user, InvoicePaid { … })` writes a row and broadcasts it to
//! `Echo.private('App.Models.User.7').notification(…)`; the module `notification` says how, also by mail, or
//! later.
//!
//! # In tests
//!
//! [`Clarim::fake`] sends nothing, and its [`Fake`] is asked what was broadcast.

// What the derive writes names the crate, and so can be used in the crate itself.
extern crate self as clarim;

pub mod authorization;
mod caught;
mod channel;
mod encryption;
mod error;
mod event;
mod handle;
#[cfg(feature = "notifications")]
pub mod notification;
mod pending;
pub mod publisher;
pub mod queue;
#[cfg(feature = "schedule")]
pub mod schedule;
mod settings;
mod socket_id;
#[cfg(feature = "types")]
pub mod types;

#[cfg(feature = "embedded")]
pub mod embedded {
    //! What [`Clarim::embedded`](crate::Clarim::embedded) and
    //! [`Clarim::with_server`](crate::Clarim::with_server) take.

    pub use clarim_server::config::ServerConfig;
    pub use clarim_server::{App, Ended, Events, Server, ServerEvent};
}

pub use channel::Channel;
pub use clarim_macros::Broadcast;
pub use encryption::MasterKey;
pub use error::{Error, NotificationFailure};
pub use event::{Broadcast, Delivery, EventName, EventType};
pub use handle::{Builder, Clarim};
pub use pending::{Anonymous, PendingBroadcast};
pub use publisher::Fake;
pub use settings::{Connection, QueueConnection, Settings};
pub use socket_id::SocketId;

#[doc(hidden)]
pub use {serde, serde_json};

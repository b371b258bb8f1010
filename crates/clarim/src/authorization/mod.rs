//! Authorization of subscribers, like Laravel's `routes/channels.php`.
//!
//! ```
//! use axum::Router;
//! use clarim::Clarim;
//! use clarim::authorization::{Channels, Member};
//! use serde_json::json;
//!
//! struct User {
//!     id: u64,
//!     name: String,
//! }
//!
//! # let (clarim, _) = Clarim::fake();
//! let channels = Channels::new()
//!     // Echo.private('users.7')
//!     .private("users.{id}", |user: User, id: u64| user.id == id)
//!     // Echo.join('rooms.3')
//!     .presence("rooms.{room}", |user: User, room: u32| async move {
//!         (room < 100).then(|| Member::new(user.id).info(json!({ "name": user.name })))
//!     });
//! let app: Router = Router::new().merge(channels.routes(
//!     |parts| async move {
//!         // The request's user, from a session or a token; None is a guest
//!         let name = parts.headers.get("x-user")?.to_str().ok()?.to_owned();
//!         Some(User { id: 7, name })
//!     },
//!     clarim,
//! )?);
//! # Ok::<(), clarim::Error>(())
//! ```
//!
//! Pages send their requests to `/broadcasting/auth`, Echo's default, with POST or GET, as a form or as
//! JSON. A denied request gets status 403 without a reason; the reason and the pattern are in the log. CSRF
//! protection can be layered around these routes: Echo sends the token.

pub(crate) mod callback;
pub(crate) mod channels;
pub(crate) mod handler;
pub(crate) mod member;
pub(crate) mod pattern;
pub(crate) mod rules;

pub use crate::error::problems::ChannelsProblem;
pub use callback::{Answer, Argument, Callback, Failure, FromName, FromState, Later, Now, Outcome};
pub use channels::Channels;
pub use member::{Member, UserData};

//! The Pusher Channels protocol as types: channel names, frames, messages, codes and signatures. No I/O, no
//! state, no clock.
//!
//! A conversation, `>` from the client, `<` from the server:
//!
//! ```text
//! > GET /app/KEY?protocol=7&client=js&version=8.6.0
//! < {"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":30}"}
//! > {"event":"pusher:subscribe","data":{"channel":"presence-room","auth":"KEY:…","channel_data":"{\"user_id\":7}"}}
//! < {"event":"pusher_internal:subscription_succeeded","channel":"presence-room","data":"{\"presence\":{…}}"}
//! < {"event":"pusher_internal:member_added","channel":"presence-room","data":"{\"user_id\":8,\"user_info\":{}}"}
//! > {"event":"client-typing","channel":"presence-room","data":{"name":"Ana"}}
//! < {"event":"App\\Events\\MessageSent","channel":"presence-room","data":"{\"text\":\"Olá\"}"}
//! > {"event":"pusher:ping","data":{}}
//! < {"event":"pusher:pong","data":{}}
//! ```
//!
//! The protocol is described at
//! <https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/>.

pub mod auth;
mod channel;
mod code;
mod json;
mod messages;
mod page_id;
mod position;
pub mod rest;
mod socket_id;
pub mod user;
pub mod websocket;

pub use channel::{ChannelKind, ChannelName, InvalidChannelName};
pub use code::Code;
pub use messages::{client, server};
pub use page_id::{InvalidPageId, PageId};
pub use position::{Epoch, GapReason, InvalidEpoch, Position, Since, Start};
pub use socket_id::{InvalidSocketId, SocketId};
pub use websocket::Frame;

//! The WebSocket protocol (RFC 6455) and its compression (RFC 7692), the server's side, without I/O.

mod builder;
mod decoder;
mod deflate;
mod frame;
mod violation;

pub use builder::{FrameBuilder, Opcode};
pub use decoder::{Decoder, Message};
pub use deflate::{Deflater, Inflater, MIN_PAYLOAD};
pub use frame::Frame;
pub use violation::Violation;

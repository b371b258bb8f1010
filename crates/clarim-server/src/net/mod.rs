//! Sockets: listening, the streams and send queues of clients, TLS, and outgoing HTTP requests.

mod addresses;
#[cfg(any(feature = "otel", feature = "webhooks"))]
pub(crate) mod client;
mod descriptors;
mod listen;
mod local;
mod outbox;
pub(crate) mod platform;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod transport;

pub(crate) use addresses::is_public;
pub(crate) use descriptors::{
    DescriptorSender, Descriptors, ForThread, InPassage, Passage, PassageEntrance, PassageExit,
    ReceivedDescriptors, SentDescriptors, passage, receive,
};
pub(crate) use listen::{Listeners, set_options, watch};
pub(crate) use local::LocalStream;
pub(crate) use outbox::{Outbox, Shared, Written};
pub(crate) use tls::{
    Certificate, SecureStream, TlsAcceptor, TlsSession, TlsStream, is_http2, take_decrypted,
};
pub(crate) use transport::Transport;

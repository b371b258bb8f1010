//! The servers under test, and what they use.

pub(crate) mod floor;
pub(crate) mod peers;
pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod tls;

//! Subscribers of one channel each, which only receive.

pub(crate) mod clients;
pub(crate) mod crowd;
pub(crate) mod fanout;

//! Who is on which channel.

pub mod app;

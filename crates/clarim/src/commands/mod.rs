//! The commands for an application's queue.

pub(crate) mod clear;
pub(crate) mod command;
pub(crate) mod progress;
pub(crate) mod signals;
pub(crate) mod work;

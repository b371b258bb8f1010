//! Short commands, one per file.

pub(crate) mod api;
pub(crate) mod app_new;
pub(crate) mod completions;
pub(crate) mod config_check;
pub(crate) mod doctor;
pub(crate) mod install;
pub(crate) mod man;
pub(crate) mod restart;
pub(crate) mod stop;
pub(crate) mod tail;
mod target;

//! Several nodes on one bus, in virtual time, with faults of nodes and bus.

mod backends;
mod backups;
mod handover;
mod history;
mod keys;
pub(crate) mod net;
mod order;
mod outages;
mod random;
mod scenes;
mod versions;
pub(crate) mod view;

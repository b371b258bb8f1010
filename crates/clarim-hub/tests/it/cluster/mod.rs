//! Several nodes on one bus, in virtual time: what their clients see, whatever happens to nodes and bus.

mod net;
mod random;
mod scenes;
mod versions;
mod view;

//! WebSocket connections and the fallback transports.

mod channels;
mod compression;
mod connections;
mod fallback;
mod faults;
mod limits;
mod load;
mod pages;
mod slow;
mod stubborn;

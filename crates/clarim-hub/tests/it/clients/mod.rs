//! Messages of clients, as transcripts.

mod client_events;
mod keepalive;
mod malformed;
mod pages;
mod rate;
mod users;

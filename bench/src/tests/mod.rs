//! The load generator must detect what a faulty server does.

mod bad_rooms;
mod bad_server;
mod fanout;
mod rooms;

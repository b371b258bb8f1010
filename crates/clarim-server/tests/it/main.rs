//! A whole server, seen from outside: through sockets alone.

mod faults;
mod http;
mod load;
mod raw;
mod support;
mod tls;
mod ws;
mod ws_channels;

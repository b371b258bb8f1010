//! How a supervisor has started this process.

use std::net::TcpListener;

use listenfd::ListenFd;

/// Whether the next process listens at the same address as soon as this one has ended: under supervisord, and
/// in a systemd service that notifies.
pub(crate) fn restarts_in_place() -> bool {
    ["SUPERVISOR_ENABLED", "NOTIFY_SOCKET"].iter().any(|name| std::env::var_os(name).is_some())
}

/// Takes the listening socket that systemd has passed to this process, if it has.
pub(crate) fn listening_socket() -> Option<TcpListener> {
    let mut passed = ListenFd::from_env();
    let socket = passed.take_tcp_listener(0);
    socket
        .inspect_err(|error| tracing::warn!(%error, "the socket of systemd cannot be used"))
        .ok()?
}

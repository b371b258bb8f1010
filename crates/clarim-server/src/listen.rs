//! Listening: one socket for each worker, all at one address.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};

use socket2::{Domain, SockRef, Socket, Type};

use crate::config::ServerConfig;

/// Connections that may wait to be accepted by one worker: a crowd that comes back at once fits in.
const BACKLOG: i32 = 4096;

/// Bytes of the kernel's send buffer of one connection.
const SEND_BUFFER: usize = 256 << 10;

/// Listens where the settings say, with one socket for each worker. The kernel spreads the connections.
pub(crate) fn listen(settings: &ServerConfig) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let (host, port) = (settings.host.as_str(), settings.port);
    let failed = |error: io::Error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there; stop it, or choose another port with --port"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("cannot listen on {host}:{port}: {reason}"))
    };
    let address = (host, port)
        .to_socket_addrs()
        .map_err(failed)?
        .next()
        .ok_or_else(|| failed(io::Error::other("the host has no address")))?;
    // The first does not share yet when it is bound, so that a port which is taken shows.
    let first = socket(address)?;
    first.bind(&address.into()).map_err(failed)?;
    first.set_reuse_port(true)?;
    first.listen(BACKLOG).map_err(failed)?;
    let first = TcpListener::from(first);
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..settings.workers.get() {
        let next = socket(address)?;
        next.set_reuse_port(true)?;
        next.bind(&address.into()).map_err(failed)?;
        next.listen(BACKLOG).map_err(failed)?;
        sockets.push(next.into());
    }
    Ok((address, sockets))
}

/// What a socket that was accepted elsewhere needs to be like ours.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)
}

/// What is set here is inherited by the connections.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Events are small and each is wanted now.
    socket.set_tcp_nodelay(true)?;
    // What a reader that stalls may keep in the kernel, besides its outbox here.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    Ok(socket)
}

//! Listening: one socket for each worker, all with the same address.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::num::NonZeroU16;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::platform::BALANCES_LISTENERS;

/// Connections that can wait to be accepted by one worker, enough for a crowd that reconnects at once.
const BACKLOG: i32 = 4096;

/// Bytes of the kernel's send buffer of one connection.
const SEND_BUFFER: usize = 256 << 10;

/// Listening sockets of one address, one for each worker.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<TcpListener>,
}

impl Listeners {
    /// Listens on `host` and `port` with a socket for each worker. The kernel spreads the connections, where
    /// it can; otherwise the workers share one socket.
    pub(crate) fn bind(host: &str, port: u16, workers: NonZeroU16) -> io::Result<Self> {
        let failed = |error: io::Error| {
            let reason = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    "the address is already in use; stop the other program, or choose another port"
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
        // The first is bound without SO_REUSEPORT, so that an address in use is noticed.
        let first = socket(address)?;
        first.bind(&address.into()).map_err(failed)?;
        if BALANCES_LISTENERS {
            first.set_reuse_port(true)?;
        }
        first.listen(BACKLOG).map_err(failed)?;
        let first = TcpListener::from(first);
        let address = first.local_addr()?;
        let mut sockets = Vec::new();
        for _ in 1..workers.get() {
            if !BALANCES_LISTENERS {
                sockets.push(first.try_clone()?);
                continue;
            }
            let next = socket(address)?;
            next.set_reuse_port(true)?;
            next.bind(&address.into()).map_err(failed)?;
            next.listen(BACKLOG).map_err(failed)?;
            sockets.push(next.into());
        }
        sockets.insert(0, first);
        Ok(Self { address, sockets })
    }

    /// Takes over sockets that listen already.
    pub(crate) fn inherited(sockets: Vec<TcpListener>) -> io::Result<Self> {
        let first = sockets.first().ok_or(io::ErrorKind::NotFound)?;
        let address = first.local_addr()?;
        for socket in &sockets {
            socket.set_nonblocking(true)?;
            // Connections inherit these options. A service manager sets other ones, or none.
            let socket = SockRef::from(socket);
            socket.set_tcp_nodelay(true)?;
            socket.set_send_buffer_size(SEND_BUFFER)?;
        }
        Ok(Self { address, sockets })
    }

    /// Spreads the sockets over the workers. Each worker gets one at least: workers may share a socket. All
    /// sockets are used, because connections may wait in any of them.
    pub(crate) fn spread(self, workers: NonZeroU16) -> io::Result<Vec<Vec<TcpListener>>> {
        let workers = usize::from(workers.get());
        let mut all: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
        let count = self.sockets.len();
        for (worker, sockets) in all.iter_mut().enumerate().skip(count) {
            let shared = self.sockets.get(worker % count.max(1)).map(TcpListener::try_clone);
            sockets.extend(shared.transpose()?);
        }
        for (n, socket) in self.sockets.into_iter().enumerate() {
            all[n % workers].push(socket);
        }
        Ok(all)
    }
}

/// Registers a listener with the calling thread's runtime.
pub(crate) fn watch(listener: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    #[expect(
        deprecated,
        reason = "sound here: the listener is owned, so open as long as registered"
    )]
    AsyncFd::new(listener)
}

/// Gives a socket that was accepted elsewhere the options that ours inherit from their listener.
pub(crate) fn set_options(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)
}

/// Makes a socket. Connections inherit the options set here.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    // Events are small and must not wait for more.
    socket.set_tcp_nodelay(true)?;
    // The memory that a slow client can occupy in the kernel, besides its send queue here.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    Ok(socket)
}

//! System calls that differ between operating systems.

use std::io;
use std::net::{IpAddr, TcpListener, TcpStream};

use mio::net::TcpStream as ClientSocket;
use rustix::io::Errno;

/// Whether the kernel spreads connections over several listeners of one address (`SO_REUSEPORT`). Elsewhere
/// the workers share one listener.
pub(crate) const BALANCES_LISTENERS: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Accepts a connection, non-blocking and closed on exec, and returns the peer's address.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn accept(listener: &TcpListener) -> Result<(TcpStream, Option<IpAddr>), Errno> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (stream, address) = acceptfrom_with(listener, flags)?;
    let peer = address.and_then(|address| std::net::SocketAddr::try_from(address).ok());
    Ok((stream.into(), peer.map(|peer| peer.ip())))
}

/// Accepts a connection, non-blocking and closed on exec, and returns the peer's address.
#[cfg(target_vendor = "apple")]
pub(crate) fn accept(listener: &TcpListener) -> Result<(TcpStream, Option<IpAddr>), Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let (stream, peer) = listener.accept().map_err(errno)?;
    stream.set_nonblocking(true).map_err(errno)?;
    Ok((stream, Some(peer.ip())))
}

/// Sends without the C library, which does more than the system call. Where there is no `MSG_NOSIGNAL`, the
/// process ignores SIGPIPE, as every Rust program does by default.
pub(crate) fn send(socket: &ClientSocket, bytes: &[u8]) -> io::Result<usize> {
    #[cfg(not(target_vendor = "apple"))]
    let flags = rustix::net::SendFlags::NOSIGNAL;
    #[cfg(target_vendor = "apple")]
    let flags = rustix::net::SendFlags::empty();
    Ok(rustix::net::send(socket, bytes, flags)?)
}

/// The operating system's id of the calling thread, by which its CPU time is found; 0 where there is none.
pub(crate) fn thread_id() -> u64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return u64::from(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return 0;
}

/// The limit of open files of this process.
pub(crate) fn open_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

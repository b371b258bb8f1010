//! A connected client's byte stream, plain or encrypted, without waiting.

use std::fmt::Debug;
use std::io::{self, IoSlice, Read};
use std::task::Waker;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::local::LocalStream;
use super::platform;

/// The stream of a socket. Reads and writes return `WouldBlock` instead of waiting.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Secure(Box<dyn SecureStream>),
    Local(Box<LocalStream>),
}

/// A stream that encrypts what is written to it. It may hold bytes of its own in both directions.
pub(crate) trait SecureStream: Debug {
    /// The socket below.
    fn socket(&mut self) -> &mut TcpStream;
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Sends the bytes that a write has left in the stream.
    fn flush(&mut self) -> io::Result<()>;
}

impl Transport {
    /// Makes the registry, or for a stream without a socket the waker, report that it can be read or written.
    pub(crate) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        waker: impl FnOnce() -> Waker,
    ) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Plain(socket) => registry.register(socket, token, interest),
            Self::Secure(stream) => registry.register(stream.socket(), token, interest),
            Self::Local(stream) => {
                let waker = waker();
                // The kernel reports a new socket as ready, too.
                waker.wake_by_ref();
                stream.set_waker(waker);
                Ok(())
            }
        }
    }

    /// Whether a read that did not fill the buffer has emptied the stream. For TLS only `WouldBlock` says so.
    pub(crate) fn short_read_is_empty(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
            Self::Local(stream) => stream.read(buffer),
        }
    }

    pub(crate) fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, buffers) {
            (Self::Plain(socket), [one]) => platform::send(socket, one),
            (Self::Plain(socket), many) => Ok(rustix::io::writev(socket, many)?),
            (Self::Secure(stream), buffers) => stream.write(buffers),
            (Self::Local(stream), buffers) => stream.write(buffers),
        }
    }

    /// Writes something small to a stream that nothing has been written to yet, so it has room for it.
    pub(crate) fn write_whole(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<()> {
        let whole: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if self.write(buffers)? < whole {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.flush()
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) | Self::Local(_) => Ok(()),
            Self::Secure(stream) => stream.flush(),
        }
    }
}

//! A connected client's byte stream, plain or encrypted, without waiting.

use std::io::{self, IoSlice, Read};
use std::task::Waker;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::local::LocalStream;
use super::platform;
use super::tls::{SecureStream, TlsSession};

/// The stream of a socket. Reads and writes return `WouldBlock` instead of waiting.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Secure(SecureStream),
    Local(Box<LocalStream>),
}

impl Transport {
    /// Goes on with a socket of another program.
    #[cfg_attr(
        not(feature = "tls"),
        expect(unreachable_code, reason = "without TLS there is no session")
    )]
    pub(crate) fn restore(socket: TcpStream, session: Option<TlsSession>) -> Self {
        match session {
            None => Self::Plain(socket),
            Some(session) => Self::Secure(SecureStream::resume(socket, session)),
        }
    }

    /// The socket and the TLS session, if the stream can be handed over.
    pub(crate) fn parts(&self) -> Option<(&TcpStream, Option<&TlsSession>)> {
        match self {
            Self::Plain(socket) => Some((socket, None)),
            Self::Secure(stream) => stream.parts().map(|(socket, session)| (socket, Some(session))),
            Self::Local(_) => None,
        }
    }

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

//! A connected client's byte stream, plain or encrypted, without waiting.

use std::fmt::Debug;
use std::io::{self, IoSlice, Read};

use mio::net::TcpStream;

use super::platform;

/// The stream of a socket. Reads and writes return `WouldBlock` instead of waiting.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Secure(Box<dyn SecureStream>),
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
    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Secure(stream) => stream.socket(),
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
        }
    }

    pub(crate) fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, buffers) {
            (Self::Plain(socket), [one]) => platform::send(socket, one),
            (Self::Plain(socket), many) => Ok(rustix::io::writev(socket, many)?),
            (Self::Secure(stream), buffers) => stream.write(buffers),
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
            Self::Plain(_) => Ok(()),
            Self::Secure(stream) => stream.flush(),
        }
    }
}

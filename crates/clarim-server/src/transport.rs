//! A connected client's byte stream, plain or TLS, without waiting.

use std::io::{self, IoSlice, Read, Write};

use mio::net::TcpStream;
use rustix::io::writev;
use rustix::net::{SendFlags, send};
use rustls::ServerConnection;

/// The stream of a socket. Reads and writes return `WouldBlock` instead of waiting.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) stream: TcpStream,
    pub(crate) session: ServerConnection,
}

impl Transport {
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => &mut tls.stream,
        }
    }

    /// Whether a read that did not fill the buffer has emptied the stream. Of TLS only `WouldBlock` says so.
    pub(crate) fn short_read_is_empty(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    pub(crate) fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, buffers) {
            // Without the C library, which does more than the system call on each of these.
            (Self::Plain(stream), [one]) => Ok(send(stream, one, SendFlags::NOSIGNAL)?),
            (Self::Plain(stream), many) => Ok(writev(stream, many)?),
            (Self::Tls(tls), buffers) => tls.write(buffers),
        }
    }

    /// Writes something small to a stream that nothing has been written to yet: it has room for it.
    pub(crate) fn write_whole(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<()> {
        let whole: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if self.write(buffers)? < whole {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.flush()
    }

    /// Sends what a write has left inside the TLS session.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A stream that ends without TLS's farewell is an end like any other here.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            if self.session.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            let processed = self.session.process_new_packets();
            // An alert, or the answer to a key update, may be due.
            let _ = self.flush();
            processed.map_err(io::Error::other)?;
        }
    }

    fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        let taken = self.session.writer().write_vectored(buffers)?;
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ if taken == 0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.stream)?;
        }
        Ok(())
    }
}

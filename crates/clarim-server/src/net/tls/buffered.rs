//! A connection that stays with rustls.

use std::io::{self, IoSlice, Read as _, Write as _};

use mio::net::TcpStream;
use rustls::ServerConnection;

/// A TLS connection that is read and written without waiting.
#[derive(Debug)]
pub(crate) struct BufferedTls {
    socket: TcpStream,
    session: ServerConnection,
}

impl BufferedTls {
    /// `incoming`: the beginning of a record, which has been read from the socket.
    pub(super) fn new(
        socket: TcpStream,
        mut session: ServerConnection,
        mut incoming: &[u8],
    ) -> io::Result<Self> {
        while !incoming.is_empty() {
            session.read_tls(&mut incoming)?;
        }
        Ok(Self { socket, session })
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A stream may end without TLS's close_notify.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            if self.session.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            let processed = self.session.process_new_packets();
            // An alert may be due.
            let _ = self.flush();
            processed.map_err(io::Error::other)?;
        }
    }

    pub(super) fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        let taken = self.session.writer().write_vectored(buffers)?;
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ if taken == 0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(taken),
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

//! A connection to the server, plain or with TLS.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

/// A name in the certificate of the server under test.
const NAME: &str = "localhost";
/// Bytes of records to read at a time.
const RECORDS: usize = 64 << 10;

thread_local! {
    /// Records that have just been read.
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; RECORDS]);
}

/// A connection, read and written as its socket is: waiting or not.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    is_emptied: bool,
}

impl Connection {
    /// Shakes hands over a socket that waits, if there is TLS.
    pub(crate) fn new(mut socket: TcpStream, tls: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let tls = tls.map(|config| -> Result<_> {
            let mut tls = ClientConnection::new(config.clone(), ServerName::try_from(NAME)?)?;
            while tls.is_handshaking() {
                tls.complete_io(&mut socket).context("the TLS handshake failed")?;
            }
            Ok(Box::new(tls))
        });
        Ok(Self { socket, tls: tls.transpose()?, is_emptied: false })
    }

    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// Whether the last read has taken everything that the socket had.
    pub(crate) fn is_emptied(&self) -> bool {
        self.is_emptied
    }

    /// Whether the handshake made use of a ticket.
    pub(crate) fn is_resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|tls| tls.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }
}

/// Decrypts what has been read, into a buffer that is large enough. Returns the number of bytes in it.
fn decrypt(tls: &mut ClientConnection, mut records: &[u8], buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while !records.is_empty() {
        tls.read_tls(&mut records)?;
        tls.process_new_packets().map_err(io::Error::other)?;
        match tls.reader().read(&mut buffer[filled..]) {
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            let read = self.socket.read(buffer)?;
            self.is_emptied = read < buffer.len();
            return Ok(read);
        };
        // The handshake may have decrypted the first of it already.
        match tls.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            done => return done,
        }
        // Content is shorter than its records, so that it has room in `buffer`.
        let wanted = RECORDS.min(buffer.len());
        READ.with_borrow_mut(|records| {
            loop {
                let read = self.socket.read(&mut records[..wanted])?;
                self.is_emptied = read < wanted;
                let filled = decrypt(tls, &records[..read], buffer)?;
                if filled > 0 || read == 0 {
                    return Ok(filled);
                }
            }
        })
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.write(bytes) };
        let taken = tls.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ if taken == 0 => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(taken),
        }
    }

    /// Sends the records that the socket had no room for.
    fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

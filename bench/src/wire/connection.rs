//! A connection to the server, plain or with TLS.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ValueEnum;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedCipherSuite,
};
use serde::Deserialize;

/// The name in the certificate of the server under test.
const NAME: &str = "localhost";
/// Bytes of records to read at a time.
const RECORDS: usize = 64 << 10;

thread_local! {
    /// Records that have just been read.
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; RECORDS]);
}

/// How clients shake hands with a server that has TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Handshakes {
    Full,
    /// With the session ticket of a connection before.
    Resumed,
}

impl Handshakes {
    /// Makes a certificate in this folder, for the server, and the configuration of clients that trust it.
    pub(crate) fn prepare(self, folder: &Path) -> Result<Arc<ClientConfig>> {
        let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> =
            generate_simple_self_signed([NAME.to_owned()])?;
        std::fs::write(folder.join("cert.pem"), cert.pem())?;
        std::fs::write(folder.join("key.pem"), signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.join("cert.pem"))?)?;
        let mut provider = ring::default_provider();
        // As browsers do, which rustls itself does not.
        let preferred =
            |suite: &SupportedCipherSuite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256;
        provider.cipher_suites.sort_by_key(|suite| !preferred(suite));
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = match self {
            Self::Full => Resumption::disabled(),
            Self::Resumed => Resumption::in_memory_sessions(8),
        };
        Ok(Arc::new(config))
    }
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
        // What follows a record of the handshake has been decrypted already.
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

//! TLS of the server.
//!
//! rustls does the handshake, and serves the connection while it is HTTP. A WebSocket with TLS 1.3 goes on
//! with its keys alone ([`session`]): idle, it takes some 300 bytes instead of 8 kB, and it can be handed
//! over to another program. With TLS 1.2, rustls stays ([`buffered`]).

mod buffered;
mod certificate;
mod keys;
mod record;
mod session;
#[cfg(test)]
mod tests;
mod tickets;
mod whole_records;

use std::io::{self, IoSlice, Read as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::net::TcpStream as ClientSocket;
use rustls::{KeyLog, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream as RustlsStream;
use zeroize::Zeroize as _;

use buffered::BufferedTls;
pub(crate) use certificate::Certificate;
use keys::TrafficKeys;
pub(crate) use session::TlsSession;
use session::TlsTransport;
use tickets::Tickets;
use whole_records::WholeRecords;

/// A TLS connection whose handshake is done.
pub(crate) type TlsStream = RustlsStream<WholeRecords<TcpStream>>;

/// Accepts TLS connections. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct TlsAcceptor {
    config: Arc<ServerConfig>,
    certificate: Arc<Certificate>,
}

impl TlsAcceptor {
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream> {
        let secrets = Arc::<Secrets>::default();
        let acceptor = tokio_rustls::TlsAcceptor::from(self.config(&secrets));
        acceptor.accept(WholeRecords::new(stream, secrets)).await
    }

    /// The configuration of one connection, whose secrets are kept.
    fn config(&self, secrets: &Arc<Secrets>) -> Arc<ServerConfig> {
        let mut config = (*self.config).clone();
        config.key_log = secrets.clone();
        let secret = self.certificate.ticket_secret();
        config.ticketer = Arc::new(Tickets { secret, of_connection: secrets.clone() });
        Arc::new(config)
    }
}

/// The traffic secrets of one connection. The keys of a session follow from them, now and after an update.
#[derive(Default)]
struct Secrets {
    of_client: Mutex<Vec<u8>>,
    of_server: Mutex<Vec<u8>>,
}

impl Secrets {
    fn of(&self, label: &str) -> Option<&Mutex<Vec<u8>>> {
        match label {
            "CLIENT_TRAFFIC_SECRET_0" => Some(&self.of_client),
            "SERVER_TRAFFIC_SECRET_0" => Some(&self.of_server),
            _ => None,
        }
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        for secret in [&self.of_client, &self.of_server] {
            lock(secret).zeroize();
        }
    }
}

impl KeyLog for Secrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if let Some(kept) = self.of(label) {
            *lock(kept) = secret.to_vec();
        }
    }

    fn will_log(&self, label: &str) -> bool {
        self.of(label).is_some()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// Whether client and server have agreed on HTTP/2.
pub(crate) fn is_http2(stream: &TlsStream) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// Returns the bytes that have been decrypted and not been read.
pub(crate) fn take_decrypted(stream: &mut TlsStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match stream.get_mut().1.reader().read_to_end(&mut bytes) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(bytes),
    }
}

/// An encrypted connection that is read and written without waiting. It may hold bytes of its own in both
/// directions.
#[derive(Debug)]
pub(crate) enum SecureStream {
    Session(Box<TlsTransport>),
    /// Without TLS 1.3.
    Buffered(Box<BufferedTls>),
}

impl SecureStream {
    /// Takes a connection out of the runtime. Everything that has been decrypted must have been taken.
    pub(crate) fn new(stream: TlsStream) -> io::Result<Self> {
        let (stream, rustls) = stream.into_inner();
        let (stream, incoming, secrets) = stream.into_parts();
        let socket = ClientSocket::from_std(stream.into_std()?);
        let of_server = lock(&secrets.of_server);
        let of_client = lock(&secrets.of_client);
        // TLS 1.2 has no such secrets. Bytes that are not sent yet are in rustls.
        if of_server.is_empty() || of_client.is_empty() || rustls.wants_write() {
            let buffered = BufferedTls::new(socket, rustls, &incoming)?;
            return Ok(Self::Buffered(Box::new(buffered)));
        }
        let keys = rustls.dangerous_extract_secrets().map_err(io::Error::other)?;
        let sent = TrafficKeys::new(keys.tx.0, &keys.tx.1, &of_server)?;
        let received = TrafficKeys::new(keys.rx.0, &keys.rx.1, &of_client)?;
        Ok(Self::resume(socket, TlsSession::new(sent, received, incoming)))
    }

    /// Goes on with a session.
    pub(crate) fn resume(socket: ClientSocket, session: TlsSession) -> Self {
        Self::Session(Box::new(TlsTransport::new(socket, session)))
    }

    /// The socket and the session, if they can be handed over.
    pub(crate) fn parts(&self) -> Option<(&ClientSocket, &TlsSession)> {
        match self {
            Self::Session(stream) => Some(stream.parts()),
            Self::Buffered(_) => None,
        }
    }

    pub(crate) fn socket(&mut self) -> &mut ClientSocket {
        match self {
            Self::Session(stream) => stream.socket(),
            Self::Buffered(stream) => stream.socket(),
        }
    }

    /// `buffer` must have room for two records.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Session(stream) => stream.read(buffer),
            Self::Buffered(stream) => stream.read(buffer),
        }
    }

    pub(crate) fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Session(stream) => stream.write(buffers),
            Self::Buffered(stream) => stream.write(buffers),
        }
    }

    /// Sends the bytes that a write has left in the stream.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Session(stream) => stream.flush(),
            Self::Buffered(stream) => stream.flush(),
        }
    }
}

fn lock(secret: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    secret.lock().unwrap_or_else(PoisonError::into_inner)
}

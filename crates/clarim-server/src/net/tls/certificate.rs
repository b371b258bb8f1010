//! The server's certificate and key, reloaded when the files change.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsAcceptor;
use super::tickets::TicketSecret;

/// Time between two checks of the files.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// The certificate in use.
#[derive(Debug)]
pub(crate) struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    certified: Arc<CertifiedKey>,
    tickets: Arc<TicketSecret>,
    stamp: Stamp,
}

/// Modification times of certificate and key.
type Stamp = [Option<SystemTime>; 2];

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// Names the file and the problem.
    pub(crate) fn load(cert: PathBuf, key: PathBuf) -> io::Result<Arc<Self>> {
        let current = RwLock::new(read(&cert, &key)?);
        Ok(Arc::new(Self { cert, key, current }))
    }

    /// Makes the acceptor of new connections. It offers HTTP/2.
    pub(crate) fn acceptor(self: &Arc<Self>) -> io::Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        // A page opens one connection at a time, and each brings a new ticket.
        config.send_tls13_tickets = 1;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // For `into_transport`.
        config.enable_secret_extraction = true;
        Ok(TlsAcceptor { config: Arc::new(config), certificate: self.clone() })
    }

    /// Reloads the files whenever they change, forever. If they can't be used, the old certificate stays.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            let stamp = stamp(&self.cert, &self.key);
            if stamp == self.current().stamp {
                continue;
            }
            match read(&self.cert, &self.key) {
                Ok(loaded) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                    tracing::info!("certificate reloaded");
                }
                // Both files are seldom replaced at the same moment; the next check tries again.
                Err(error) => tracing::warn!(
                    %error,
                    "cannot use the changed certificate; the old one stays in use"
                ),
            }
        }
    }

    /// The source of the keys of session tickets.
    pub(super) fn ticket_secret(&self) -> Arc<TicketSecret> {
        self.current().tickets.clone()
    }

    fn current(&self) -> RwLockReadGuard<'_, Loaded> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().certified.clone())
    }
}

fn stamp(cert: &Path, key: &Path) -> Stamp {
    [cert, key].map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok())
}

fn read(cert: &Path, key: &Path) -> io::Result<Loaded> {
    // First, so that a change while the files are read is noticed.
    let stamp = stamp(cert, key);
    let chain = CertificateDer::pem_reader_iter(open(cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(cert, &error))?;
    if chain.is_empty() {
        return Err(unusable(cert, &"it contains no PEM certificate"));
    }
    let private =
        PrivateKeyDer::from_pem_reader(open(key)?).map_err(|error| unusable(key, &error))?;
    let tickets = Arc::new(TicketSecret::new(private.secret_der()));
    let certified = CertifiedKey::from_der(chain, private, &ring::default_provider())
        .map_err(|error| unusable(key, &error))?;
    Ok(Loaded { certified: Arc::new(certified), tickets, stamp })
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("cannot use TLS file {}: {reason}", path.display()))
}

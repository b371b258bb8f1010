//! TLS: certificate and key from files, read again when they change.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::Tls;

/// How often the files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// The certificate in force.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: Tls,
    current: RwLock<(Arc<CertifiedKey>, Stamp)>,
}

/// When the two files were last changed.
type Stamp = [Option<SystemTime>; 2];

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub(crate) fn load(files: Tls) -> io::Result<Arc<Self>> {
        let stamp = stamp(&files);
        let current = RwLock::new((read(&files)?, stamp));
        Ok(Arc::new(Self { files, current }))
    }

    /// What new connections are served with; HTTP/2 is offered to those that want it.
    pub(crate) fn config(self: &Arc<Self>) -> io::Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files whenever they have changed, for ever. What can't be read leaves the old
    /// certificate in force.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            let stamp = stamp(&self.files);
            if stamp == self.current.read().unwrap_or_else(PoisonError::into_inner).1 {
                continue;
            }
            match read(&self.files) {
                Ok(key) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = (key, stamp);
                    tracing::info!("certificate read again");
                }
                Err(error) => {
                    // Both files are seldom replaced in one moment: the next round tries again.
                    tracing::warn!(%error, "the changed certificate cannot be used; the old one stays");
                }
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone())
    }
}

fn stamp(files: &Tls) -> Stamp {
    [&files.cert, &files.key].map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok())
}

fn read(files: &Tls) -> io::Result<Arc<CertifiedKey>> {
    let chain = CertificateDer::pem_reader_iter(open(&files.cert)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(&files.cert, &error))?;
    if chain.is_empty() {
        return Err(bad(&files.cert, &"it holds no PEM certificate"));
    }
    let key = PrivateKeyDer::from_pem_reader(open(&files.key)?)
        .map_err(|error| bad(&files.key, &error))?;
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map_err(|error| bad(&files.key, &error))?;
    Ok(Arc::new(certified))
}

fn open(path: &Path) -> io::Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(|error| bad(path, &error))
}

fn bad(path: &Path, reason: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("TLS file {}: {reason}", path.display()))
}

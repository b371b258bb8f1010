//! Access control of test servers.

use std::sync::Arc;

use tempfile::TempDir;

/// What a test server requires from its clients. By default, nothing.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// The password, if one is required.
    pub password: Option<&'static str>,
    /// The certificate of a server with TLS.
    pub certificate: Option<Certificate>,
}

/// A self-signed certificate for localhost and 127.0.0.1 and its key, as files.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Path to the certificate.
    pub file: String,
    /// Path to the key.
    pub key: String,
    _folder: Arc<TempDir>,
}

impl Certificate {
    /// Creates a certificate.
    ///
    /// # Panics
    /// If it can't be created or written.
    #[must_use]
    pub fn new() -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())];
        let [file, key] = files.map(|(name, text)| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file.to_string_lossy().into_owned()
        });
        Self { file, key, _folder: Arc::new(folder) }
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}

impl Guard {
    /// Settings of a Redis server or Sentinel on this port.
    pub(crate) fn settings(&self, port: u16) -> Vec<(&'static str, String)> {
        let mut settings = match &self.certificate {
            None => vec![("port", port.to_string())],
            Some(certificate) => vec![
                ("port", "0".to_owned()),
                ("tls-port", port.to_string()),
                ("tls-cert-file", certificate.file.clone()),
                ("tls-key-file", certificate.key.clone()),
                ("tls-ca-cert-file", certificate.file.clone()),
                ("tls-auth-clients", "no".to_owned()),
                ("tls-replication", "yes".to_owned()),
            ],
        };
        let password = self.password.map(|password| ("requirepass", password.to_owned()));
        settings.extend(password);
        settings
    }

    /// Arguments of `redis-cli`.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        let mut arguments = Vec::new();
        if let Some(certificate) = &self.certificate {
            arguments.extend(["--tls", "--cacert", &certificate.file]);
        }
        if let Some(password) = self.password {
            arguments.extend(["--no-auth-warning", "-a", password]);
        }
        arguments
    }

    /// The scheme of a URL with this ending.
    pub(crate) fn scheme(&self, ending: &str) -> String {
        format!("{}{ending}", if self.certificate.is_some() { "rediss" } else { "redis" })
    }

    /// The user information of a URL, before its hosts.
    pub(crate) fn login(&self) -> String {
        self.password.map(|password| format!(":{password}@")).unwrap_or_default()
    }
}

//! How clients shake hands with a server that has TLS.

use std::sync::Arc;

use anyhow::Result;
use clap::ValueEnum;
use clarim_testing::Certificate;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CipherSuite, ClientConfig, RootCertStore, SupportedCipherSuite};
use serde::Deserialize;

/// Kinds of handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Handshakes {
    Full,
    /// With the session ticket of a connection before.
    Resumed,
}

impl Handshakes {
    /// The configuration of clients that trust this certificate.
    pub(crate) fn config(self, certificate: &Certificate) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&certificate.file)?)?;
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

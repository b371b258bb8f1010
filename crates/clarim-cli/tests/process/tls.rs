//! Clients of a server with a certificate.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use super::restart::restart;
use super::server::Process;

/// A certificate for localhost, and a client that trusts it.
pub(super) struct Certificate {
    cert: String,
    key: String,
    pub(super) client: ClientConfig,
}

impl Certificate {
    pub(super) fn make(folder: &Path) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let made = params.self_signed(&key).unwrap();
        let write = |name: &str, content: String| {
            let path = folder.join(name);
            fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let client = builder.with_root_certificates(roots).with_no_client_auth();
        let cert = write("cert.pem", made.pem());
        let key = write("key.pem", key.serialize_pem());
        Self { cert, key, client }
    }

    /// The environment of a server that has it.
    pub(super) fn settings(&self) -> [(&str, &str); 2] {
        [("CLARIM_TLS_CERT", &self.cert), ("CLARIM_TLS_KEY", &self.key)]
    }
}

/// Requests something, so that the session tickets arrive too.
fn handshake(client: &Arc<ClientConfig>, port: u16) -> HandshakeKind {
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(client.clone(), name).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut stream = StreamOwned::new(session, stream);
    stream.write_all(b"GET /up HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    stream.conn.handshake_kind().unwrap()
}

#[test]
fn a_tls_session_is_resumed_by_another_node_and_by_the_next_program() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::make(folder.path());
    let client = Arc::new(certificate.client.clone());
    let nodes = [(); 2].map(|()| Process::start("", "", &certificate.settings()));
    assert_eq!(handshake(&client, nodes[0].port), HandshakeKind::Full);
    assert_eq!(handshake(&client, nodes[1].port), HandshakeKind::Resumed);
    restart(&nodes[0]);
    assert_eq!(handshake(&client, nodes[0].port), HandshakeKind::Resumed);
}

//! Session tickets: a client that comes back with one needs no new signature of the server.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::server::ProducesTickets;

use super::{Secrets, lock};

/// Seconds until the key of new tickets changes. Tickets of the period before are accepted, too.
const PERIOD: u64 = 6 * 60 * 60;

/// Where the keys come from: the private key of the certificate. So all nodes with the same certificate
/// accept each other's tickets, and a new program those of the old one.
#[derive(Debug)]
pub(super) struct TicketSecret(hkdf::Prk);

impl TicketSecret {
    pub(super) fn new(private_key: &[u8]) -> Self {
        Self(hkdf::Salt::new(hkdf::HKDF_SHA256, b"clarim session tickets").extract(private_key))
    }

    fn key(&self, period: u32) -> Option<LessSafeKey> {
        let info = [&period.to_be_bytes()[..]];
        let key = self.0.expand(&info, &aead::AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }

    /// Makes a ticket: the number of the period, a nonce, and the encrypted state.
    fn seal(&self, state: &[u8], period: u32) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = state.to_vec();
        let key = self.key(period)?;
        let nonce_of_key = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce_of_key, Aad::empty(), &mut sealed).ok()?;
        Some([&period.to_be_bytes()[..], &nonce, &sealed].concat())
    }

    /// Returns the state in a ticket, unless the ticket is too old or not one of ours.
    fn open(&self, ticket: &[u8], now: u32) -> Option<Vec<u8>> {
        let (period, rest) = ticket.split_first_chunk()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let period = u32::from_be_bytes(*period);
        // The clock of the node that made it may be ahead.
        if period.abs_diff(now) > 1 {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let state = self.key(period)?.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        Some(state.to_vec())
    }
}

/// Makes and accepts the tickets of one connection.
#[derive(Debug)]
pub(super) struct Tickets {
    pub(super) secret: Arc<TicketSecret>,
    pub(super) of_connection: Arc<Secrets>,
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD as u32
    }

    fn encrypt(&self, state: &[u8]) -> Option<Vec<u8>> {
        // Only TLS 1.3 has traffic secrets. In a ticket of TLS 1.2 are the keys of its connection: with the
        // private key, everything that was recorded could be read. A ticket of TLS 1.3 tells nothing of any
        // connection, because each of them adds secrets of its own.
        let is_tls13 = !lock(&self.of_connection.of_server).is_empty();
        is_tls13.then(|| self.secret.seal(state, this_period())).flatten()
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.secret.open(ticket, this_period())
    }
}

fn this_period() -> u32 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since_epoch.as_secs() / PERIOD) as u32
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
    use rustls::client::Resumption;
    use rustls::crypto::ring;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::version::{TLS12, TLS13};
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection,
        SupportedProtocolVersion,
    };

    use super::super::Certificate;
    use super::*;

    /// Makes a certificate of localhost in this folder.
    fn make_certificate(folder: &Path) -> Arc<Certificate> {
        let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
        std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
        load(folder)
    }

    /// Loads it as another node does, or the next program.
    fn load(folder: &Path) -> Arc<Certificate> {
        Certificate::load(folder.join("cert.pem"), folder.join("key.pem")).unwrap()
    }

    fn client(folder: &Path, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(8);
        Arc::new(config)
    }

    /// Connects, and reads the tickets too.
    fn connect(client: &Arc<ClientConfig>, server: &Arc<Certificate>) -> HandshakeKind {
        let config = server.acceptor().unwrap().config(&Arc::default());
        let mut server = ServerConnection::new(config).unwrap();
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(client.clone(), name).unwrap();
        while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut unread = &bytes[..];
            while !unread.is_empty() {
                server.read_tls(&mut unread).unwrap();
                server.process_new_packets().unwrap();
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut unread = &bytes[..];
            while !unread.is_empty() {
                client.read_tls(&mut unread).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        client.handshake_kind().unwrap()
    }

    #[test]
    fn a_ticket_is_accepted_by_all_nodes_with_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let server = make_certificate(folder.path());
        let client = client(folder.path(), &TLS13);
        assert_eq!(connect(&client, &server), HandshakeKind::Full);
        for _ in 0..5 {
            assert_eq!(connect(&client, &load(folder.path())), HandshakeKind::Resumed);
        }
    }

    #[test]
    fn another_key_needs_a_full_handshake() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let secret = TicketSecret::new(b"key");
        let ticket = secret.seal(b"state", 7).unwrap();
        assert_eq!(TicketSecret::new(b"other").open(&ticket, 7), None);
        let before = make_certificate(folder.path());
        let after = make_certificate(other.path());
        let foreign = before.ticket_secret().seal(b"state", 7).unwrap();
        assert_eq!(after.ticket_secret().open(&foreign, 7), None);
    }

    #[test]
    fn tls_1_2_has_no_tickets() {
        let folder = tempfile::tempdir().unwrap();
        let server = make_certificate(folder.path());
        let client = client(folder.path(), &TLS12);
        for _ in 0..3 {
            assert_eq!(connect(&client, &server), HandshakeKind::Full);
        }
    }

    #[test]
    fn tickets_end_with_the_next_period_and_cannot_be_changed() {
        let secret = TicketSecret::new(b"key");
        let ticket = secret.seal(b"state", 7).unwrap();
        for now in [6, 7, 8] {
            assert_eq!(secret.open(&ticket, now).as_deref(), Some(&b"state"[..]), "{now}");
        }
        for now in [0, 5, 9, u32::MAX] {
            assert_eq!(secret.open(&ticket, now), None, "{now}");
        }
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(secret.open(&changed, 7), None, "{at}");
            assert_eq!(secret.open(&ticket[..at], 7), None, "{at}");
        }
        assert_ne!(secret.seal(b"state", 7).unwrap(), ticket, "each has a nonce of its own");
    }
}

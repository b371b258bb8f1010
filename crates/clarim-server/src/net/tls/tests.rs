//! Sessions against the client of rustls.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};

use super::keys::TrafficKeys;
use super::record::TlsError;
use super::session::TlsSession;
use super::{Secrets, lock};

/// A client, and the session of the server after the handshake.
struct Pair {
    client: ClientConnection,
    server: TlsSession,
}

fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    ring::default_provider().cipher_suites.into_iter().filter(|suite| suite.tls13().is_some())
}

impl Pair {
    fn new(suite: SupportedCipherSuite) -> Self {
        let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let provider = CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() };
        let provider = Arc::new(provider);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let secrets = Arc::<Secrets>::default();
        config.key_log = secrets.clone();
        config.enable_secret_extraction = true;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        while client.is_handshaking() || server.is_handshaking() || server.wants_write() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            feed(&bytes, |part| server.read_tls(part));
            server.process_new_packets().unwrap();
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            feed(&bytes, |part| client.read_tls(part));
            client.process_new_packets().unwrap();
        }
        let keys = server.dangerous_extract_secrets().unwrap();
        let sent = TrafficKeys::new(keys.tx.0, &keys.tx.1, &lock(&secrets.of_server)).unwrap();
        let received = TrafficKeys::new(keys.rx.0, &keys.rx.1, &lock(&secrets.of_client)).unwrap();
        Self { client, server: TlsSession::new(sent, received, Vec::new()) }
    }

    /// Sends content to the client, and returns what it reads.
    fn deliver(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        let mut buffers: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = &mut buffers[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            self.server.respond().unwrap();
            let mut records = std::mem::take(&mut self.server.unsent);
            let taken = self.server.encrypt(rest, &mut records).unwrap();
            IoSlice::advance_slices(&mut rest, taken);
            found.extend(self.read_at_client(&records));
        }
        found
    }

    fn read_at_client(&mut self, records: &[u8]) -> Vec<u8> {
        let mut found = Vec::new();
        let mut rest = records;
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets().unwrap();
            match self.client.reader().read_to_end(&mut found) {
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                Ok(_) => break,
            }
        }
        found
    }

    /// The records of what the client has to send.
    fn records_of_client(&mut self, content: &[u8]) -> Vec<u8> {
        self.client.writer().write_all(content).unwrap();
        let mut records = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut records).unwrap();
        }
        records
    }

    /// Decrypts records that arrive in pieces of this size.
    fn decrypt(&mut self, records: &[u8], piece: usize) -> Result<Vec<u8>, TlsError> {
        let mut found = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        for part in records.chunks(piece) {
            let begun = std::mem::take(&mut self.server.incoming);
            buffer[..begun.len()].copy_from_slice(&begun);
            let len = begun.len() + part.len();
            buffer[begun.len()..len].copy_from_slice(part);
            let filled = self.server.decrypt(&mut buffer, len)?;
            found.extend_from_slice(&buffer[..filled]);
        }
        Ok(found)
    }

    /// Saves the session and restores it.
    fn hand_over(&mut self) {
        let saved = serde_json::to_vec(&self.server).unwrap();
        self.server = serde_json::from_slice(&saved).unwrap();
    }
}

fn feed(mut bytes: &[u8], mut read: impl FnMut(&mut dyn io::Read) -> io::Result<usize>) {
    while !bytes.is_empty() {
        read(&mut bytes).unwrap();
    }
}

#[test]
fn content_goes_both_ways_with_all_suites_and_across_hand_overs() {
    for suite in suites() {
        let mut pair = Pair::new(suite);
        let large = vec![b'x'; 50_000];
        for piece in [1, 7, 1000, 40_000] {
            assert_eq!(pair.deliver(&[b"ab", b"", b"cde"]), b"abcde");
            assert_eq!(pair.deliver(&[&large, &large, b"end"]).len(), 100_003);
            let records = pair.records_of_client(&large);
            assert_eq!(pair.decrypt(&records, piece).unwrap(), large);
            let records = pair.records_of_client(b"x");
            let (first, second) = records.split_at(9);
            assert_eq!(pair.decrypt(first, piece).unwrap(), b"");
            pair.hand_over();
            assert_eq!(pair.decrypt(second, piece).unwrap(), b"x");
        }
    }
}

#[test]
fn both_sides_may_update_their_keys() {
    for suite in suites() {
        let mut pair = Pair::new(suite);
        for n in 0..5_u8 {
            pair.client.refresh_traffic_keys().unwrap();
            let records = pair.records_of_client(&[n]);
            assert_eq!(pair.decrypt(&records, 3).unwrap(), [n]);
            // The client wants the server to update its keys, too. It does so once.
            pair.hand_over();
            pair.server.respond().unwrap();
            assert!(pair.server.has_unsent());
            assert_eq!(pair.deliver(&[&[n]]), [n]);
            assert!(!pair.server.has_unsent());
        }
        // In tests, keys are used up after fewer records.
        for n in 0..250_u8 {
            assert_eq!(pair.deliver(&[&[n]]), [n]);
        }
    }
}

#[test]
fn changed_records_end_the_session() {
    let suite = suites().next().unwrap();
    let mut pair = Pair::new(suite);
    let records = pair.records_of_client(b"content");
    for at in 0..records.len() {
        let mut changed = records.clone();
        changed[at] ^= 0x20;
        let result = Pair { client: Pair::new(suite).client, server: pair.server.clone() }
            .decrypt(&changed, changed.len());
        match result {
            // A longer record has not arrived yet.
            Ok(content) => assert!(content.is_empty() && matches!(at, 3 | 4), "{at}"),
            Err(error) => {
                let expected = [TlsError::BadRecord, TlsError::UnexpectedMessage];
                assert!(expected.contains(&error) || at == 3, "{at}: {error:?}");
            }
        }
    }
    assert_eq!(pair.decrypt(&records, records.len()).unwrap(), b"content");
    // A record is accepted once.
    assert_eq!(pair.decrypt(&records, records.len()), Err(TlsError::BadRecord));
}

#[test]
fn the_end_and_alerts_of_the_client_are_understood() {
    let mut pair = Pair::new(suites().next().unwrap());
    let mut records = pair.records_of_client(b"last");
    pair.client.send_close_notify();
    records.extend(pair.records_of_client(b""));
    assert_eq!(pair.decrypt(&records, records.len()).unwrap(), b"last");
    assert!(pair.server.is_ended);
}

#[test]
fn records_without_content_are_limited() {
    let mut pair = Pair::new(suites().next().unwrap());
    let mut records = Vec::new();
    for _ in 0..40 {
        pair.client.refresh_traffic_keys().unwrap();
        records.extend(pair.records_of_client(b""));
    }
    assert_eq!(pair.decrypt(&records, records.len()), Err(TlsError::UnexpectedMessage));
}

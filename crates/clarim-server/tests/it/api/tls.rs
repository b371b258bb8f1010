//! The same over TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::raw::{HANDSHAKE, Raw};
use crate::support::{
    Client, Harness, HttpConnection, Reply, Setup, app, dial_narrow, event, secure, secure_on,
    succeeded, within,
};

/// A server with its own certificate. The files are deleted with this value.
pub(crate) struct Secure {
    pub(crate) harness: Harness,
    files: Files,
    connector: TlsConnector,
}

struct Files {
    folder: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Files {
    fn new(name: &str) -> Self {
        let name = format!("clarim-it-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a new certificate, and returns a connector that trusts only this one.
    fn renew(&self) -> TlsConnector {
        self.renew_for(&[])
    }

    /// Like [`renew`](Self::renew). The connector negotiates these protocols.
    fn renew_for(&self, protocols: &[&[u8]]) -> TlsConnector {
        let CertifiedKey { cert, signing_key }: CertifiedKey<KeyPair> =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        replace(&self.path("key.pem"), &signing_key.serialize_pem());
        replace(&self.path("cert.pem"), &cert.pem());
        connector(cert.der(), protocols)
    }
}

/// Replaces a file atomically, like tools that renew certificates.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn connector(certificate: &CertificateDer<'static>, protocols: &[&[u8]]) -> TlsConnector {
    connector_with(rustls::crypto::ring::default_provider(), certificate, protocols)
}

fn connector_with(
    provider: CryptoProvider,
    certificate: &CertificateDer<'static>,
    protocols: &[&[u8]],
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // A resumed session would not check the certificate again.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

impl Secure {
    pub(crate) fn start(name: &str) -> Self {
        let files = Files::new(name);
        let connector = files.renew();
        let tls = Some((files.path("cert.pem"), files.path("key.pem")));
        let harness = Setup { tls, ..Setup::default() }.start(vec![app()]);
        Self { harness, files, connector }
    }

    /// The same server at another number of workers.
    pub(crate) fn setup(&self, workers: u16) -> Setup {
        let tls = Some((self.files.path("cert.pem"), self.files.path("key.pem")));
        Setup { workers, tls, ..Setup::default() }
    }

    pub(crate) async fn connect(&self) -> Client {
        self.connect_with(&self.connector).await
    }

    /// A client that knows no TLS 1.3.
    pub(crate) async fn connect_with_tls12(&self) -> Client {
        let certificate = std::fs::read(self.files.path("cert.pem")).unwrap();
        let certificate = CertificateDer::from_pem_slice(&certificate).unwrap();
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.retain(|suite| suite.tls13().is_none());
        self.connect_with(&connector_with(provider, &certificate, &[])).await
    }

    async fn connect_with(&self, connector: &TlsConnector) -> Client {
        let stream = secure(&self.harness, connector).await.unwrap();
        let mut client = self.harness.open_on(stream, "/app/reverb-key", &[]).await;
        client.greeted().await;
        client
    }

    pub(crate) async fn http(&self) -> HttpConnection {
        HttpConnection::new(secure(&self.harness, &self.connector).await.unwrap()).await
    }

    pub(crate) async fn publish(&self, connection: &mut HttpConnection, data: &str) {
        let body = json!({ "name": "e", "channel": "private-x", "data": data }).to_string();
        let target = self.harness.api().sign("POST", "/events", &[], body.as_bytes());
        let reply = connection.request("POST", &target, body.as_bytes()).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
    }
}

#[tokio::test]
async fn websockets_and_the_api_work_over_tls() {
    let server = Secure::start("plain");
    let mut client = server.connect().await;
    client.subscribe("private-x").await;
    let mut connection = server.http().await;
    for n in 0..3 {
        server.publish(&mut connection, &json!({ "n": n }).to_string()).await;
        client.expect(event("private-x", "e", &json!({ "n": n }))).await;
    }
    client.expect_nothing().await;
    drop(client);
    server.harness.becomes_empty().await;
}

#[tokio::test]
async fn large_events_go_both_ways_over_tls() {
    let server = Secure::start("large");
    let mut one = server.connect().await;
    let mut two = server.connect().await;
    one.subscribe("private-x").await;
    two.subscribe("private-x").await;
    let mut connection = server.http().await;
    let text = |n: u8| char::from(b'a' + n).to_string().repeat(90_000);
    // Several at a time, so that more is queued than fits into one TLS record or one read.
    for n in 0..5 {
        server.publish(&mut connection, &json!(text(n)).to_string()).await;
    }
    for n in 0..5 {
        one.expect(event("private-x", "e", &json!(text(n)))).await;
        two.expect(event("private-x", "e", &json!(text(n)))).await;
    }
    for n in 0..5 {
        one.whisper("private-x", "client-x", &json!({ "text": text(n) })).await;
    }
    for n in 0..5 {
        let data = json!({ "text": text(n) }).to_string();
        two.expect(json!({ "event": "client-x", "channel": "private-x", "data": data })).await;
    }
    one.expect_nothing().await;
}

/// A client that updates its keys before each write, and wants the server to do the same.
struct UpdatesKeys(TlsStream<TcpStream>);

impl AsyncRead for UpdatesKeys {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for UpdatesKeys {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Not before the handshake of the WebSocket is done.
        if !bytes.starts_with(b"GET") {
            self.0.get_mut().1.refresh_traffic_keys().unwrap();
        }
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn clients_may_update_their_keys() {
    let server = Secure::start("key-update");
    let stream = TcpStream::connect(server.harness.address).await.unwrap();
    let stream = server.connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let stream = Box::new(UpdatesKeys(stream));
    let mut client = server.harness.open_on(stream, "/app/reverb-key", &[]).await;
    client.greeted().await;
    client.subscribe("private-x").await;
    let mut connection = server.http().await;
    for n in 0..5 {
        server.publish(&mut connection, &json!({ "n": n }).to_string()).await;
        client.expect(event("private-x", "e", &json!({ "n": n }))).await;
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn websockets_work_with_every_version_and_suite() {
    let files = Files::new("suites");
    files.renew();
    let certificate = std::fs::read(files.path("cert.pem")).unwrap();
    let certificate = CertificateDer::from_pem_slice(&certificate).unwrap();
    let tls = Some((files.path("cert.pem"), files.path("key.pem")));
    let server = Setup { tls, ..Setup::default() }.start(vec![app()]);
    for suite in rustls::crypto::ring::default_provider().cipher_suites {
        let provider = CryptoProvider {
            cipher_suites: vec![suite],
            ..rustls::crypto::ring::default_provider()
        };
        let connector = connector_with(provider, &certificate, &[]);
        let Ok(stream) = secure(&server, &connector).await else {
            // The certificate has no RSA key.
            assert!(format!("{suite:?}").contains("RSA"), "{suite:?}");
            continue;
        };
        let mut client = server.open_on(stream, "/app/reverb-key", &[]).await;
        client.greeted().await;
        client.subscribe("private-x").await;
        let text = json!({ "text": "x".repeat(50_000) });
        client.whisper("private-x", "client-x", &text).await;
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_reader_that_stalls_is_closed_over_tls() {
    let server = Secure::start("slow");
    let stream = dial_narrow(&server.harness).await;
    let stream = secure_on(stream, &server.connector).await.unwrap();
    let mut slow = server.harness.open_on(stream, "/app/reverb-key", &[]).await;
    slow.greeted().await;
    slow.subscribe("private-x").await;
    let mut connection = server.http().await;
    let data = |n: usize| json!({ "n": n, "padding": "x".repeat(50_000) });
    // More than the send queue and the kernel take.
    let sent = 100;
    for n in 0..sent {
        server.publish(&mut connection, &data(n).to_string()).await;
    }
    let closed = async {
        while !server.harness.running().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), closed).await.expect("it is closed");
    for n in 0.. {
        let message = slow.next().await.unwrap();
        if let Some((code, _)) = message.as_close() {
            assert_eq!(u16::from(code), 4100);
            assert!(n > 0 && n < sent, "closed after {n} of {sent} events");
            break;
        }
        let found: Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
        assert_eq!(found, event("private-x", "e", &data(n)));
    }
    drop(slow);
    server.harness.becomes_empty().await;
}

#[tokio::test]
async fn a_message_too_large_is_refused_over_tls() {
    let server = Secure::start("too-large");
    let mut client = server.connect().await;
    client.send_text(&"x".repeat(100_001)).await;
    assert_eq!(client.expect_close(1009).await, "Maximum message size exceeded");
    server.harness.becomes_empty().await;
}

#[tokio::test]
async fn frames_in_the_same_record_as_the_handshake_work() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let server = Secure::start("early");
    let mut stream = secure(&server.harness, &server.connector).await.unwrap();
    let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"x"}}"#;
    let mut bytes = format!("{HANDSHAKE}\r\n").into_bytes();
    bytes.extend(crate::raw::frame(true, crate::raw::TEXT, subscribe));
    within(stream.write_all(&bytes)).await.unwrap();
    within(stream.flush()).await.unwrap();
    let mut found = Vec::new();
    let event = succeeded("x")["event"].as_str().unwrap().to_owned();
    while !String::from_utf8_lossy(&found).contains(&event) {
        assert!(within(stream.read_buf(&mut found)).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn http_2_without_a_request_is_ended() {
    let files = Files::new("silent");
    let connector = files.renew_for(&[b"h2"]);
    let tls = Some((files.path("cert.pem"), files.path("key.pem")));
    let handshake_timeout = Duration::from_millis(300);
    let server = Setup { tls, handshake_timeout, ..Setup::default() }.start(vec![app()]);
    // One sends nothing at all, the other speaks HTTP/2 but sends no request.
    let mut silent = secure(&server, &connector).await.unwrap();
    let stream = secure(&server, &connector).await.unwrap();
    let handshake =
        http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream));
    let (_sender, connection) = within(handshake).await.unwrap();
    within(connection).await.unwrap();
    let mut rest = Vec::new();
    // With or without a TLS close alert.
    let _ = within(tokio::io::AsyncReadExt::read_to_end(&mut silent, &mut rest)).await;
}

#[tokio::test]
async fn http_2_that_takes_no_response_is_ended() {
    let files = Files::new("window");
    let connector = files.renew_for(&[b"h2"]);
    let tls = Some((files.path("cert.pem"), files.path("key.pem")));
    let handshake_timeout = Duration::from_millis(300);
    let server = Setup { tls, handshake_timeout, ..Setup::default() }.start(vec![app()]);
    // With these windows, the server may send no byte of a body, or only the first one.
    for window in [0, 1] {
        let stream = secure(&server, &connector).await.unwrap();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let builder = builder.initial_stream_window_size(window);
        let handshake = builder.handshake::<_, Full<Bytes>>(TokioIo::new(stream));
        let (mut sender, connection) = within(handshake).await.unwrap();
        let request = Request::get("https://localhost/up").body(Full::default()).unwrap();
        let reply = sender.send_request(request);
        let requested = tokio::spawn(async move { drop(reply.await.map(std::mem::forget)) });
        // With or without an error.
        let _ = within(connection).await;
        within(requested).await.unwrap();
    }
}

#[tokio::test]
async fn http_2_sends_a_long_response_whole() {
    let server = Secure::start("long");
    let mut clients = Vec::new();
    for client in 0..4 {
        clients.push(server.connect().await);
        for n in 0..90 {
            let channel = format!("{client}-{n}-{}", "x".repeat(150));
            clients[client].subscribe(&channel).await;
        }
    }
    let certificate = std::fs::read(server.files.path("cert.pem")).unwrap();
    let certificate = CertificateDer::from_pem_slice(&certificate).unwrap();
    let stream = secure(&server.harness, &connector(&certificate, &[b"h2"])).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = within(handshake).await.unwrap();
    tokio::spawn(connection);
    let target = server.harness.api().sign("GET", "/channels", &[], b"");
    let request = Request::get(format!("https://localhost{target}"));
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let reply = Reply::of(within(sender.send_request(request)).await.unwrap()).await;
    assert_eq!(reply.json()["channels"].as_object().unwrap().len(), 4 * 90);
    assert!(reply.text.len() > 48 << 10, "three pieces");
}

#[tokio::test]
async fn the_api_speaks_http_2() {
    let server = Secure::start("http2");
    let mut client = server.connect().await;
    client.subscribe("private-x").await;
    let certificate = std::fs::read(server.files.path("cert.pem")).unwrap();
    let certificate = CertificateDer::from_pem_slice(&certificate).unwrap();
    let stream = secure(&server.harness, &connector(&certificate, &[b"h2"])).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = within(handshake).await.unwrap();
    tokio::spawn(connection);
    // Several requests at once on one connection.
    let mut replies = Vec::new();
    for n in 0..5 {
        let body = json!({ "name": "e", "channel": "private-x", "data": n.to_string() });
        let body = body.to_string();
        let target = server.harness.api().sign("POST", "/events", &[], body.as_bytes());
        let request = Request::post(format!("https://localhost{target}"))
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        replies.push(sender.send_request(request));
    }
    for reply in replies {
        let reply = Reply::of(within(reply).await.unwrap()).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
    }
    let mut numbers = Vec::new();
    for _ in 0..5 {
        numbers.push(client.receive().await["data"]["$text"].as_u64().unwrap());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_certificate_replaced_on_disk_is_served() {
    let mut server = Secure::start("renewed");
    let mut before = server.connect().await;
    let old = server.connector.clone();
    server.connector = server.files.renew();
    within(async {
        while secure(&server.harness, &server.connector).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(secure(&server.harness, &old).await.is_err());
    server.connect().await.expect_nothing().await;
    // Existing connections are not affected.
    before.expect_nothing().await;
}

#[tokio::test]
async fn without_a_usable_certificate_the_server_does_not_start() {
    let files = Files::new("bad");
    std::fs::write(files.path("cert.pem"), "no certificate").unwrap();
    std::fs::write(files.path("key.pem"), "no key").unwrap();
    let tls = Some((files.path("cert.pem"), files.path("key.pem")));
    let started = std::panic::catch_unwind(|| Setup { tls, ..Setup::default() }.start(vec![app()]));
    assert!(started.is_err());
}

#[tokio::test]
async fn plain_http_on_the_tls_port_does_no_harm() {
    let server = Secure::start("http");
    for bytes in [format!("{HANDSHAKE}\r\n"), "x".repeat(20_000), String::new()] {
        let mut client = Raw::connect(&server.harness).await;
        let _ = client.try_send(bytes.as_bytes()).await;
        client.finish().await;
        let answer = client.rest().await;
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    }
    // Refused at once: the client does not have to end its request.
    let mut client = Raw::connect(&server.harness).await;
    client.send(b"GET / HTTP/1.1\r\n").await;
    client.rest().await;
    server.connect().await.expect_nothing().await;
}

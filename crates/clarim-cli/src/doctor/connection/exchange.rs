//! Requests and responses, as a client sees them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, LOCATION, SERVER};
use hyper::upgrade::Upgraded;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::certificate;
use super::target::Target;
use crate::doctor::finding::{Finding, TIMEOUT};
use crate::remote::system_roots;

/// Maximum size of a body that is read.
const MAX_BODY: usize = 1 << 20;

pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<W: AsyncRead + AsyncWrite + Send + Unpin> Wire for W {}

/// A response, and the connection it was upgraded to.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) upgraded: Option<TokioIo<Upgraded>>,
}

impl Response {
    pub(crate) fn header(&self, name: impl hyper::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Name of the server that answered, if it has one.
    pub(crate) fn server(&self) -> &str {
        match self.header(SERVER) {
            "" => "an unnamed server",
            server => server,
        }
    }
}

/// Checks that a connection can be opened, with or without TLS.
pub(crate) async fn reach(target: &Target) -> Result<Vec<Finding>, Finding> {
    connect(target).await?;
    let mut findings = vec![Finding::ok("address", format!("{} is reachable", target.shown()))];
    if target.is_tls {
        let what = format!("the certificate is valid for {} and trusted", target.host);
        findings.push(Finding::ok("certificate", what));
    }
    Ok(findings)
}

async fn connect(target: &Target) -> Result<Box<dyn Wire>, Finding> {
    let Target { host, port, .. } = target;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = lookup_host((bare, *port)).await.map_err(|error| {
        let what = format!("the host {host} cannot be resolved: {error}");
        Finding::problem("address", what, "check REVERB_HOST, the page's wsHost, and DNS")
    })?;
    let mut last = io::Error::other("the host has no address");
    for address in addresses {
        match timeout(TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) if !target.is_tls => return Ok(Box::new(stream)),
            Ok(Ok(stream)) => return connect_tls(bare, stream).await,
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(unreachable(target, &last))
}

fn unreachable(target: &Target, error: &io::Error) -> Finding {
    let at = target.authority();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Finding::problem(
            "address",
            format!("nothing is listening on {at}"),
            "start the server (clarim start), or use the port it listens on: SERVER_PORT on the server, \
             wsPort and wssPort in the page",
        ),
        io::ErrorKind::TimedOut => Finding::problem(
            "address",
            format!("{at} does not respond"),
            "check firewalls and security groups, and whether the host is correct",
        ),
        _ => Finding::problem(
            "address",
            format!("{at} cannot be reached: {error}"),
            "check the network",
        ),
    }
}

async fn connect_tls(host: &str, stream: TcpStream) -> Result<Box<dyn Wire>, Finding> {
    let failed = |error: &dyn std::fmt::Display| {
        Finding::problem(
            "certificate",
            format!("the TLS handshake failed: {error}"),
            "check the TLS settings of the proxy",
        )
    };
    let config = system_roots().map_err(|error| failed(&error))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
    let address = stream.peer_addr();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream);
    let error = match timeout(TIMEOUT, connecting).await {
        Ok(Ok(stream)) => return Ok(Box::new(stream)),
        Ok(Err(error)) => error,
        Err(_) => return Err(failed(&"no response")),
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => {
            let chain = match address {
                Ok(address) => certificates(name, address).await,
                Err(_) => Vec::new(),
            };
            Err(certificate::judge(host, why, &chain))
        }
        Some(rustls::Error::InvalidMessage(_)) => Err(Finding::problem(
            "certificate",
            "this port does not use TLS",
            "use ws:// or http:// (forceTLS: false), or the port that terminates TLS",
        )),
        _ => Err(failed(&error)),
    }
}

/// The certificates of another handshake, since those of a failed handshake are not available.
async fn certificates(name: ServerName<'static>, address: SocketAddr) -> Vec<certificate::Shown> {
    match timeout(TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => certificate::shown(name, stream).await,
        _ => Vec::new(),
    }
}

/// Sends a request on a new connection and returns the response.
pub(crate) async fn send(
    target: &Target,
    check: &'static str,
    request: Request<Full<Bytes>>,
) -> Result<Response, Finding> {
    let sending = async {
        let stream = connect(target).await?;
        exchange(stream, target, request).await.map_err(|error| no_response(target, check, &error))
    };
    timeout(TIMEOUT * 2, sending).await.unwrap_or_else(|_| {
        let what = format!("{} accepts connections but does not respond", target.authority());
        Err(Finding::problem(check, what, "check what the proxy there is waiting for"))
    })
}

/// Sends a request and returns the beginning of its response.
pub(crate) async fn send_streaming(
    target: &Target,
    check: &'static str,
    request: Request<Full<Bytes>>,
) -> Result<hyper::Response<Incoming>, Finding> {
    let stream = connect(target).await?;
    send_on(stream, target, request).await.map_err(|error| no_response(target, check, &error))
}

async fn send_on(
    stream: Box<dyn Wire>,
    target: &Target,
    mut request: Request<Full<Bytes>>,
) -> hyper::Result<hyper::Response<Incoming>> {
    if let Ok(host) = target.authority().parse() {
        request.headers_mut().insert(HOST, host);
    }
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await
}

async fn exchange(
    stream: Box<dyn Wire>,
    target: &Target,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response> {
    let mut response = send_on(stream, target, request).await?;
    let status = response.status();
    let upgraded = match status {
        StatusCode::SWITCHING_PROTOCOLS => Some(hyper::upgrade::on(&mut response).await?),
        _ => None,
    };
    let (head, body) = response.into_parts();
    let body = match upgraded {
        Some(_) => String::new(),
        // A body that can't be read counts as empty.
        None => Limited::new(body, MAX_BODY).collect().await.map_or_else(
            |_| String::new(),
            |body| String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        ),
    };
    Ok(Response { status, headers: head.headers, body, upgraded: upgraded.map(TokioIo::new) })
}

fn no_response(target: &Target, check: &'static str, error: &hyper::Error) -> Finding {
    let at = target.authority();
    if !target.is_tls && (error.is_parse() || error.is_incomplete_message()) {
        return Finding::problem(
            check,
            format!("{at} answered with something that is not HTTP; it probably expects TLS"),
            "use wss:// or https:// (forceTLS: true)",
        );
    }
    Finding::problem(
        check,
        format!("{at} does not respond: {error}"),
        "check the logs of the program that listens there",
    )
}

pub(crate) fn request(method: &str, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path)
}

/// Checks that a server of the protocol answers at the path.
pub(crate) async fn is_server(target: &Target) -> Result<(), Finding> {
    let response = get_up(target, &target.path).await?;
    if response.status.is_success() {
        return Ok(());
    }
    if response.status == StatusCode::NOT_FOUND && !target.path.is_empty() {
        let root = get_up(target, "").await?;
        if root.status.is_success() && root.body.contains("health") {
            return Err(Finding::problem(
                "path",
                format!("the server is not at {} but at /", target.path),
                format!("remove wsPath from the page, or set REVERB_SERVER_PATH={}", target.path),
            ));
        }
    }
    Err(wrong_server(target, &response))
}

async fn get_up(target: &Target, path: &str) -> Result<Response, Finding> {
    let request = request("GET", &format!("{path}/up")).body(Full::default());
    let request = request.map_err(|error| {
        Finding::problem("path", format!("the path is not valid: {error}"), "use another URL")
    })?;
    send(target, "path", request).await
}

/// The finding if something else answered.
fn wrong_server(target: &Target, response: &Response) -> Finding {
    let status = response.status;
    let who = response.server();
    match status.as_u16() {
        400 if response.body.to_lowercase().contains("https port") => Finding::problem(
            "path",
            format!("{who} expects TLS on this port"),
            "use wss:// or https:// (forceTLS: true)",
        ),
        301 | 302 | 307 | 308 => Finding::problem(
            "path",
            format!("{who} redirects to {}", response.header(LOCATION)),
            "browsers do not follow redirects of WebSockets: use that address in the page",
        ),
        502..=504 => Finding::problem(
            "proxy",
            format!(
                "{who} answered {status}: it cannot reach the server, or the server is draining"
            ),
            "start the server, and compare the port of the proxy's upstream with SERVER_PORT",
        ),
        404 if response.body == "Not found.\n" => Finding::problem(
            "path",
            format!("the server is there, but not at the path {:?}", target.path),
            "use the path of REVERB_SERVER_PATH, in wsPath of the page and in the URL of this command",
        ),
        _ => Finding::warning(
            "path",
            format!("{}/up was answered with {status} by {who}", target.shown()),
            "if this is not a server of the Pusher protocol, check host, port and the proxy's location",
        ),
    }
}

//! One request and its answer, as a client sees them on the way to the server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap, LOCATION, SERVER};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Finding, PATIENCE, Target, certificate};
use crate::http_client::system_roots;

/// As much of an answer is looked at.
const MAX_BODY: usize = 1 << 20;

pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<W: AsyncRead + AsyncWrite + Send + Unpin> Wire for W {}

/// An answer, and what it has turned into.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) upgraded: Option<TokioIo<Upgraded>>,
}

impl Reply {
    pub(super) fn header(&self, name: impl hyper::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Who has answered, as far as it says.
    pub(super) fn who(&self) -> &str {
        match self.header(SERVER) {
            "" => "something that does not say its name",
            server => server,
        }
    }
}

/// Whether somebody listens at the address, and speaks as the address says.
pub(super) async fn reach(target: &Target) -> Result<Vec<Finding>, Finding> {
    open(target).await?;
    let mut findings = vec![Finding::fine("address", format!("{} listens", target.shown()))];
    if target.is_tls {
        let what = format!("the certificate is for {}, and trusted", target.host);
        findings.push(Finding::fine("certificate", what));
    }
    Ok(findings)
}

async fn open(target: &Target) -> Result<Box<dyn Wire>, Finding> {
    let Target { host, port, .. } = target;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = lookup_host((bare, *port)).await.map_err(|error| {
        let what = format!("the name {host} leads nowhere: {error}");
        Finding::problem("address", what, "look at REVERB_HOST and the page's wsHost, and at DNS")
    })?;
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) if !target.is_tls => return Ok(Box::new(stream)),
            Ok(Ok(stream)) => return open_tls(bare, stream).await,
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
            format!("nobody listens at {at}"),
            "start the server (clarim start), or give the port on which it listens: SERVER_PORT \
             there, wsPort and wssPort in the page",
        ),
        io::ErrorKind::TimedOut => Finding::problem(
            "address",
            format!("{at} does not answer"),
            "look at firewalls and security groups in between, and whether the host is the right one",
        ),
        _ => Finding::problem(
            "address",
            format!("{at} cannot be reached: {error}"),
            "look at the network",
        ),
    }
}

async fn open_tls(host: &str, stream: TcpStream) -> Result<Box<dyn Wire>, Finding> {
    let failed = |error: &dyn std::fmt::Display| {
        Finding::problem(
            "certificate",
            format!("TLS fails: {error}"),
            "look at the proxy's TLS settings",
        )
    };
    let config = system_roots().map_err(|error| failed(&error))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
    let address = stream.peer_addr();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream);
    let error = match timeout(PATIENCE, connecting).await {
        Ok(Ok(stream)) => return Ok(Box::new(stream)),
        Ok(Err(error)) => error,
        Err(_) => return Err(failed(&"no answer to the handshake")),
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => {
            let chain = match address {
                Ok(address) => again(name, address).await,
                Err(_) => Vec::new(),
            };
            Err(certificate::judge(host, why, &chain))
        }
        Some(rustls::Error::InvalidMessage(_)) => Err(Finding::problem(
            "certificate",
            "no TLS is spoken there",
            "use ws:// or http:// (forceTLS: false), or give the port at which TLS ends",
        )),
        _ => Err(failed(&error)),
    }
}

/// What is shown at another handshake: of one that has failed the certificates are not to be had.
async fn again(name: ServerName<'static>, address: SocketAddr) -> Vec<certificate::Shown> {
    match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => certificate::shown(name, stream).await,
        _ => Vec::new(),
    }
}

/// Makes a request, and gets the answer.
pub(super) async fn ask(
    target: &Target,
    check: &'static str,
    request: Request<Full<Bytes>>,
) -> Result<Reply, Finding> {
    let asking = async {
        let stream = open(target).await?;
        exchange(stream, target, request).await.map_err(|error| no_http(target, check, &error))
    };
    timeout(PATIENCE * 2, asking).await.unwrap_or_else(|_| {
        let what = format!("{} accepts connections, and does not answer", target.authority());
        Err(Finding::problem(check, what, "look at what a proxy there waits for"))
    })
}

/// Makes a request, and gets the beginning of the answer.
pub(super) async fn answer(
    target: &Target,
    check: &'static str,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Finding> {
    let stream = open(target).await?;
    send(stream, target, request).await.map_err(|error| no_http(target, check, &error))
}

async fn send(
    stream: Box<dyn Wire>,
    target: &Target,
    mut request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>> {
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
) -> hyper::Result<Reply> {
    let mut response = send(stream, target, request).await?;
    let status = response.status();
    let upgraded = match status {
        StatusCode::SWITCHING_PROTOCOLS => Some(hyper::upgrade::on(&mut response).await?),
        _ => None,
    };
    let (head, body) = response.into_parts();
    let body = match upgraded {
        Some(_) => String::new(),
        // What can't be read is told as if it were empty.
        None => Limited::new(body, MAX_BODY).collect().await.map_or_else(
            |_| String::new(),
            |body| String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        ),
    };
    Ok(Reply { status, headers: head.headers, body, upgraded: upgraded.map(TokioIo::new) })
}

fn no_http(target: &Target, check: &'static str, error: &hyper::Error) -> Finding {
    let at = target.authority();
    if !target.is_tls && (error.is_parse() || error.is_incomplete_message()) {
        return Finding::problem(
            check,
            format!("{at} answers with something that is no HTTP; probably it wants TLS"),
            "use wss:// or https:// (forceTLS: true)",
        );
    }
    Finding::problem(
        check,
        format!("{at} does not answer: {error}"),
        "look at the logs of what listens there",
    )
}

pub(super) fn request(method: &str, path: &str) -> hyper::http::request::Builder {
    Request::builder().method(method).uri(path)
}

/// Whether a server of ours, or one like it, is at this path.
pub(super) async fn is_clarim(target: &Target) -> Result<(), Finding> {
    let reply = up(target, &target.path).await?;
    if reply.status.is_success() {
        return Ok(());
    }
    if reply.status == StatusCode::NOT_FOUND && !target.path.is_empty() {
        let root = up(target, "").await?;
        if root.status.is_success() && root.body.contains("health") {
            return Err(Finding::problem(
                "path",
                format!("the server is not below {}, but at /", target.path),
                format!("remove wsPath from the page, or set REVERB_SERVER_PATH={}", target.path),
            ));
        }
    }
    Err(elsewhere(target, &reply))
}

async fn up(target: &Target, path: &str) -> Result<Reply, Finding> {
    let request = request("GET", &format!("{path}/up")).body(Full::default());
    let request = request.map_err(|error| {
        Finding::problem("path", format!("no path: {error}"), "give another address")
    })?;
    ask(target, "path", request).await
}

/// Something else has answered.
fn elsewhere(target: &Target, reply: &Reply) -> Finding {
    let (status, who) = (reply.status, reply.who());
    match status.as_u16() {
        400 if reply.body.to_lowercase().contains("https port") => Finding::problem(
            "path",
            format!("{who} wants TLS at this port"),
            "use wss:// or https:// (forceTLS: true)",
        ),
        301 | 302 | 307 | 308 => Finding::problem(
            "path",
            format!("{who} sends elsewhere, to {}", reply.header(LOCATION)),
            "browsers do not follow that for WebSockets: give that address to the page",
        ),
        502..=504 => Finding::problem(
            "proxy",
            format!("{who} answers {status}: it does not reach the server, or the server drains"),
            "start the server, and compare the port in the proxy's upstream with SERVER_PORT",
        ),
        404 if reply.body == "Not found.\n" => Finding::problem(
            "path",
            format!("the server is there, but not at {:?}", target.path),
            "give the page wsPath, and this command the path, as REVERB_SERVER_PATH of the server has it",
        ),
        _ => Finding::warning(
            "path",
            format!("{}/up is answered {status} by {who}", target.shown()),
            "if that is no server of the protocol, the host, the port, or the proxy's location is wrong",
        ),
    }
}

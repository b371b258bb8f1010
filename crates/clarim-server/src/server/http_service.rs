//! The server's HTTP side for an application that has an HTTP server of its own.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade;
use tokio::io::{DuplexStream, copy_bidirectional};
use tokio::net::TcpStream;

use super::routes::Routes;
use crate::http::{BoxError, Client, RequestHandler};
use crate::net::set_options;
use crate::runtime::{Acceptor, Admission, Handshake};

/// Bytes in one direction of a pipe to a stream without a socket.
const PIPE: usize = 64 << 10;

/// Answers all requests of the server (`/app/{key}`, `/apps/{id}/…`, `/up`, …) that reach another HTTP server
/// of this process. WebSockets move to the workers of the [`Server`](crate::Server). Cloning is cheap.
#[derive(Debug, Clone)]
pub struct HttpService {
    routes: Routes,
}

impl HttpService {
    pub(super) fn new(routes: Routes) -> Self {
        Self { routes }
    }

    /// The prefix of all paths, without a slash at its end: "" or "/ws".
    #[must_use]
    pub fn path(&self) -> &str {
        &self.routes.http.config.path
    }

    /// Answers a request. For WebSockets, the HTTP server must be hyper's with upgrades enabled, as
    /// `axum::serve` is. A [`SocketAddr`] in the request's extensions is the address of the peer, for limits
    /// per client address.
    pub async fn call<B>(
        &self,
        mut request: Request<B>,
    ) -> Response<
        impl hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static + use<B>,
    >
    where
        B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let upgrade = hyper::upgrade::on(&mut request);
        let peer = request.extensions().get::<SocketAddr>().map(SocketAddr::ip);
        let client = Client { peer, connection: None };
        let (response, admission) = self.routes.answer(request, &client).await;
        if let Some(admission) = admission {
            tokio::spawn(hand_over(upgrade, admission, self.routes.http.acceptor.clone()));
        }
        response
    }
}

/// Moves a connection to a worker once the response to its handshake is on its way.
async fn hand_over(upgrade: OnUpgrade, admission: Admission, acceptor: Arc<Acceptor>) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        // Either the client is gone, or the HTTP server does not support upgrades.
        Err(error) => return tracing::warn!(%error, "a handshake did not become a WebSocket"),
    };
    match detach(upgraded) {
        Ok(Detached::Socket { stream, early }) => {
            acceptor.hand_over(stream, Handshake { admission, early });
        }
        Ok(Detached::Bridge(stream)) => {
            acceptor.hand_over_local(stream, Handshake { admission, early: Bytes::new() });
        }
        Err(error) => tracing::error!(%error, "cannot move a WebSocket to a worker"),
    }
}

/// A connection that has left its HTTP server.
enum Detached {
    /// The socket, and the bytes that the client has sent behind its handshake.
    Socket { stream: StdStream, early: Bytes },
    /// A pipe to a stream without a socket, such as the HTTP server's TLS.
    Bridge(DuplexStream),
}

fn detach(upgraded: Upgraded) -> io::Result<Detached> {
    let (stream, early): (StdStream, _) = match upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => (parts.io.into_inner().into_std()?, parts.read_buf),
        Err(upgraded) => match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => (parts.io.into_inner().into_std()?, parts.read_buf),
            Err(upgraded) => return Ok(Detached::Bridge(bridge(upgraded))),
        },
    };
    set_options(&stream)?;
    Ok(Detached::Socket { stream, early })
}

fn bridge(upgraded: Upgraded) -> DuplexStream {
    let (near, mut far) = tokio::io::duplex(PIPE);
    tokio::spawn(async move {
        // An error is one of the ways in which either end leaves.
        let _ = copy_bidirectional(&mut TokioIo::new(upgraded), &mut far).await;
    });
    near
}

//! The server's HTTP side for an application that has an HTTP server of its own.

use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::routes::Routes;
use super::worker::CLOSE_TIMEOUT;
use crate::http::{BoxError, Client, RequestHandler};
use crate::net::set_options;
use crate::runtime::{Acceptor, Admission, Handshake};

/// Bytes in one direction of a pipe to a stream without a socket.
const PIPE: usize = 64 << 10;

/// Bytes copied at a time.
const BUFFER: usize = 8 << 10;

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
            let http = &self.routes.http;
            let patience = http.config.outbox_timeout;
            tokio::spawn(hand_over(upgrade, admission, http.acceptor.clone(), patience));
        }
        response
    }
}

/// Moves a connection to a worker once the response to its handshake is on its way.
async fn hand_over(
    upgrade: OnUpgrade,
    admission: Admission,
    acceptor: Arc<Acceptor>,
    patience: Duration,
) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        // Either the client is gone, or the HTTP server does not support upgrades.
        Err(error) => return tracing::warn!(%error, "a handshake did not become a WebSocket"),
    };
    match detach(upgraded, patience) {
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

fn detach(upgraded: Upgraded, patience: Duration) -> io::Result<Detached> {
    let (stream, early): (StdStream, _) = match upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => (parts.io.into_inner().into_std()?, parts.read_buf),
        Err(upgraded) => match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => (parts.io.into_inner().into_std()?, parts.read_buf),
            Err(upgraded) => {
                let (near, far) = tokio::io::duplex(PIPE);
                tokio::spawn(bridge(TokioIo::new(upgraded), far, patience));
                return Ok(Detached::Bridge(near));
            }
        },
    };
    set_options(&stream)?;
    Ok(Detached::Socket { stream, early })
}

/// Copies between a client and the engine until both have closed. A client that does not may keep neither the
/// task nor the descriptor: it has [`CLOSE_TIMEOUT`] once the engine has closed, and `patience` to read
/// something.
async fn bridge(client: impl AsyncRead + AsyncWrite, engine: DuplexStream, patience: Duration) {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_engine, mut to_engine) = tokio::io::split(engine);
    // An error is one of the ways in which either end leaves.
    let incoming = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_engine).await;
        let _ = to_engine.shutdown().await;
    };
    let outgoing = async {
        let _ = copy_with_timeout(&mut from_engine, &mut to_client, patience).await;
        let _ = timeout(CLOSE_TIMEOUT, to_client.shutdown()).await;
    };
    let mut incoming = pin!(incoming);
    let mut outgoing = pin!(outgoing);
    tokio::select! {
        () = &mut incoming => outgoing.await,
        () = &mut outgoing => drop(timeout(CLOSE_TIMEOUT, incoming).await),
    }
}

/// Copies until the end. Each write must make progress within `patience`.
async fn copy_with_timeout(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    patience: Duration,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            let written = timeout(patience, to.write(rest)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[written..];
        }
        // TLS may hold what it has taken.
        timeout(patience, to.flush()).await??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_bridge_ends_with_the_engine_even_if_the_client_neither_reads_nor_closes() {
        // Less and more than the client's side has room for.
        for sent in [0, 10_000] {
            let (_client, outer) = tokio::io::duplex(100);
            let (mut near, far) = tokio::io::duplex(PIPE);
            near.write_all(&vec![0; sent]).await.unwrap();
            drop(near);
            bridge(outer, far, PATIENCE).await;
        }
    }

    #[tokio::test]
    async fn a_bridge_passes_everything_on_in_both_directions() {
        let (mut client, outer) = tokio::io::duplex(100);
        let (mut near, far) = tokio::io::duplex(PIPE);
        let bridge = tokio::spawn(bridge(outer, far, PATIENCE));
        let sending = tokio::spawn(async move {
            near.write_all(&vec![1; 200_000]).await.unwrap();
            let mut heard = vec![0; 1_000];
            near.read_exact(&mut heard).await.unwrap();
            heard
        });
        client.write_all(&[2; 1_000]).await.unwrap();
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, vec![1; 200_000]);
        assert_eq!(sending.await.unwrap(), vec![2; 1_000]);
        drop(client);
        bridge.await.unwrap();
    }
}

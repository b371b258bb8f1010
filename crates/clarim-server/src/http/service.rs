//! The HTTP side for an application that has an HTTP server of its own.

use std::io;
use std::net::TcpStream as StdStream;
use std::sync::Arc;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use super::fallback::pair;
use super::{BoxError, Http, Verdict};
use crate::accept::Doors;
use crate::listen;

/// Answers the requests of `/app/{key}`, `/apps/{id}/…`, `/up` and `/metrics` that reach another HTTP server
/// of this process. What becomes a WebSocket moves to the workers of the [`Server`](crate::Server). Cloning
/// is cheap.
#[derive(Debug, Clone)]
pub struct HttpService {
    http: Http,
}

impl HttpService {
    pub(crate) fn new(http: Http) -> Self {
        Self { http }
    }

    /// What stands before all paths, without a slash at its end: "" or "/ws".
    #[must_use]
    pub fn path(&self) -> &str {
        &self.http.settings.path
    }

    /// Answers a request. For WebSockets the HTTP server must be one of hyper that allows upgrades, as
    /// `axum::serve` is.
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
        let (answer, verdict) = self.http.answer(request).await;
        if let Some(verdict) = verdict {
            tokio::spawn(hand_over(upgrade, verdict, self.http.doors.clone()));
        }
        answer
    }
}

/// Moves a connection to a worker, once the answer to its handshake is on its way.
async fn hand_over(upgrade: OnUpgrade, verdict: Verdict, doors: Arc<Doors>) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        // Either the client is gone, or no connection behind this HTTP server can be upgraded.
        Err(error) => return tracing::warn!(%error, "a handshake did not become a WebSocket"),
    };
    match detach(upgraded) {
        Ok((stream, early)) => doors.hand_over(stream, early, verdict),
        Err(error) => tracing::error!(%error, "a WebSocket could not be moved to a worker"),
    }
}

/// The socket, and what the client has sent on it behind its handshake.
fn detach(upgraded: Upgraded) -> io::Result<(StdStream, Bytes)> {
    let (stream, early): (StdStream, _) = match upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => (parts.io.into_inner().into_std()?, parts.read_buf),
        Err(upgraded) => match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => (parts.io.into_inner().into_std()?, parts.read_buf),
            Err(upgraded) => return Ok((bridge(upgraded)?, Bytes::new())),
        },
    };
    listen::prepare(&stream)?;
    Ok((stream, early))
}

/// A socket whose other end is fed by a stream that is none: TLS that the HTTP server has ended, for one.
fn bridge(upgraded: Upgraded) -> io::Result<StdStream> {
    let (near, mut far) = pair()?;
    tokio::spawn(async move {
        // Either end's way to go.
        let _ = copy_bidirectional(&mut TokioIo::new(upgraded), &mut far).await;
    });
    Ok(near)
}

//! HTTP/1 and HTTP/2 connections, until they end or become WebSockets.

mod upgrade_buffer;

use std::cell::{Cell, OnceCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Body;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::client::Client;
use super::response::{self, ApiResponse};
use crate::runtime::{Admission, Handshake};
use crate::sync::{Phase, ShutdownSignal};
use upgrade_buffer::UpgradeBuffer;

/// Maximum size of a request's head.
const MAX_HEAD: usize = 16 << 10;

/// Time that a connection is kept open between two requests.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request.
pub(crate) trait RequestBody: Body<Data = Bytes, Error: Into<BoxError>> + Send {}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Send> RequestBody for B {}

/// Answers the requests of connections.
pub(crate) trait RequestHandler {
    /// Answers a request. For a handshake, the admission is there too: once the response is sent, the
    /// connection is no longer HTTP.
    fn answer(
        &self,
        request: Request<impl RequestBody>,
        client: &Client,
    ) -> impl Future<Output = (ApiResponse, Option<Admission>)>;

    /// Follows the shutdown of the server.
    fn shutdown_signal(&self) -> ShutdownSignal;

    /// Timeout for the first request of a connection, and for writing to it.
    fn handshake_timeout(&self) -> Duration;
}

/// A connection that has become a WebSocket.
#[derive(Debug)]
pub(crate) struct Upgraded<S> {
    pub(crate) stream: S,
    /// The response to the handshake, which is still to be sent.
    pub(crate) response: Vec<u8>,
    pub(crate) handshake: Handshake,
}

/// Serves HTTP/1 on a stream until it ends, or until a handshake has turned it into a WebSocket.
pub(crate) async fn serve_http1<S>(
    handler: Rc<impl RequestHandler + 'static>,
    stream: S,
    client: Client,
) -> Option<Upgraded<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let timeout = handler.handshake_timeout();
    let mut shutdown = handler.shutdown_signal();
    let admission: Rc<OnceCell<Admission>> = Rc::default();
    let is_served = Rc::new(Cell::new(false));
    let stream = UpgradeBuffer::new(stream, admission.clone(), timeout);
    let service = {
        let admission = admission.clone();
        let is_served = is_served.clone();
        service_fn(move |request| {
            is_served.set(true);
            let handler = handler.clone();
            let admission = admission.clone();
            let client = client.clone();
            Box::pin(async move {
                let in_progress = client.begin();
                let (mut response, admitted) = handler.answer(request, &client).await;
                response::hold(&mut response, in_progress);
                if let Some(admitted) = admitted {
                    // A connection is upgraded at most once.
                    let _ = admission.set(admitted);
                }
                Ok::<_, Infallible>(response)
            })
        })
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    {
        let mut first_request = pin!(tokio::time::sleep(timeout));
        let mut first_request_is_due = true;
        // A connection that is opened while the server drains gets one response, with "Connection: close".
        let mut is_stopped = shutdown.now() > Phase::Serving;
        let mut stop = pin!(shutdown.reached(Phase::Draining));
        loop {
            tokio::select! {
                ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
                    if ended.is_err() {
                        return None;
                    }
                    break;
                }
                () = &mut first_request, if first_request_is_due => {
                    if !is_served.get() {
                        return None;
                    }
                    first_request_is_due = false;
                }
                () = &mut stop, if !is_stopped => {
                    is_stopped = true;
                    // This would reset a connection that has sent no request yet.
                    if is_served.get() {
                        std::pin::Pin::new(&mut connection).graceful_shutdown();
                    }
                }
            }
        }
    }
    let admission = admission.get()?.clone();
    let parts = connection.into_parts();
    let (stream, response) = parts.io.into_inner().into_parts();
    let handshake = Handshake { admission, early: parts.read_buf };
    Some(Upgraded { stream, response, handshake })
}

/// Serves HTTP/2 on a stream until it ends.
pub(crate) async fn serve_http2<S>(
    handler: Rc<impl RequestHandler + 'static>,
    stream: S,
    client: Client,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut shutdown = handler.shutdown_signal();
    let requests = Rc::new(RequestCounts::default());
    let timeout = handler.handshake_timeout();
    let mut idle_timeout = timeout;
    let service = {
        let requests = requests.clone();
        service_fn(move |request| {
            let handler = handler.clone();
            let in_progress = requests.begin();
            let client = client.clone();
            async move {
                let keeps_open = client.begin();
                let (mut response, _) = handler.answer(request, &client).await;
                response::hold(&mut response, keeps_open);
                drop(in_progress);
                Ok::<_, Infallible>(response)
            }
        })
    };
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_header_list_size(MAX_HEAD as u32)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut seen = 0;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = shutdown.reached(Phase::Draining) => break,
            // An idle connection is closed, although the client may answer hyper's pings.
            () = tokio::time::sleep(idle_timeout) => {
                if requests.in_progress.get() == 0 && requests.begun.get() == seen {
                    break;
                }
                seen = requests.begun.get();
                idle_timeout = KEEP_ALIVE;
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    // An error here is one of the ways in which a peer leaves.
    let _ = tokio::time::timeout(timeout, connection).await;
}

/// Numbers of requests of one connection.
#[derive(Debug, Default)]
struct RequestCounts {
    begun: Cell<u64>,
    in_progress: Cell<u32>,
}

impl RequestCounts {
    fn begin(self: &Rc<Self>) -> RequestInProgress {
        self.begun.set(self.begun.get() + 1);
        self.in_progress.set(self.in_progress.get() + 1);
        RequestInProgress(self.clone())
    }
}

/// Counts a request until it is dropped.
#[derive(Debug)]
struct RequestInProgress(Rc<RequestCounts>);

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.in_progress.set(self.0.in_progress.get() - 1);
    }
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

//! HTTP/1 and HTTP/2 connections, until they end or become WebSockets.

mod http2;
mod upgrade_buffer;

use std::cell::{Cell, OnceCell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::client::Client;
use super::response::{self, ApiResponse};
use crate::runtime::{Admission, Handshake};
use crate::sync::{PauseSignal, Phase, ShutdownSignal};
pub(crate) use http2::serve_http2;
use upgrade_buffer::{BufferParts, SharedStream, UpgradeBuffer};

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

    /// Follows the pause before a hand-over.
    fn pause_signal(&self) -> PauseSignal;

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

/// The end of an HTTP/1 connection.
#[derive(Debug)]
pub(crate) enum Http1End<S> {
    /// It is closed.
    Closed,
    /// A handshake has turned it into a WebSocket.
    Upgraded(Upgraded<S>),
    /// It waits for a request, and is about to be handed over. `early`: what was read from it.
    Parked { stream: S, early: Vec<u8> },
}

/// The state of an HTTP/1 connection that its requests change.
#[derive(Default)]
struct Http1State {
    /// Requests without a response.
    in_progress: Cell<u32>,
    admission: Rc<OnceCell<Admission>>,
    is_served: Cell<bool>,
    is_streaming: Cell<bool>,
}

impl Http1State {
    async fn answer(
        &self,
        handler: &impl RequestHandler,
        request: Request<impl RequestBody>,
        client: &Client,
    ) -> ApiResponse {
        self.is_served.set(true);
        self.is_streaming.set(false);
        let in_progress = client.begin();
        self.in_progress.set(self.in_progress.get() + 1);
        let (mut response, admitted) = handler.answer(request, client).await;
        self.in_progress.set(self.in_progress.get() - 1);
        response::hold(&mut response, in_progress);
        self.is_streaming.set(response::is_streamed(&response));
        if let Some(admitted) = admitted {
            // A connection is upgraded at most once.
            let _ = self.admission.set(admitted);
        }
        response
    }
}

impl Http1State {
    /// Whether nothing would be lost if hyper, which has written what it could, were asked no more.
    fn is_at_rest(&self) -> bool {
        self.in_progress.get() == 0 && self.admission.get().is_none()
    }

    /// Ends a connection that hyper has read these bytes of.
    async fn end<S>(&self, parts: BufferParts<S>, read: &[u8], is_parked: bool) -> Http1End<S>
    where
        S: AsyncWrite + Unpin,
    {
        let BufferParts { mut stream, response, read_ahead } = parts;
        let early = [read, &read_ahead].concat();
        if is_parked {
            return Http1End::Parked { stream, early };
        }
        let Some(admission) = self.admission.get().cloned() else {
            // With TLS, the client learns that nothing is missing. It may be gone.
            let _ = stream.shutdown().await;
            return Http1End::Closed;
        };
        let handshake = Handshake { admission, early: early.into() };
        Http1End::Upgraded(Upgraded { stream, response, handshake })
    }
}

/// Returns a function that answers the requests of a connection.
fn answers(
    state: Rc<Http1State>,
    handler: Rc<impl RequestHandler + 'static>,
    client: Client,
) -> impl Fn(Request<Incoming>) -> LocalBoxFuture<'static, Result<ApiResponse, Infallible>> {
    move |request| {
        let handler = handler.clone();
        let state = state.clone();
        let client = client.clone();
        Box::pin(async move { Ok(state.answer(&*handler, request, &client).await) })
    }
}

/// Serves HTTP/1 on a stream until it ends, until a handshake has turned it into a WebSocket, or until it
/// waits for a request while the server is about to hand over. `early`: bytes that were read from the stream
/// before.
pub(crate) async fn serve_http1<S>(
    handler: Rc<impl RequestHandler + 'static>,
    stream: S,
    early: Vec<u8>,
    client: Client,
) -> Http1End<S>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let timeout = handler.handshake_timeout();
    let mut shutdown = handler.shutdown_signal();
    let mut pause = handler.pause_signal();
    let state = Rc::<Http1State>::default();
    let stream = UpgradeBuffer::new(stream, early, state.admission.clone(), timeout);
    let stream = Rc::new(RefCell::new(stream));
    let http = client.connection.clone();
    let service = service_fn(answers(state.clone(), handler, client));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(SharedStream(stream.clone())), service);
    let mut is_parked = false;
    {
        let mut first_request = pin!(tokio::time::sleep(timeout));
        let mut first_request_is_due = true;
        // A connection that is opened while the server drains gets one response, with "Connection: close".
        let mut is_stopped = shutdown.now() > Phase::Serving;
        let mut stop = pin!(shutdown.reached(Phase::Draining));
        let mut is_paused = pause.is_on();
        let mut paused = pin!(pause.begun());
        let is_at_rest = || {
            http.as_ref().is_none_or(|http| http.is_waiting())
                && state.is_at_rest()
                && !stream.borrow().is_stalled()
        };
        loop {
            tokio::select! {
                biased;
                ended = poll_fn(|cx| match connection.poll_without_shutdown(cx) {
                    Poll::Ready(ended) => Poll::Ready(Some(ended)),
                    Poll::Pending if is_paused && is_at_rest() => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }) => match ended {
                    Some(Ok(())) => break,
                    Some(Err(_)) => return Http1End::Closed,
                    None => {
                        is_parked = true;
                        break;
                    }
                },
                () = poll_fn(|cx| match state.is_streaming.get() {
                    true => stream.borrow_mut().poll_gone(cx),
                    false => Poll::Pending,
                }) => return Http1End::Closed,
                () = &mut first_request, if first_request_is_due => {
                    if !state.is_served.get() {
                        return Http1End::Closed;
                    }
                    first_request_is_due = false;
                }
                () = &mut paused, if !is_paused => is_paused = true,
                () = &mut stop, if !is_stopped => {
                    is_stopped = true;
                    // This would reset a connection that has sent no request yet.
                    if state.is_served.get() {
                        std::pin::Pin::new(&mut connection).graceful_shutdown();
                    }
                }
            }
        }
    }
    let parts = connection.into_parts();
    drop(parts.io);
    let Some(stream) = Rc::into_inner(stream) else { return Http1End::Closed };
    let end = state.end(stream.into_inner().into_parts(), &parts.read_buf, is_parked);
    // A client that reads nothing is not waited for.
    tokio::time::timeout(timeout, end).await.unwrap_or(Http1End::Closed)
}

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
use hyper::Request;
use hyper::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::client::Client;
use super::response::{self, ApiResponse};
use crate::runtime::{Admission, Handshake};
use crate::sync::{Phase, ShutdownSignal};
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

/// The state of an HTTP/1 connection that its requests change.
#[derive(Default)]
struct Http1State {
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
        let (mut response, admitted) = handler.answer(request, client).await;
        response::hold(&mut response, in_progress);
        self.is_streaming.set(response::is_streamed(&response));
        if let Some(admitted) = admitted {
            // A connection is upgraded at most once.
            let _ = self.admission.set(admitted);
        }
        response
    }
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
    let state = Rc::<Http1State>::default();
    let stream = UpgradeBuffer::new(stream, state.admission.clone(), timeout);
    let stream = Rc::new(RefCell::new(stream));
    let service = {
        let state = state.clone();
        service_fn(move |request| {
            let handler = handler.clone();
            let state = state.clone();
            let client = client.clone();
            Box::pin(
                async move { Ok::<_, Infallible>(state.answer(&*handler, request, &client).await) },
            )
        })
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(SharedStream(stream.clone())), service);
    {
        let mut first_request = pin!(tokio::time::sleep(timeout));
        let mut first_request_is_due = true;
        // A connection that is opened while the server drains gets one response, with "Connection: close".
        let mut is_stopped = shutdown.now() > Phase::Serving;
        let mut stop = pin!(shutdown.reached(Phase::Draining));
        loop {
            tokio::select! {
                biased;
                ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
                    if ended.is_err() {
                        return None;
                    }
                    break;
                }
                () = poll_fn(|cx| match state.is_streaming.get() {
                    true => stream.borrow_mut().poll_gone(cx),
                    false => Poll::Pending,
                }) => return None,
                () = &mut first_request, if first_request_is_due => {
                    if !state.is_served.get() {
                        return None;
                    }
                    first_request_is_due = false;
                }
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
    let admission = state.admission.get()?.clone();
    let parts = connection.into_parts();
    drop(parts.io);
    let BufferParts { stream, response, read_ahead } =
        Rc::into_inner(stream)?.into_inner().into_parts();
    let early = [&parts.read_buf[..], &read_ahead].concat().into();
    let handshake = Handshake { admission, early };
    Some(Upgraded { stream, response, handshake })
}

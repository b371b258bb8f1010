//! HTTP/2 connections.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{KEEP_ALIVE, MAX_HEAD, RequestHandler};
use crate::http::client::Client;
use crate::http::response::{self, StreamBody, is_streamed};
use crate::sync::Phase;

/// Serves HTTP/2 on a stream until it ends.
pub(crate) async fn serve_http2<S>(
    handler: Rc<impl RequestHandler + 'static>,
    stream: S,
    client: Client,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut shutdown = handler.shutdown_signal();
    let mut pause = handler.pause_signal();
    let requests = Rc::new(Requests::default());
    let timeout = handler.handshake_timeout();
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
                if !is_streamed(&response) {
                    in_progress.is_answered();
                }
                Ok::<_, Infallible>(response.map(|body| SentBody::new(body, in_progress)))
            }
        })
    };
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_header_list_size(MAX_HEAD as u32)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let tick = timeout / 2;
    let mut idle = Duration::ZERO;
    let mut idle_timeout = timeout;
    let mut seen = 0;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = shutdown.reached(Phase::Draining) => break,
            () = pause.begun() => break,
            () = tokio::time::sleep(tick) => {
                // The client lets nothing through: its windows are closed.
                if requests.waits_since().is_some_and(|since| since.elapsed() > timeout) {
                    return;
                }
                // An idle connection is closed, although the client may answer hyper's pings.
                if requests.in_progress.get() > 0 || requests.begun.get() != seen {
                    seen = requests.begun.get();
                    idle = Duration::ZERO;
                    idle_timeout = KEEP_ALIVE;
                    continue;
                }
                idle += tick;
                if idle >= idle_timeout {
                    break;
                }
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    // An error here is one of the ways in which a peer leaves.
    let _ = tokio::time::timeout(timeout, connection).await;
}

/// The requests of one connection.
#[derive(Debug, Default)]
struct Requests {
    begun: Cell<u64>,
    in_progress: Cell<u32>,
    /// Responses, or pieces of streamed ones, that the client has not taken yet, by the number of their
    /// request.
    unsent: RefCell<BTreeMap<u64, Instant>>,
}

impl Requests {
    fn begin(self: &Rc<Self>) -> RequestInProgress {
        let number = self.begun.get() + 1;
        self.begun.set(number);
        self.in_progress.set(self.in_progress.get() + 1);
        RequestInProgress { requests: self.clone(), number }
    }

    /// The time since which the oldest response or piece waits for the client.
    fn waits_since(&self) -> Option<Instant> {
        self.unsent.borrow().values().min().copied()
    }
}

/// A request until its response is sent.
#[derive(Debug)]
struct RequestInProgress {
    requests: Rc<Requests>,
    number: u64,
}

impl RequestInProgress {
    /// Notes that the whole response, or a piece of it, waits for the client.
    fn is_answered(&self) {
        self.requests.unsent.borrow_mut().insert(self.number, Instant::now());
    }

    /// Notes that the client has taken all pieces so far.
    fn is_taken(&self) {
        self.requests.unsent.borrow_mut().remove(&self.number);
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.requests.in_progress.set(self.requests.in_progress.get() - 1);
        self.requests.unsent.borrow_mut().remove(&self.number);
    }
}

/// Size of the pieces of a whole response. The client has the timeout for each.
const PIECE: usize = 16 << 10;

/// The body of a response. hyper sends a piece when the client lets one byte of it through, and the next one
/// when it has let through all of it. So the last byte is a piece of its own: hyper drops the body when the
/// client has let through everything before.
struct SentBody {
    body: Either<Full<Bytes>, StreamBody>,
    /// The rest of a whole response.
    rest: Bytes,
    /// Whether something of a whole response was taken.
    is_begun: bool,
    request: RequestInProgress,
}

impl SentBody {
    fn new(body: Either<Full<Bytes>, StreamBody>, request: RequestInProgress) -> Self {
        Self { body, rest: Bytes::new(), is_begun: false, request }
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self { body, rest, is_begun, request } = &mut *self;
        match body {
            Either::Left(whole) => {
                if !std::mem::replace(is_begun, true)
                    && let Poll::Ready(Some(Ok(frame))) = Pin::new(whole).poll_frame(cx)
                {
                    *rest = frame.into_data().unwrap_or_default();
                }
                if rest.is_empty() {
                    return Poll::Ready(None);
                }
                request.is_answered();
                let piece = rest.split_to((rest.len() - 1).clamp(1, PIECE));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Either::Right(stream) => {
                let piece = Pin::new(stream).poll_frame(cx);
                // hyper asks for the next piece once the client lets the last one through.
                match &piece {
                    Poll::Ready(_) => request.is_answered(),
                    Poll::Pending => request.is_taken(),
                }
                piece
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        if self.is_begun { self.rest.is_empty() } else { self.body.is_end_stream() }
    }

    fn size_hint(&self) -> SizeHint {
        match self.is_begun {
            true => SizeHint::with_exact(self.rest.len() as u64),
            false => self.body.size_hint(),
        }
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

//! A stream that holds back the response to a handshake, so that it leaves together with the first message,
//! and that gives up on clients that do not read.

use std::cell::{OnceCell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::runtime::Admission;

/// Bytes that a client may send while its response is streamed.
const READ_AHEAD: usize = 16 << 10;

/// Passes everything through until a handshake has been answered. The bytes written from then on, which are
/// the response, are buffered, so that they leave in one system call and one packet with the first message.
/// Writing fails if the peer accepts nothing for `timeout`.
#[derive(Debug)]
pub(super) struct UpgradeBuffer<S> {
    stream: S,
    admission: Rc<OnceCell<Admission>>,
    buffered: Vec<u8>,
    timeout: Duration,
    /// Present while the peer accepts nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Bytes read before hyper asks for them.
    read_ahead: Vec<u8>,
}

/// The parts of an [`UpgradeBuffer`].
#[derive(Debug)]
pub(super) struct BufferParts<S> {
    pub(super) stream: S,
    /// Bytes still to be written to the stream.
    pub(super) response: Vec<u8>,
    /// Bytes read from the stream that nobody has taken.
    pub(super) read_ahead: Vec<u8>,
}

impl<S> UpgradeBuffer<S> {
    /// `early`: what has been read from the stream before.
    pub(super) fn new(
        stream: S,
        early: Vec<u8>,
        admission: Rc<OnceCell<Admission>>,
        timeout: Duration,
    ) -> Self {
        let buffered = Vec::new();
        Self { stream, admission, buffered, timeout, stalled: None, read_ahead: early }
    }

    /// Whether the peer has to take something before more can be written.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Takes it apart.
    pub(super) fn into_parts(self) -> BufferParts<S> {
        let Self { stream, buffered, read_ahead, .. } = self;
        BufferParts { stream, response: buffered, read_ahead }
    }

    /// Reads ahead while a response is streamed, and returns once the client is gone, or sends more than a
    /// client does that waits. hyper itself does not read while it has the beginning of another request.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>
    where
        S: AsyncRead + Unpin,
    {
        while self.read_ahead.len() < READ_AHEAD {
            let mut chunk = [0; 1024];
            let mut read = ReadBuf::new(&mut chunk);
            let result = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read));
            if result.is_err() || read.filled().is_empty() {
                break;
            }
            self.read_ahead.extend_from_slice(read.filled());
        }
        Poll::Ready(())
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(timeout)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for UpgradeBuffer<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read_ahead.is_empty() {
            let taken = self.read_ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.read_ahead[..taken]);
            self.read_ahead.drain(..taken);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for UpgradeBuffer<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.admission.get().is_none() {
            let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
            return self.watch(cx, written);
        }
        let before = self.buffered.len();
        slices.iter().for_each(|slice| self.buffered.extend_from_slice(slice));
        Poll::Ready(Ok(self.buffered.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}

/// A stream that its connection shares with hyper, on one thread.
#[derive(Debug)]
pub(super) struct SharedStream<S>(pub(super) Rc<RefCell<UpgradeBuffer<S>>>);

impl<S: AsyncRead + Unpin> AsyncRead for SharedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SharedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}

//! A stream that holds back the response to a handshake, so that it leaves together with the first message,
//! and that gives up on clients that do not read.

use std::cell::OnceCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::runtime::Admission;

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
}

impl<S> UpgradeBuffer<S> {
    pub(super) fn new(stream: S, admission: Rc<OnceCell<Admission>>, timeout: Duration) -> Self {
        Self { stream, admission, buffered: Vec::new(), timeout, stalled: None }
    }

    /// Returns the stream and the bytes still to be written to it.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.buffered)
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

//! A stream on which the answer to a handshake waits for what the server says first, and on which nobody is
//! waited for who does not read.

use std::cell::OnceCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::handshake::Verdict;

/// Passes everything through until there is a verdict on a handshake. What is written from then on, which is
/// the answer to it, is kept: it leaves in one system call and one packet with the greeting. Writing fails
/// when the peer has taken nothing for as long as `patience`.
#[derive(Debug)]
pub(super) struct Held<S> {
    stream: S,
    verdict: Rc<OnceCell<Verdict>>,
    kept: Vec<u8>,
    patience: Duration,
    /// Ends when patience does; there while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Held<S> {
    pub(super) fn new(stream: S, verdict: Rc<OnceCell<Verdict>>, patience: Duration) -> Self {
        Self { stream, verdict, kept: Vec::new(), patience, stalled: None }
    }

    /// The stream, and what is still to be written to it.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.kept)
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
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
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
        if self.verdict.get().is_none() {
            let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
            return self.watch(cx, written);
        }
        let before = self.kept.len();
        slices.iter().for_each(|slice| self.kept.extend_from_slice(slice));
        Poll::Ready(Ok(self.kept.len() - before))
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

//! A stream on which the answer to a handshake waits for what the server says first.

use std::cell::OnceCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::handshake::Verdict;

/// Passes everything through until there is a verdict on a handshake. What is written from then on, which is
/// the answer to it, is kept: it leaves in one system call and one packet with the greeting.
#[derive(Debug)]
pub(super) struct Held<S> {
    stream: S,
    verdict: Rc<OnceCell<Verdict>>,
    kept: Vec<u8>,
}

impl<S> Held<S> {
    pub(super) fn new(stream: S, verdict: Rc<OnceCell<Verdict>>) -> Self {
        Self { stream, verdict, kept: Vec::new() }
    }

    /// The stream, and what is still to be written to it.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.kept)
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
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        let before = self.kept.len();
        slices.iter().for_each(|slice| self.kept.extend_from_slice(slice));
        Poll::Ready(Ok(self.kept.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

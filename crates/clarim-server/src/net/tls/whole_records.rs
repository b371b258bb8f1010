//! A socket that is read record by record.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Secrets;
use super::record::record_len;

/// Bytes read at a time.
const CHUNK: usize = 4096;

/// Passes on the bytes of a record when all of them have arrived. So rustls never holds the beginning of a
/// record, which it could not give back.
#[derive(Debug)]
pub(crate) struct WholeRecords<S> {
    stream: S,
    incoming: BytesMut,
    /// Bytes of `incoming` that may be passed on.
    whole: usize,
    secrets: Arc<Secrets>,
}

impl<S> WholeRecords<S> {
    pub(super) fn new(stream: S, secrets: Arc<Secrets>) -> Self {
        Self { stream, incoming: BytesMut::new(), whole: 0, secrets }
    }

    /// Returns the stream, the bytes read from it that have not been passed on, and the secrets of the
    /// connection.
    pub(super) fn into_parts(self) -> (S, Vec<u8>, Arc<Secrets>) {
        (self.stream, self.incoming.to_vec(), self.secrets)
    }

    /// Looks for a whole record.
    fn find_record(&mut self) {
        if self.whole == 0 {
            self.whole = match record_len(&self.incoming) {
                Ok(Some(len)) if len <= self.incoming.len() => len,
                Ok(_) => 0,
                // rustls says what is wrong.
                Err(_) => self.incoming.len(),
            };
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WholeRecords<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.find_record();
            if self.whole > 0 {
                let taken = self.whole.min(buffer.remaining());
                buffer.put_slice(&self.incoming[..taken]);
                self.incoming.advance(taken);
                self.whole -= taken;
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; CHUNK];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.incoming.extend_from_slice(read.filled());
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WholeRecords<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
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

//! A connection within this process, which needs no file descriptor.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// One end of a connection within this process, read and written without waiting.
#[derive(Debug)]
pub(crate) struct LocalStream {
    stream: DuplexStream,
    /// Called when a read or a write that would have blocked can be repeated.
    waker: Waker,
}

impl LocalStream {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        Self { stream, waker: Waker::noop().clone() }
    }

    /// Sets the waker. A read that would have blocked before must be repeated.
    pub(super) fn set_waker(&mut self, waker: Waker) {
        self.waker = waker;
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        let mut context = Context::from_waker(&self.waker);
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer);
        or_would_block(read)?;
        Ok(buffer.filled().len())
    }

    pub(super) fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut context = Context::from_waker(&self.waker);
        or_would_block(Pin::new(&mut self.stream).poll_write_vectored(&mut context, buffers))
    }
}

fn or_would_block<T>(done: Poll<io::Result<T>>) -> io::Result<T> {
    match done {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

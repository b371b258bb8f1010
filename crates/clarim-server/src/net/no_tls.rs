//! Stands in for TLS in a build without the feature `tls`: no certificate can be loaded, so no value of these
//! types exists.

#![allow(
    clippy::needless_pass_by_value,
    clippy::unused_async,
    clippy::unused_self,
    reason = "the signatures are those of the module that this one replaces"
)]

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mio::net::TcpStream as ClientSocket;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(crate) enum Certificate {}

impl Certificate {
    pub(crate) fn load(_cert: PathBuf, _key: PathBuf) -> io::Result<Arc<Self>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "TLS is configured, but clarim-server was built without the feature `tls`",
        ))
    }

    pub(crate) fn acceptor(self: &Arc<Self>) -> io::Result<TlsAcceptor> {
        match **self {}
    }

    pub(crate) async fn watch(self: Arc<Self>) {
        match *self {}
    }
}

#[derive(Debug, Clone)]
pub(crate) enum TlsAcceptor {}

impl TlsAcceptor {
    pub(crate) async fn accept(&self, _stream: TcpStream) -> io::Result<TlsStream> {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum TlsStream {}

pub(crate) fn is_http2(stream: &TlsStream) -> bool {
    match *stream {}
}

pub(crate) fn take_decrypted(stream: &mut TlsStream) -> io::Result<Vec<u8>> {
    match *stream {}
}

#[derive(Debug)]
pub(crate) enum SecureStream {}

impl SecureStream {
    pub(crate) fn new(stream: TlsStream) -> io::Result<Self> {
        match stream {}
    }

    pub(crate) fn resume(_socket: ClientSocket, session: TlsSession) -> Self {
        match session {}
    }

    pub(crate) fn parts(&self) -> Option<(&ClientSocket, &TlsSession)> {
        match *self {}
    }

    pub(crate) fn socket(&mut self) -> &mut ClientSocket {
        match *self {}
    }

    pub(crate) fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn write(&mut self, _buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match *self {}
    }
}

/// A snapshot with one is refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum TlsSession {}

impl TlsSession {
    pub(crate) fn has_unsent(&self) -> bool {
        match *self {}
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

//! Stands in for TLS in a build without the feature `tls`: no certificate can be loaded, so no value of these
//! types exists.

#![allow(
    clippy::needless_pass_by_value,
    clippy::unused_async,
    clippy::unused_self,
    reason = "the signatures are those of the module that this one replaces"
)]

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::transport::Transport;

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

pub(crate) fn into_transport(stream: TlsStream) -> io::Result<Transport> {
    match stream {}
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

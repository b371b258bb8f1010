//! A client's side of a WebSocket connection: connecting from many addresses, the handshake, and frames.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::connection::Connection;
use super::frames::{Frame, first};
use crate::servers::server::Target;

/// Timeout for one step of a handshake.
const STEP_LIMIT: Duration = Duration::from_secs(30);
/// Maximum length of the response to a handshake, including what follows it.
const MAX_ANSWER: usize = 64 << 10;
/// Number of loopback addresses to connect from, so that no address runs out of ports.
const SOURCES: usize = 200;

/// Offers compression without context takeover, so that all clients receive the same bytes.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";

/// Connects client `n` and waits until it is subscribed. Also returns the bytes that followed.
pub(crate) fn subscribe(target: &Target, n: usize, channel: &str) -> Result<(Connection, Vec<u8>)> {
    let socket = connect_from(n, target.port)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(STEP_LIMIT))?;
    let mut stream = Connection::new(socket, target.tls.as_ref())?;
    stream.write_all(handshake(target, n).as_bytes())?;
    let mut unread = Vec::new();
    wait_for_upgrade(&mut stream, &mut unread, target.deflate)?;
    wait_for(&mut stream, &mut unread, b"pusher:connection_established")?;
    let text = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#);
    stream.write_all(&masked(1, text.as_bytes())?)?;
    wait_for(&mut stream, &mut unread, b"pusher_internal:subscription_succeeded")?;
    Ok((stream, unread))
}

/// The upgrade request of client `n`.
pub(crate) fn handshake(target: &Target, n: usize) -> String {
    let page = if target.pages { format!("/app/~bench-{n}") } else { String::new() };
    format!(
        "GET {page}/app/{}?protocol=7&client=bench&version=1.0 HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
        target.key.key(),
        target.port,
        if target.deflate { OFFER } else { "" }
    )
}

fn connect_from(n: usize, port: u16) -> Result<TcpStream> {
    let socket = socket_of(n, SocketFlags::CLOEXEC)?;
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    Ok(socket.into())
}

/// Starts to connect client `n`, without waiting. `receive` limits its receive buffer in the kernel, in
/// bytes.
pub(crate) fn begin_to_connect(n: usize, port: u16, receive: Option<usize>) -> Result<TcpStream> {
    let socket = socket_of(n, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    if let Some(bytes) = receive {
        set_socket_recv_buffer_size(&socket, bytes)?;
    }
    match connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn socket_of(n: usize, flags: SocketFlags) -> Result<OwnedFd> {
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(1 + n % SOURCES)?);
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrV4::new(source, 0))?;
    Ok(socket)
}

fn wait_for_upgrade(stream: &mut Connection, unread: &mut Vec<u8>, deflate: bool) -> Result<()> {
    loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]);
            ensure!(head.starts_with("HTTP/1.1 101"), "the server refused the handshake: {head}");
            let agreed = head.contains("permessage-deflate");
            ensure!(
                agreed == deflate,
                "compression was {}offered: {head}",
                if deflate { "" } else { "not " }
            );
            unread.drain(..end + 4);
            return Ok(());
        }
        read_more(stream, unread)?;
    }
}

/// Reads frames until one contains `text`. What follows it stays in `unread`.
fn wait_for(stream: &mut Connection, unread: &mut Vec<u8>, text: &[u8]) -> Result<()> {
    loop {
        while let Some(Frame { opcode, payload, length, .. }) = first(unread)? {
            let found = contains(payload, text);
            let refused = opcode == 8 || contains(payload, b"\"pusher:error\"");
            ensure!(
                !refused,
                "the server refused the subscription: {}",
                String::from_utf8_lossy(payload)
            );
            unread.drain(..length);
            if found {
                return Ok(());
            }
        }
        read_more(stream, unread)?;
    }
}

fn read_more(stream: &mut Connection, unread: &mut Vec<u8>) -> Result<()> {
    let mut buffer = [0; 2048];
    let n = stream.read(&mut buffer)?;
    ensure!(n > 0, "the server closed the connection during the handshake");
    unread.extend_from_slice(&buffer[..n]);
    ensure!(
        unread.len() < MAX_ANSWER,
        "the response to the handshake is longer than {MAX_ANSWER} bytes"
    );
    Ok(())
}

/// A client's frame, masked with zeros, which leaves the payload as it is.
pub(crate) fn masked(opcode: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(payload.len()).context("payload longer than 65 535 bytes")?;
    let mut frame = Vec::with_capacity(payload.len() + 8);
    frame.push(0x80 | opcode);
    match u8::try_from(length) {
        Ok(short) if short < 126 => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    Ok(frame)
}

pub(crate) fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

//! A client that sends bytes as they are.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Harness, within};

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The first bit of a frame that ends a message.
const FIN: u8 = 0x80;

/// The bit of a frame's first byte that marks a compressed message.
pub(crate) const COMPRESSED: u8 = 0x40;

/// The handshake, without the empty line that ends it.
pub(crate) const HANDSHAKE: &str = "GET /app/reverb-key?protocol=7 HTTP/1.1\r\nHost: localhost\r\n\
    Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A TCP connection.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    /// Read, but not used yet.
    buffer: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(server: &Harness) -> Self {
        Self::new(TcpStream::connect(server.address).await.unwrap())
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Connects to the default app and reads the greeting.
    pub(crate) async fn websocket(server: &Harness) -> Self {
        let mut raw = Self::connect(server).await;
        raw.shake_hands().await;
        raw
    }

    /// Handshake and greeting.
    pub(crate) async fn shake_hands(&mut self) {
        self.send(format!("{HANDSHAKE}\r\n").as_bytes()).await;
        self.welcomed().await;
    }

    /// Reads the response to a handshake, and the greeting.
    pub(crate) async fn welcomed(&mut self) {
        self.welcomed_as().await;
    }

    /// Like [`welcomed`](Self::welcomed). Returns the socket id.
    pub(crate) async fn welcomed_as(&mut self) -> String {
        let head = self.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let (opcode, greeting) = self.frame().await;
        assert_eq!(opcode, TEXT);
        let greeting = String::from_utf8(greeting).unwrap();
        assert!(greeting.contains("pusher:connection_established"), "{greeting}");
        let greeting: serde_json::Value = serde_json::from_str(&greeting).unwrap();
        let data: serde_json::Value =
            serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
        data["socket_id"].as_str().unwrap().to_owned()
    }

    /// Reads and discards available data.
    pub(crate) fn skim(&self) {
        let mut read = [0; 64 << 10];
        while matches!(self.stream.try_read(&mut read), Ok(1..)) {}
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.unwrap();
    }

    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(self.stream.write_all(bytes)).await
    }

    /// Ends the sending half.
    pub(crate) async fn finish(&mut self) {
        // The server may have closed the connection already.
        let _ = within(self.stream.shutdown()).await;
    }

    /// Sends one whole message.
    pub(crate) async fn send_frame(&mut self, opcode: u8, payload: &[u8]) {
        self.send(&frame(true, opcode, payload)).await;
    }

    /// Reads the head of an HTTP response.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                let head = std::mem::replace(&mut self.buffer, rest);
                return String::from_utf8(head).unwrap();
            }
            assert!(self.fill().await > 0, "the connection ended inside a head");
        }
    }

    /// Reads and discards as many bytes.
    pub(crate) async fn skip(&mut self, bytes: usize) {
        while self.buffer.len() < bytes {
            assert!(self.fill().await > 0, "the connection ended");
        }
        self.buffer.drain(..bytes);
    }

    /// Reads a frame: opcode and payload.
    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        self.try_frame().await.expect("a frame, but the connection has ended")
    }

    /// Reads a frame; `None` at the end. A compressed one has [`COMPRESSED`] in its opcode.
    pub(crate) async fn try_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((size, header)) = size(&self.buffer)
                && self.buffer.len() >= header + size
            {
                let rest = self.buffer.split_off(header + size);
                let mut frame = std::mem::replace(&mut self.buffer, rest);
                assert_eq!(frame[0] & 0xb0, FIN, "a server's frames are whole messages");
                return Some((frame[0] & !FIN, frame.split_off(header)));
            }
            if self.fill().await == 0 {
                assert!(self.buffer.is_empty(), "the connection ended inside a frame");
                return None;
            }
        }
    }

    /// Reads frames up to a close frame, which must have this code. Returns the texts before it.
    pub(crate) async fn expect_close(&mut self, code: u16) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            match self.frame().await {
                (CLOSE, payload) => {
                    let found = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    assert_eq!(found, Some(code));
                    return texts;
                }
                (TEXT, payload) => texts.push(String::from_utf8(payload).unwrap()),
                (opcode, _) => panic!("a frame of opcode {opcode}"),
            }
        }
    }

    /// Reads to the end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    pub(crate) async fn expect_end(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }

    /// Reads data with a timeout. Returns 0 at the end, after an error too.
    async fn fill(&mut self) -> usize {
        match within(self.stream.read_buf(&mut self.buffer)).await {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// Closes the connection with a TCP reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

/// Length of the payload and of the header of the frame that `bytes` begin with.
fn size(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => {
            let length = bytes.get(2..)?.first_chunk()?;
            Some((usize::from(u16::from_be_bytes(*length)), 4))
        }
        127 => {
            let length = bytes.get(2..)?.first_chunk()?;
            Some((usize::try_from(u64::from_be_bytes(*length)).unwrap(), 10))
        }
        short => Some((usize::from(short), 2)),
    }
}

/// A masked frame of a client.
pub(crate) fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(fin, opcode, payload.len() as u64);
    let mask = [0x12, 0x34, 0x56, 0x78];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The header of a masked frame, without the mask.
pub(crate) fn header(fin: bool, opcode: u8, length: u64) -> Vec<u8> {
    let mut header = vec![if fin { FIN | opcode } else { opcode }];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => header.push(0x80 | short),
        (_, Ok(medium)) => {
            header.push(0x80 | 126);
            header.extend(medium.to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend(length.to_be_bytes());
        }
    }
    header
}

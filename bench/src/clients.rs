//! The subscribers: thousands of sockets read by one thread, as cheaply as can be.

use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::server::Target;

/// In front of the sequence number, so that it is found in a frame.
pub(crate) const MARK: &str = "#seq:";
/// Digits of the sequence number, and of the time behind it.
const DIGITS: usize = 20;

/// The data of an event, `size` bytes long: mark, sequence number, scheduled time in nanoseconds.
pub(crate) fn data(sequence: u64, scheduled: Duration, size: usize) -> String {
    let mut data = format!("{MARK}{sequence:020}{:020}", scheduled.as_nanos());
    while data.len() < size {
        data.push('x');
    }
    data
}

/// One subscriber.
#[derive(Debug)]
struct Client {
    stream: TcpStream,
    /// A frame that has not come whole.
    partial: Vec<u8>,
    /// What it has received.
    tally: Tally,
}

/// Enough to tell loss, doubles and disorder.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    events: u64,
    sum: u64,
    last: Option<u64>,
    disorder: u64,
    /// Where the mark stood in the last event: it is there in all events of one name and channel.
    mark: usize,
}

/// An event that has arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) sequence: u64,
    pub(crate) scheduled: Duration,
}

/// All subscribers. Their tokens are their places.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    buffer: Vec<u8>,
}

/// What the subscribers have received, against what was published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) disordered: u64,
}

impl Verdict {
    pub(crate) fn is_clean(self) -> bool {
        self == Self::default()
    }
}

impl Clients {
    /// Connects and subscribes `count` clients, client `n` to `channel(n)`.
    pub(crate) fn connect(
        target: &Target,
        registry: &Registry,
        count: usize,
        channel: impl Fn(usize) -> String,
    ) -> Result<Self> {
        let mut clients = Vec::with_capacity(count);
        for n in 0..count {
            let stream = subscribe(target, &channel(n)).with_context(|| format!("client {n}"))?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            registry.register(&mut stream, Token(n), Interest::READABLE)?;
            clients.push(Client { stream, partial: Vec::new(), tally: Tally::default() });
        }
        Ok(Self { clients, buffer: vec![0; 256 << 10] })
    }

    /// Reads all there is for one client, and tells of each event.
    pub(crate) fn receive(&mut self, place: usize, mut on: impl FnMut(Arrival)) -> Result<()> {
        let Some(client) = self.clients.get_mut(place) else { return Ok(()) };
        loop {
            match client.stream.read(&mut self.buffer) {
                Ok(0) => bail!("the server has closed the connection of client {place}"),
                Ok(n) => {
                    client.take(&self.buffer[..n], &mut on)?;
                    if n < self.buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Compares with `published` events of sequence 0, 1, 2, …; `ordered`: they were published one after
    /// the other, so that they must have come so.
    pub(crate) fn verdict(&self, published: u64, ordered: bool) -> Verdict {
        let sum = published * published.saturating_sub(1) / 2;
        let mut verdict = Verdict::default();
        for Client { tally, .. } in &self.clients {
            verdict.lost += published.saturating_sub(tally.events);
            verdict.doubled += tally.events.saturating_sub(published);
            // As many as published, but not the same: one was lost and another came twice.
            if tally.events == published && tally.sum != sum {
                verdict.lost += 1;
                verdict.doubled += 1;
            }
            verdict.disordered += if ordered { tally.disorder } else { 0 };
        }
        verdict
    }
}

impl Client {
    fn take(&mut self, bytes: &[u8], on: &mut impl FnMut(Arrival)) -> Result<()> {
        if self.partial.is_empty() {
            let used = self.tally.take_frames(bytes, on)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            self.partial.extend_from_slice(bytes);
            let partial = std::mem::take(&mut self.partial);
            let used = self.tally.take_frames(&partial, on)?;
            self.partial.extend_from_slice(&partial[used..]);
        }
        Ok(())
    }
}

impl Tally {
    /// Takes the whole frames at the front of `bytes`. How much of it they are.
    fn take_frames(&mut self, bytes: &[u8], on: &mut impl FnMut(Arrival)) -> Result<usize> {
        let mut used = 0;
        while let Some((header, length)) = frame(&bytes[used..]) {
            let end = used + header + length;
            let Some(payload) = bytes.get(used + header..end) else { break };
            ensure!(bytes[used] & 0x0f != 8, "the server has sent a close frame");
            if let Some(arrival) = arrival(payload, &mut self.mark) {
                self.note(arrival.sequence);
                on(arrival);
            }
            used = end;
        }
        Ok(used)
    }

    fn note(&mut self, sequence: u64) {
        self.disorder += u64::from(self.last.is_some_and(|last| sequence <= last));
        self.last = Some(sequence);
        self.events += 1;
        self.sum = self.sum.wrapping_add(sequence);
    }
}

/// Lengths of a server's frame: header and payload.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? & 0x7f {
        126 => Some((4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)))),
        127 => {
            Some((10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?))
        }
        short => Some((2, usize::from(short))),
    }
}

fn arrival(payload: &[u8], mark: &mut usize) -> Option<Arrival> {
    if !payload.get(*mark..)?.starts_with(MARK.as_bytes()) {
        *mark = payload.windows(MARK.len()).position(|window| window == MARK.as_bytes())?;
    }
    let at = *mark;
    let number = |from: usize| {
        let digits = payload.get(at + from..at + from + DIGITS)?;
        digits
            .iter()
            .try_fold(0u64, |n, digit| n.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
    };
    let sequence = number(MARK.len())?;
    Some(Arrival { sequence, scheduled: Duration::from_nanos(number(MARK.len() + DIGITS)?) })
}

/// Connects one client and waits until it is subscribed.
pub(crate) fn subscribe(target: &Target, channel: &str) -> Result<std::net::TcpStream> {
    let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, target.port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let handshake = format!(
        "GET /app/{}?protocol=7&client=bench&version=1.0 HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\
         Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        target.key.key(),
        target.port
    );
    stream.write_all(handshake.as_bytes())?;
    wait_for(&mut stream, b"connection_established")?;
    let text = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{channel}"}}}}"#);
    // A mask of zeros leaves the payload as it is.
    let length =
        u8::try_from(text.len()).ok().filter(|n| *n < 126).context("channel name too long")?;
    let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat();
    stream.write_all(&frame)?;
    wait_for(&mut stream, b"subscription_succeeded")?;
    Ok(stream)
}

fn wait_for(stream: &mut std::net::TcpStream, text: &[u8]) -> Result<()> {
    let (mut seen, mut buffer) = (Vec::new(), [0; 1024]);
    while !seen.windows(text.len()).any(|window| window == text) {
        let n = stream.read(&mut buffer)?;
        ensure!(n > 0, "closed while waiting for {}", String::from_utf8_lossy(text));
        seen.extend_from_slice(&buffer[..n]);
    }
    Ok(())
}

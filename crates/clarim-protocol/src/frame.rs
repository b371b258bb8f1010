//! WebSocket framing (RFC 6455), the server's side, without I/O.
//!
//! A whole frame in the input is unmasked and handed out in place. Only what is incomplete is kept: an idle
//! connection owns no buffer.

use bytes::Bytes;

use crate::Code;
use crate::deflate::{Inflater, longest_deflated};

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A further part of a message.
    Continuation = 0,
    /// A text message.
    Text = 1,
    /// A binary message.
    Binary = 2,
    /// The end.
    Close = 8,
    /// A question for a sign of life.
    Ping = 9,
    /// A sign of life.
    Pong = 10,
}

impl Opcode {
    pub(crate) fn parse(nibble: u8) -> Option<Self> {
        Some(match nibble {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub(crate) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Bit of a frame's first byte: the message that begins here is compressed.
const COMPRESSED: u8 = 0x40;

/// Longest header of a frame that a server writes: no mask.
const MAX_HEADER: usize = 10;

/// Builds a frame of the server in one buffer: the payload is written behind room for the longest header,
/// and the header then put right in front of it.
#[derive(Debug)]
pub struct FrameBuilder(Vec<u8>);

impl FrameBuilder {
    /// Room for a payload of `payload` bytes without growing.
    #[must_use]
    pub fn with_capacity(payload: usize) -> Self {
        let mut buffer = Vec::with_capacity(MAX_HEADER + payload);
        buffer.resize(MAX_HEADER, 0);
        Self(buffer)
    }

    /// Where the payload is to be appended.
    pub fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The finished frame, one whole message.
    #[must_use]
    pub fn finish(self, opcode: Opcode) -> Bytes {
        self.seal(0x80 | opcode as u8)
    }

    /// As [`finish`](Self::finish), where the payload is compressed.
    pub(crate) fn finish_compressed(self, opcode: Opcode) -> Bytes {
        self.seal(0x80 | COMPRESSED | opcode as u8)
    }

    fn seal(self, first: u8) -> Bytes {
        let mut buffer = self.0;
        let length = buffer.len() - MAX_HEADER;
        let start = match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..=125), _) => {
                buffer[8..10].copy_from_slice(&[first, short]);
                8
            }
            (_, Ok(medium)) => {
                buffer[6..8].copy_from_slice(&[first, 126]);
                buffer[8..10].copy_from_slice(&medium.to_be_bytes());
                6
            }
            _ => {
                buffer[..2].copy_from_slice(&[first, 127]);
                buffer[2..10].copy_from_slice(&(length as u64).to_be_bytes());
                0
            }
        };
        Bytes::from(buffer).slice(start..)
    }
}

/// What a client's frames said.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping with its payload, to be sent back.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The client closes, with the code it gave.
    Close(Option<Code>),
}

/// A breach of the standard or of the limit, with the close code that answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A frame that the standard forbids.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text that isn't UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A message over the limit, counted over all its fragments.
    #[error("Maximum message size exceeded")]
    TooBig,
}

impl Violation {
    /// The code to close with.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Protocol(_) => Code::PROTOCOL_ERROR,
            Self::Utf8 => Code::INVALID_TEXT,
            Self::TooBig => Code::TOO_BIG,
        }
    }
}

/// Reads a client's frames. One per connection; it is a single pointer while nothing is incomplete.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

/// What there is of a frame, and of the message it belongs to, when the input ended inside.
#[derive(Debug, Default)]
struct Partial {
    /// Bytes of a header that isn't whole yet.
    header: Vec<u8>,
    /// The frame whose payload is coming in.
    frame: Option<Header>,
    /// How much of that payload is here.
    received: usize,
    /// Type of the message in `message`; `None` between messages.
    opcode: Option<Opcode>,
    /// Payload of the data frames so far.
    message: Vec<u8>,
    /// It is compressed.
    compressed: bool,
    /// How much of `message` is known to be UTF-8, if it is text.
    valid: usize,
    /// Payload of a control frame, which may come between those of a message.
    control: Vec<u8>,
    /// The message in `message` has been handed out and is to be forgotten.
    done: bool,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    fin: bool,
    /// The message that begins with this frame is compressed.
    compressed: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Length of the header itself.
    size: usize,
    payload: usize,
}

impl Decoder {
    /// The next message that ends in `input`; what was used is cut off its front. `None`: all of `input`
    /// was taken and more is needed. `max` bounds one message. With an `inflater`, which connections may
    /// share, messages may be compressed; without, none was agreed on.
    ///
    /// # Errors
    /// On the first breach. The connection must be closed then: later input would be misread.
    pub fn next<'m, 'i: 'm>(
        &'m mut self,
        input: &mut &'i mut [u8],
        max: usize,
        inflater: Option<&'m mut Inflater>,
    ) -> Result<Option<Message<'m>>, Violation> {
        let at_rest = match &mut self.partial {
            None => true,
            Some(partial) => {
                partial.forget_done();
                partial.is_empty()
            }
        };
        if at_rest {
            self.partial = None;
            if input.is_empty() {
                return Ok(None);
            }
            let rules = Rules { open: None, max, compression: inflater.is_some() };
            if let Some(header) = Header::parse(input, rules)?
                && header.fin
                && input.len() - header.size >= header.payload
            {
                let (frame, rest) =
                    std::mem::take(input).split_at_mut(header.size + header.payload);
                *input = rest;
                let payload = &mut frame[header.size..];
                unmask(payload, header.mask, 0);
                let payload = match inflater {
                    Some(inflater) if header.compressed => inflater.inflate(payload, max)?,
                    _ => payload,
                };
                return whole(header.opcode, payload).map(Some);
            }
        }
        self.partial.get_or_insert_default().next(input, max, inflater)
    }

    /// Whether nothing is kept between reads.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }
}

/// A message that came in one frame.
fn whole(opcode: Opcode, payload: &[u8]) -> Result<Message<'_>, Violation> {
    match opcode {
        Opcode::Text => {
            std::str::from_utf8(payload).map(Message::Text).map_err(|_| Violation::Utf8)
        }
        Opcode::Binary => Ok(Message::Binary(payload)),
        Opcode::Ping => Ok(Message::Ping(payload)),
        Opcode::Pong => Ok(Message::Pong),
        Opcode::Close => close(payload),
        Opcode::Continuation => Err(Violation::Protocol("continuation of no message")),
    }
}

fn close(payload: &[u8]) -> Result<Message<'_>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(Message::Close(None))
        } else {
            Err(Violation::Protocol("close code of one byte"))
        };
    };
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::Utf8);
    }
    let code = Code::from_peer(u16::from_be_bytes(*code))
        .ok_or(Violation::Protocol("invalid close code"))?;
    Ok(Message::Close(Some(code)))
}

/// What a header must keep to.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// Size of the message so far, when one is open.
    open: Option<usize>,
    /// Most bytes of one message.
    max: usize,
    /// Whether a message may be compressed.
    compression: bool,
}

impl Header {
    /// `None`: not whole yet. All that can be refused is refused as soon as its byte is here.
    fn parse(input: &[u8], rules: Rules) -> Result<Option<Self>, Violation> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        let agreed = if rules.compression { COMPRESSED } else { 0 };
        if first & 0x70 & !agreed != 0 {
            return Err(Violation::Protocol("reserved bits are set that no extension agreed on"));
        }
        let (fin, compressed) = (first & 0x80 != 0, first & COMPRESSED != 0);
        let opcode = Opcode::parse(first & 0x0f).ok_or(Violation::Protocol("unknown opcode"))?;
        if compressed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(Violation::Protocol("only a message's first frame says it is compressed"));
        }
        match (opcode, rules.open) {
            (Opcode::Continuation, None) => {
                return Err(Violation::Protocol("continuation of no message"));
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(Violation::Protocol("new message inside another"));
            }
            _ if opcode.is_control() && !fin => {
                return Err(Violation::Protocol("fragmented control frame"));
            }
            _ => {}
        }
        let Some(&second) = input.get(1) else {
            return Ok(None);
        };
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("frames of a client must be masked"));
        }
        let short = second & 0x7f;
        if opcode.is_control() && short > 125 {
            return Err(Violation::Protocol("control frame over 125 bytes"));
        }
        let (length, at) = match short {
            126 => match input.get(2..4) {
                Some(bytes) => (bytes.iter().fold(0, |n, &b| n << 8 | u64::from(b)), 4),
                None => return Ok(None),
            },
            127 => match input.get(2..10) {
                Some(bytes) => (bytes.iter().fold(0, |n, &b| n << 8 | u64::from(b)), 10),
                None => return Ok(None),
            },
            _ => (u64::from(short), 2),
        };
        let payload = usize::try_from(length).map_err(|_| Violation::TooBig)?;
        let max = if compressed { longest_deflated(rules.max) } else { rules.max };
        if !opcode.is_control() && payload > max.saturating_sub(rules.open.unwrap_or(0)) {
            return Err(Violation::TooBig);
        }
        let Some(mask) = input.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
            return Ok(None);
        };
        Ok(Some(Self { fin, compressed, opcode, mask: *mask, size: at + 4, payload }))
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.header.is_empty() && self.frame.is_none() && self.opcode.is_none()
    }

    fn forget_done(&mut self) {
        if std::mem::take(&mut self.done) {
            self.message.clear();
            self.opcode = None;
            self.valid = 0;
        }
    }

    fn next<'m>(
        &'m mut self,
        input: &mut &mut [u8],
        max: usize,
        inflater: Option<&'m mut Inflater>,
    ) -> Result<Option<Message<'m>>, Violation> {
        loop {
            let header = match self.frame {
                Some(header) => header,
                None => match self.take_header(input, max, inflater.is_some())? {
                    Some(header) => header,
                    None => return Ok(None),
                },
            };
            self.take_payload(header, input)?;
            if self.received < header.payload {
                return Ok(None);
            }
            self.frame = None;
            if header.opcode.is_control() {
                return whole(header.opcode, &self.control).map(Some);
            }
            if header.fin {
                self.done = true;
                return self.finish(max, inflater).map(Some);
            }
        }
    }

    fn take_header(
        &mut self,
        input: &mut &mut [u8],
        max: usize,
        compression: bool,
    ) -> Result<Option<Header>, Violation> {
        let open = self.opcode.is_some().then_some(self.message.len());
        let inside = open.is_some() && self.compressed;
        let max = if inside { longest_deflated(max) } else { max };
        let rules = Rules { open, max, compression };
        while !input.is_empty() {
            let (byte, rest) = std::mem::take(input).split_at_mut(1);
            *input = rest;
            self.header.push(byte[0]);
            if let Some(header) = Header::parse(&self.header, rules)? {
                self.header.clear();
                self.received = 0;
                self.control.clear();
                if matches!(header.opcode, Opcode::Text | Opcode::Binary) {
                    self.opcode = Some(header.opcode);
                    self.compressed = header.compressed;
                }
                self.frame = Some(header);
                return Ok(Some(header));
            }
        }
        // A byte that can be refused is refused now, not when the header is whole.
        Header::parse(&self.header, rules)
    }

    fn take_payload(&mut self, header: Header, input: &mut &mut [u8]) -> Result<(), Violation> {
        let take = input.len().min(header.payload - self.received);
        let (part, rest) = std::mem::take(input).split_at_mut(take);
        *input = rest;
        unmask(part, header.mask, self.received);
        self.received += take;
        if header.opcode.is_control() {
            self.control.extend_from_slice(part);
            return Ok(());
        }
        self.message.extend_from_slice(part);
        if self.opcode == Some(Opcode::Text) && !self.compressed {
            self.check_text()?;
        }
        Ok(())
    }

    /// Refuses what no further byte could make UTF-8, without looking twice at what is known to be.
    fn check_text(&mut self) -> Result<(), Violation> {
        match std::str::from_utf8(&self.message[self.valid..]) {
            Ok(text) => self.valid += text.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(Violation::Utf8),
        }
        Ok(())
    }

    fn finish<'m>(
        &'m self,
        max: usize,
        inflater: Option<&'m mut Inflater>,
    ) -> Result<Message<'m>, Violation> {
        let message = match inflater {
            Some(inflater) if self.compressed => inflater.inflate(&self.message, max)?,
            _ => &self.message,
        };
        whole(self.opcode.unwrap_or(Opcode::Continuation), message)
    }
}

/// XORs with the mask; `offset`: where in the frame's payload `data` begins.
fn unmask(data: &mut [u8], mut mask: [u8; 4], offset: usize) {
    mask.rotate_left(offset % 4);
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests;

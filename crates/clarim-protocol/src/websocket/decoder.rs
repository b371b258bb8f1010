//! The decoder of clients' frames (RFC 6455).
//!
//! A complete frame in the input is unmasked and returned in place. Only incomplete frames are stored: an
//! idle connection owns no buffer.

mod replay;

use super::builder::{COMPRESSED, Opcode};
use super::deflate::{Inflater, longest_deflated};
use super::violation::Violation;
use crate::code::Code;

/// A message from a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, whose payload the pong returns.
    Ping(&'a [u8]),
    /// A pong, with the payload of the ping that it replies to.
    Pong(&'a [u8]),
    /// A close frame, with its code.
    Close(Option<Code>),
}

/// The decoder of a connection. It is a single pointer while no frame is incomplete.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
}

/// An incomplete frame, and the message to which it belongs.
#[derive(Debug, Default)]
struct Partial {
    /// Bytes of an incomplete header.
    header: Vec<u8>,
    /// The frame whose payload is incomplete.
    frame: Option<Header>,
    /// The number of bytes of that payload that have arrived.
    received: usize,
    /// The type of the message in `message`; `None` between messages.
    opcode: Option<Opcode>,
    /// Payload of the data frames so far.
    message: Vec<u8>,
    /// Whether it is compressed.
    compressed: bool,
    /// The number of bytes of `message` that are known to be UTF-8, if it is text.
    valid: usize,
    /// Payload of a control frame, which may arrive between the fragments of a message.
    control: Vec<u8>,
    /// Whether the message in `message` has been returned and can be dropped.
    done: bool,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    fin: bool,
    /// Whether the message that begins with this frame is compressed.
    compressed: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Length of the header.
    size: usize,
    payload: usize,
}

impl Decoder {
    /// Returns the next message that ends in `input`, and removes it from the front of `input`. `None`:
    /// all of `input` is consumed and more is needed. `max` is the maximum size of a message. With an
    /// `inflater`, which connections can share, messages may be compressed; without one, compression was
    /// not negotiated.
    ///
    /// # Errors
    /// On the first violation. Close the connection then: later input would be misread.
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

    /// Returns bytes that bring a new decoder into the state of this one. They contain no whole message, and
    /// are empty if nothing is stored.
    #[must_use]
    pub fn replay(&self) -> Vec<u8> {
        self.partial.as_ref().map_or_else(Vec::new, |partial| replay::replay(partial))
    }

    /// Whether nothing is stored between reads.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }
}

/// Returns the message of a single frame.
fn whole(opcode: Opcode, payload: &[u8]) -> Result<Message<'_>, Violation> {
    match opcode {
        Opcode::Text => {
            std::str::from_utf8(payload).map(Message::Text).map_err(|_| Violation::Utf8)
        }
        Opcode::Binary => Ok(Message::Binary(payload)),
        Opcode::Ping => Ok(Message::Ping(payload)),
        Opcode::Pong => Ok(Message::Pong(payload)),
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

/// The rules for a header.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// Size of the fragments so far, inside a message.
    open: Option<usize>,
    /// Maximum size of a message.
    max: usize,
    /// Whether a message may be compressed.
    compression: bool,
}

impl Header {
    /// Parses a header; `None` if it is incomplete. Everything is rejected as soon as its byte has arrived.
    fn parse(input: &[u8], rules: Rules) -> Result<Option<Self>, Violation> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        let agreed = if rules.compression { COMPRESSED } else { 0 };
        if first & 0x70 & !agreed != 0 {
            return Err(Violation::Protocol("reserved bits are set that no extension agreed on"));
        }
        let fin = first & 0x80 != 0;
        let compressed = first & COMPRESSED != 0;
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

    /// Rejects bytes that cannot become UTF-8, without checking any byte twice.
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

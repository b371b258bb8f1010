//! The state of a decoder as bytes that bring a new decoder into the same state.

use super::{Header, Opcode, Partial, unmask};
use crate::websocket::builder::COMPRESSED;

/// The mask that changes nothing.
const NO_MASK: [u8; 4] = [0; 4];

pub(super) fn replay(partial: &Partial) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !partial.done
        && let Some(opcode) = partial.opcode
    {
        let frame = partial.frame.filter(|frame| !frame.opcode.is_control());
        // The frame that is not complete may be the first one of the message.
        if frame.is_none_or(|frame| frame.opcode == Opcode::Continuation) {
            let payload = partial.message.len() - frame.map_or(0, |_| partial.received);
            let compressed = partial.compressed;
            let header = Header { fin: false, compressed, opcode, mask: NO_MASK, size: 0, payload };
            write(header, &mut bytes);
            bytes.extend_from_slice(&partial.message[..payload]);
        }
    }
    if let Some(frame) = partial.frame {
        let part = match frame.opcode.is_control() {
            true => &partial.control[..],
            false => &partial.message[partial.message.len() - partial.received..],
        };
        write(frame, &mut bytes);
        let begin = bytes.len();
        bytes.extend_from_slice(part);
        // The rest of the payload has this mask.
        unmask(&mut bytes[begin..], frame.mask, 0);
    }
    bytes.extend_from_slice(&partial.header);
    bytes
}

fn write(header: Header, bytes: &mut Vec<u8>) {
    let Header { fin, compressed, opcode, mask, payload, .. } = header;
    let compressed = if compressed { COMPRESSED } else { 0 };
    bytes.push(u8::from(fin) << 7 | compressed | opcode as u8);
    match (u8::try_from(payload), u16::try_from(payload)) {
        (Ok(short @ ..=125), _) => bytes.push(0x80 | short),
        (_, Ok(medium)) => {
            bytes.push(0x80 | 126);
            bytes.extend(medium.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((payload as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
}

//! Mutations of a real Yjs update, and arbitrary bytes, against the bounds of the demo's editor: the check
//! does not panic, and accepted bytes have no accepted prefix.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[path = "../../apps/demo/src/editor/wire.rs"]
mod wire;

#[derive(Debug, Arbitrary)]
enum Edit {
    Set { at: u16, byte: u8 },
    Insert { at: u16, byte: u8 },
    Remove { at: u16 },
    Repeat { at: u16, length: u8 },
}

#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Mutated(Vec<Edit>),
    Bytes(&'a [u8]),
}

fn mutated(edits: &[Edit]) -> Vec<u8> {
    let mut bytes = include_bytes!("../../apps/demo/src/editor/tests/page.bin").to_vec();
    for edit in edits {
        let place = |at: u16| usize::from(at) % bytes.len().max(1);
        match *edit {
            Edit::Set { at, byte } => {
                let at = place(at);
                bytes[at] = byte;
            }
            Edit::Insert { at, byte } => bytes.insert(place(at), byte),
            Edit::Remove { at } if bytes.len() > 1 => drop(bytes.remove(place(at))),
            Edit::Remove { .. } => {}
            Edit::Repeat { at, length } => {
                let at = place(at);
                let end = bytes.len().min(at + usize::from(length));
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

fuzz_target!(|input: Input<'_>| {
    let bytes = match input {
        Input::Mutated(edits) => mutated(&edits),
        Input::Bytes(bytes) => bytes.to_vec(),
    };
    for accepts in [wire::is_update, wire::is_state_vector] {
        if accepts(&bytes) {
            assert!(!accepts(&bytes[..bytes.len() - 1]));
            assert!(!accepts(&[&*bytes, &[0]].concat()));
        }
    }
});

//! Arbitrary bytes in pieces: the decoder gives the same result as for the whole input.
#![no_main]

use clarim_protocol::websocket::Inflater;
use clarim_protocol::websocket::Decoder;
use libfuzzer_sys::fuzz_target;

const MAX: usize = 300;

fn decode(
    input: &[u8],
    piece: usize,
    mut inflater: Option<Inflater>,
) -> (Vec<String>, Option<u16>) {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for piece in input.chunks(piece) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            match decoder.next(&mut rest, MAX, inflater.as_mut()) {
                Ok(Some(message)) => messages.push(format!("{message:?}")),
                Ok(None) => break,
                Err(violation) => return (messages, Some(violation.code().get())),
            }
        }
    }
    (messages, None)
}

fuzz_target!(|data: (u8, &[u8])| {
    let (piece, input) = data;
    for inflater in [|| None, || Some(Inflater::default())] {
        let whole = decode(input, input.len().max(1), inflater());
        assert_eq!(decode(input, usize::from(piece).max(1), inflater()), whole);
    }
});

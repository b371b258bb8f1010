//! Any bytes, cut anywhere: the decoder says the same as of the whole, and keeps no more than it may.
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
    let mut said = Vec::new();
    for piece in input.chunks(piece) {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            match decoder.next(&mut rest, MAX, inflater.as_mut()) {
                Ok(Some(message)) => said.push(format!("{message:?}")),
                Ok(None) => break,
                Err(violation) => return (said, Some(violation.code().get())),
            }
        }
    }
    (said, None)
}

fuzz_target!(|data: (u8, &[u8])| {
    let (piece, input) = data;
    for inflater in [|| None, || Some(Inflater::default())] {
        let whole = decode(input, input.len().max(1), inflater());
        assert_eq!(decode(input, usize::from(piece).max(1), inflater()), whole);
    }
});

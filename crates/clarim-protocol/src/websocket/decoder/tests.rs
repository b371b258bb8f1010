use proptest::prelude::*;

use super::*;

fn masked(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        n @ 0..=125 => frame.push(0x80 | n as u8),
        n @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((n as u16).to_be_bytes());
        }
        n => {
            frame.push(0x80 | 127);
            frame.extend((n as u64).to_be_bytes());
        }
    }
    let mask = [0x1a, 0x2b, 0x3c, 0x4d];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

/// Decodes `input` in pieces of these sizes, repeated.
fn decode(input: &[u8], sizes: &[usize], max: usize) -> (Vec<String>, Option<Violation>) {
    decode_with(None, input, sizes, max)
}

fn decode_with(
    mut inflater: Option<Inflater>,
    input: &[u8],
    sizes: &[usize],
    max: usize,
) -> (Vec<String>, Option<Violation>) {
    let mut decoder = Decoder::default();
    let mut said = Vec::new();
    let mut rest = input.to_vec();
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).clamp(1, rest.len());
        let tail = rest.split_off(size);
        let mut piece = &mut rest[..];
        loop {
            match decoder.next(&mut piece, max, inflater.as_mut()) {
                Ok(Some(message)) => said.push(format!("{message:?}")),
                Ok(None) => break,
                Err(violation) => return (said, Some(violation)),
            }
        }
        assert!(piece.is_empty());
        rest = tail;
    }
    (said, None)
}

fn whole_input(input: &[u8]) -> (Vec<String>, Option<Violation>) {
    decode(input, &[input.len().max(1)], 1000)
}

#[test]
fn a_single_frame_is_decoded_in_place_and_nothing_is_stored() {
    let mut decoder = Decoder::default();
    let mut bytes =
        [masked(true, 1, b"ol\xc3\xa1"), masked(true, 9, b"hi"), masked(true, 10, b"ho")].concat();
    let mut input = &mut bytes[..];
    assert_eq!(decoder.next(&mut input, 100, None), Ok(Some(Message::Text("olá"))));
    assert_eq!(decoder.next(&mut input, 100, None), Ok(Some(Message::Ping(b"hi"))));
    assert_eq!(decoder.next(&mut input, 100, None), Ok(Some(Message::Pong(b"ho"))));
    assert_eq!(decoder.next(&mut input, 100, None), Ok(None));
    assert!(decoder.is_idle());
}

#[test]
fn a_message_in_fragments_with_a_ping_between() {
    let bytes =
        [masked(false, 1, b"a\xc3"), masked(true, 9, b"p"), masked(true, 0, b"\xa1b")].concat();
    for size in 1..=bytes.len() {
        let (said, violation) = decode(&bytes, &[size], 100);
        assert_eq!(
            (said.join(" "), violation),
            (r#"Ping([112]) Text("aáb")"#.to_owned(), None),
            "{size}"
        );
    }
}

#[test]
fn nothing_is_stored_after_a_fragmented_message() {
    let mut decoder = Decoder::default();
    let mut bytes = [masked(false, 1, b"a"), masked(true, 0, b"b")].concat();
    let mut input = &mut bytes[..];
    assert_eq!(decoder.next(&mut input, 100, None), Ok(Some(Message::Text("ab"))));
    assert_eq!(decoder.next(&mut input, 100, None), Ok(None));
    assert!(decoder.is_idle());
}

#[test]
fn violations_are_rejected_with_the_right_code() {
    for (bytes, code) in [
        (vec![0xf1], 1002),                                    // reserved bits
        (vec![0x83], 1002),                                    // unknown opcode
        (vec![0x81, 0x01], 1002),                              // not masked
        (vec![0x89, 0xfe], 1002),                              // long ping
        (vec![0x09], 1002),                                    // fragmented ping
        (vec![0x80], 1002),                                    // continuation of nothing
        ([masked(false, 1, b"a"), vec![0x81]].concat(), 1002), // message inside another
        (masked(true, 8, b"x"), 1002),                         // half a close code
        (masked(true, 8, &1005u16.to_be_bytes()), 1002),       // reserved close code
        (masked(true, 8, &[0x03, 0xe8, 0xff]), 1007),          // reason not UTF-8
        (masked(true, 1, b"\xff"), 1007),                      // text not UTF-8
        (masked(true, 1, b"\xc3"), 1007),                      // text cut inside a character
        (masked(true, 1, &[b'x'; 1001]), 1009),                // over the limit
        ([masked(false, 1, &[b'x'; 600]), masked(true, 0, &[b'x'; 401])].concat(), 1009), // in two parts
        (vec![0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 1009), // 2^63 declared
    ] {
        for size in [1, bytes.len()] {
            let (_, violation) = decode(&bytes, &[size], 1000);
            assert_eq!(
                violation.map(|v| v.code().get()),
                Some(code),
                "{bytes:?} in pieces of {size}"
            );
        }
    }
}

#[test]
fn invalid_text_is_rejected_before_its_frame_ends() {
    let mut bytes = masked(true, 1, b"ok\xed\xa0\x80 and more");
    bytes.truncate(6 + 4);
    assert_eq!(whole_input(&bytes).1, Some(Violation::Utf8));
}

/// "Hello" (RFC 7692, 7.2.3.1).
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";

fn compressed(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = masked(fin, opcode, payload);
    frame[0] |= COMPRESSED;
    frame
}

#[test]
fn compressed_messages_whole_and_in_fragments_between_others() {
    let bytes = [
        compressed(true, 1, HELLO),
        masked(true, 1, b"plain"),
        compressed(false, 1, &HELLO[..3]),
        masked(true, 9, b"p"),
        masked(false, 0, &HELLO[3..4]),
        masked(false, 0, b""),
        masked(true, 0, &HELLO[4..]),
        compressed(true, 2, HELLO),
        compressed(true, 1, b"\0"),
        compressed(true, 1, b""),
        masked(false, 1, b"a"),
        masked(true, 0, b"b"),
    ]
    .concat();
    let expected = [
        r#"Text("Hello")"#,
        r#"Text("plain")"#,
        "Ping([112])",
        r#"Text("Hello")"#,
        "Binary([72, 101, 108, 108, 111])",
        r#"Text("")"#,
        r#"Text("")"#,
        r#"Text("ab")"#,
    ];
    for size in 1..=bytes.len() {
        let (said, violation) = decode_with(Some(Inflater::default()), &bytes, &[size], 100);
        assert_eq!(
            (said.iter().map(String::as_str).collect(), violation),
            (expected.to_vec(), None)
        );
    }
}

#[test]
fn nothing_is_stored_after_compressed_messages() {
    let mut decoder = Decoder::default();
    let mut inflater = Inflater::default();
    let mut bytes =
        [compressed(true, 1, HELLO), compressed(false, 1, HELLO), masked(true, 0, b"")].concat();
    let mut input = &mut bytes[..];
    for message in [Some(Message::Text("Hello")), Some(Message::Text("Hello")), None] {
        assert_eq!(decoder.next(&mut input, 100, Some(&mut inflater)), Ok(message));
    }
    assert!(decoder.is_idle());
}

#[test]
fn compression_violations_are_rejected_with_the_right_code() {
    // 2000 times "x".
    let bomb = b"\xaa\xa8\x18\x05\xa3\x60\x14\x8c\x82\x51\x30\x0a\x46\xc1\x50\x07\x00\x00";
    for (bytes, code) in [
        (vec![0x80 | COMPRESSED | 9], 1002),
        (vec![0x80 | COMPRESSED | 8], 1002),
        (vec![0xa1], 1002),
        (vec![0xd1], 1002),
        ([compressed(false, 1, HELLO), vec![0x80 | COMPRESSED]].concat(), 1002),
        ([masked(false, 1, b"a"), vec![0x80 | COMPRESSED]].concat(), 1002),
        (compressed(true, 1, b"\xff\xff"), 1002),
        (compressed(true, 1, bomb), 1009),
        ([compressed(false, 1, &bomb[..4]), masked(true, 0, &bomb[4..])].concat(), 1009),
        // Too long even while compressed.
        (compressed(true, 1, &[0; 1_070])[..8].to_vec(), 1009),
        ([compressed(false, 1, &[0; 600]), masked(true, 0, &[0; 470])].concat(), 1009),
        // "\xff", which isn't UTF-8.
        (compressed(true, 1, b"\xfa\x0f\x00"), 1007),
    ] {
        for size in [1, bytes.len()] {
            let (_, violation) = decode_with(Some(Inflater::default()), &bytes, &[size], 1000);
            assert_eq!(violation.map(|v| v.code().get()), Some(code), "{bytes:02x?} in {size}");
        }
    }
    let (said, violation) = decode(&compressed(true, 1, HELLO), &[100], 1000);
    assert_eq!((said.len(), violation.map(|v| v.code().get())), (0, Some(1002)), "not agreed on");
}

/// Frames of a client, most of them valid.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop::sample::select(vec![0u8, 1, 2, 8, 9, 10]);
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    let frame = (any::<bool>(), opcode, payload, any::<bool>()).prop_map(
        |(fin, opcode, mut payload, ascii)| {
            let control = opcode > 2;
            payload.truncate(if control { 125 } else { 200 });
            if ascii {
                payload.iter_mut().for_each(|byte| *byte &= 0x7f);
            }
            masked(fin || control, opcode, &payload)
        },
    );
    prop::collection::vec(frame, 1..8).prop_map(|frames| frames.concat())
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..50, 1..10)
}

proptest! {
    #[test]
    fn the_size_of_pieces_does_not_matter(bytes in frames(), sizes in sizes()) {
        prop_assert_eq!(decode(&bytes, &sizes, 500), whole_input_max(&bytes, 500));
    }

    #[test]
    fn arbitrary_bytes_are_decoded_or_rejected(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        sizes in sizes(),
    ) {
        prop_assert_eq!(decode(&bytes, &sizes, 100), whole_input_max(&bytes, 100));
    }

    #[test]
    fn the_size_of_pieces_does_not_matter_for_compressed_messages(
        mut bytes in frames(),
        sizes in sizes(),
    ) {
        bytes[0] |= COMPRESSED;
        let decode = |sizes: &[usize]| decode_with(Some(Inflater::default()), &bytes, sizes, 500);
        prop_assert_eq!(decode(&sizes), decode(&[bytes.len()]));
    }

    #[test]
    fn unmasking_in_parts_gives_the_same_result(
        mut data in prop::collection::vec(any::<u8>(), 0..100),
        mask: [u8; 4],
        at in 0usize..100,
    ) {
        let mut at_once = data.clone();
        unmask(&mut at_once, mask, 0);
        let at = at.min(data.len());
        let (a, b) = data.split_at_mut(at);
        unmask(a, mask, 0);
        unmask(b, mask, at);
        prop_assert_eq!(data, at_once);
    }
}

fn whole_input_max(input: &[u8], max: usize) -> (Vec<String>, Option<Violation>) {
    decode(input, &[input.len().max(1)], max)
}

#[test]
fn a_decoder_goes_on_from_the_replay_of_another_one() {
    let long = "ã".repeat(200);
    let mut input = Vec::new();
    input.extend(masked(true, 1, b"whole"));
    input.extend(masked(false, 1, b""));
    input.extend(masked(false, 0, &long.as_bytes()[..301]));
    input.extend(masked(true, 9, b"ping"));
    input.extend(masked(true, 0, &long.as_bytes()[301..]));
    input.extend(masked(false, 2, &[7; 300]));
    input.extend(masked(true, 0, &[8; 10]));
    input.extend(masked(true, 8, &[]));
    let (expected, violation) = whole_input(&input);
    assert_eq!((expected.len(), violation), (5, None));
    for cut in 0..=input.len() {
        let mut said = Vec::new();
        let mut decode = |decoder: &mut Decoder, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let mut bytes = &mut bytes[..];
            while let Some(message) = decoder.next(&mut bytes, 1000, None).unwrap() {
                said.push(format!("{message:?}"));
            }
        };
        let mut before = Decoder::default();
        decode(&mut before, &input[..cut]);
        let replay = before.replay();
        let mut after = Decoder::default();
        decode(&mut after, &replay);
        assert_eq!(after.replay(), replay);
        decode(&mut after, &input[cut..]);
        assert_eq!(said, expected, "cut at {cut}");
    }
}

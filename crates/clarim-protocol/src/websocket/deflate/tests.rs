use proptest::prelude::*;

use super::*;
use crate::websocket::Frame;

/// Text like that of events: `rows` objects with values of their own.
fn rows(rows: usize) -> String {
    let row = |n| format!(r#"{{"id":{},"user":"user-{}","state":"open"}},"#, n * 7919, n % 13);
    (0..rows).map(row).collect()
}

/// Decompresses a frame as a client would.
fn inflated(frame: &Frame) -> String {
    assert_eq!(frame.bytes()[0], 0xc1, "a whole text message, compressed");
    let bytes = Inflater::default().inflate(frame.payload(), 1 << 20).unwrap().to_vec();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_compressed_frame_is_smaller_and_has_the_same_content() {
    let mut deflater = Deflater::default();
    for text in [rows(10), rows(500), "x".repeat(70_000), rows(10)] {
        let deflated = Frame::text(text.as_bytes()).deflated(&mut deflater).unwrap();
        assert!(deflated.bytes().len() < text.len() / 2);
        assert_eq!(inflated(&deflated), text);
    }
}

#[test]
fn short_control_and_incompressible_frames_are_not_compressed() {
    let mut deflater = Deflater::default();
    let noise: Vec<u8> = (0..5_000u64).map(|n| ((n * n * 2_654_435_761) >> 13) as u8).collect();
    for frame in [
        Frame::text(b""),
        Frame::text(&[b'x'; MIN_PAYLOAD - 1]),
        Frame::binary(&noise),
        Frame::control_pong(&[b'x'; 125]),
    ] {
        assert_eq!(frame.compressible().deflated(&mut deflater), None);
        assert_eq!(frame.deflated(&mut deflater), None);
    }
    assert!(Frame::text(&[b'x'; MIN_PAYLOAD]).deflated(&mut deflater).is_some());
}

#[test]
fn all_clones_share_one_compressed_form() {
    let frame = Frame::text(rows(20).as_bytes());
    assert!(!frame.is_compressible());
    let a = frame.compressible();
    let b = frame.compressible();
    // Two workers, each with a deflater of its own.
    let [first, second] = [a.clone(), a.compressible()]
        .map(|clone| clone.deflated(&mut Deflater::default()).unwrap());
    assert_eq!(first.bytes().as_ptr(), second.bytes().as_ptr());
    let other = b.deflated(&mut Deflater::default()).unwrap();
    assert_eq!((first.bytes() == other.bytes(), &frame), (true, &b));
    assert_ne!(first.bytes().as_ptr(), other.bytes().as_ptr());
    assert!(!Frame::text(b"short").compressible().is_compressible());
}

#[test]
fn the_examples_of_the_standard_are_decompressed() {
    let mut inflater = Inflater::default();
    for payload in [
        // RFC 7692, 7.2.3.1 to 7.2.3.5: one block, not compressed, final, two blocks.
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00",
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        // The tail of the flush, which should have been left out.
        b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff",
    ] {
        assert_eq!(inflater.inflate(payload, 5), Ok(&b"Hello"[..]), "{payload:02x?}");
    }
    for empty in [&b"\x00"[..], b"", b"\x03\x00"] {
        assert_eq!(inflater.inflate(empty, 5), Ok(&b""[..]), "{empty:02x?}");
    }
    // Each message stands by itself: this one refers to the one before (7.2.3.2).
    assert_eq!(inflater.inflate(b"\xf2\x00\x11\x00\x00", 5), Err(INVALID));
    for invalid in [&b"\x07"[..], b"\xff\xff\xff", b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00\x00"] {
        assert_eq!(inflater.inflate(invalid, 5), Err(INVALID), "{invalid:02x?}");
    }
}

#[test]
fn a_decompression_bomb_is_stopped_at_the_limit() {
    let bomb = Frame::binary(&vec![0; 8 << 20]).deflated(&mut Deflater::default()).unwrap();
    assert!(bomb.bytes().len() < 16 << 10);
    for max in [100, 100_000, 1 << 20] {
        let mut inflater = Inflater::default();
        assert_eq!(inflater.inflate(bomb.payload(), max), Err(Violation::TooBig));
        assert!(inflater.output.capacity() <= max + GROWTH, "{}", inflater.output.capacity());
        inflater.rest();
        assert!(inflater.output.capacity() <= KEPT);
    }
    let mut inflater = Inflater::default();
    assert_eq!(inflater.inflate(bomb.payload(), 8 << 20).map(<[u8]>::len), Ok(8 << 20));
    assert!(inflater.output.capacity() <= (8 << 20) + GROWTH);
}

#[test]
fn a_message_at_the_limit_is_accepted() {
    let text = rows(100);
    let deflated = Frame::text(text.as_bytes()).deflated(&mut Deflater::default()).unwrap();
    let mut inflater = Inflater::default();
    let max = text.len();
    assert_eq!(inflater.inflate(deflated.payload(), max), Ok(text.as_bytes()));
    assert_eq!(inflater.inflate(deflated.payload(), max - 1), Err(Violation::TooBig));
    // Another app of the same worker has a limit smaller than the buffer's capacity.
    assert_eq!(inflater.inflate(deflated.payload(), 10), Err(Violation::TooBig));
}

proptest! {
    #[test]
    fn a_compressed_frame_decompresses_to_its_original(
        bytes in prop::collection::vec(prop::sample::select(&b"abcdefgh{\":,"[..]), 0..3_000),
    ) {
        let frame = Frame::binary(&bytes);
        if let Some(deflated) = frame.deflated(&mut Deflater::default()) {
            prop_assert!(deflated.bytes().len() < frame.bytes().len());
            let mut inflater = Inflater::default();
            prop_assert_eq!(inflater.inflate(deflated.payload(), 3_000), Ok(&bytes[..]));
        }
    }

    #[test]
    fn arbitrary_bytes_are_decompressed_within_the_limit_or_rejected(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut inflater = Inflater::default();
        let length = inflater.inflate(&bytes, 1_000).map(<[u8]>::len);
        prop_assert!(length.is_ok_and(|n| n <= 1_000) || length.is_err());
        // The next message is not affected.
        prop_assert_eq!(inflater.inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", 5), Ok(&b"Hello"[..]));
    }
}

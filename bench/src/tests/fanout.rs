//! Subscribers of one channel.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::bad_server::{Fault, SUBSCRIBERS, start, start_with};
use crate::reports::report::{Pace, Phase};
use crate::servers::process::Usage;
use crate::subscribers::fanout::Fanout;
use crate::wire::deliveries::{Ledger, Verdict};
use crate::wire::frames::{Arrival, Inflater, arrival, data, first};

/// An open loop with a hundred events in one second, over one connection.
fn open(fault: Fault) -> (Fanout, Verdict) {
    let mut fanout = Fanout::connect(&start(fault), SUBSCRIBERS, 1, 128).unwrap();
    fanout.open(100, 1).unwrap();
    let verdict = fanout.verdict().unwrap();
    (fanout, verdict)
}

fn closed(fault: Fault, in_flight: usize) -> (Fanout, Verdict) {
    let mut fanout = Fanout::connect(&start(fault), SUBSCRIBERS, in_flight, 128).unwrap();
    fanout.closed(100, in_flight).unwrap();
    let verdict = fanout.verdict().unwrap();
    (fanout, verdict)
}

/// Whether a verdict makes the measurement invalid.
fn refused(verdict: Verdict) -> bool {
    Phase::default().judge(verdict, Pace::Closed).is_err()
}

#[test]
fn a_correct_server_gets_a_result() {
    let (fanout, verdict) = open(Fault::None);
    assert_eq!((verdict, fanout.delivered), (Verdict::default(), 2_000));
    assert!(!refused(verdict));
    let (fanout, verdict) = closed(Fault::None, 1);
    assert_eq!((verdict, fanout.delivered), (Verdict::default(), 2_000));
}

#[test]
fn events_of_several_connections_arrive_once_each() {
    let (fanout, verdict) = closed(Fault::None, 8);
    assert_eq!((verdict.lost, verdict.doubled, fanout.delivered), (0, 0, 2_000));
}

#[test]
fn in_step_an_event_is_published_only_after_the_last_has_arrived() {
    let in_step = |fault| {
        let mut fanout = Fanout::connect(&start(fault), SUBSCRIBERS, 1, 128).unwrap();
        fanout.in_step(50, 1, Duration::from_millis(500)).unwrap();
        (fanout.verdict().unwrap(), fanout.published)
    };
    assert_eq!(in_step(Fault::None), (Verdict::default(), 50));
    let one_lost = Verdict { lost: 1, ..Verdict::default() };
    assert_eq!(in_step(Fault::Lose), (one_lost, 11), "the eleventh event is lost");
}

#[test]
fn frames_in_pieces_are_put_together() {
    let (_, verdict) = open(Fault::Pieces);
    assert_eq!(verdict, Verdict::default());
}

#[test]
fn pings_are_answered() {
    let state = Arc::<Mutex<_>>::default();
    let target = start_with(Fault::Ping, &state);
    let mut fanout = Fanout::connect(&target, SUBSCRIBERS, 1, 128).unwrap();
    fanout.open(100, 1).unwrap();
    assert_eq!(fanout.verdict().unwrap(), Verdict::default());
    let answers = br#"{"event":"pusher:pong","data":{}}"#.len() + b"hi".len() + 2 * 6;
    assert_eq!(state.lock().unwrap().heard, 2_000 * answers);
}

#[test]
fn a_loss_is_detected() {
    let (_, verdict) = open(Fault::Lose);
    assert_eq!(verdict, Verdict { lost: 1, ..Verdict::default() });
    assert!(refused(verdict));
}

#[test]
fn a_loss_does_not_block_a_closed_loop_forever() {
    let (_, verdict) = closed(Fault::Lose, 1);
    assert!(verdict.lost >= 1, "{verdict}");
}

#[test]
fn a_duplicate_is_detected() {
    let (_, verdict) = open(Fault::Double);
    assert_eq!(verdict, Verdict { doubled: 1, ..Verdict::default() });
    assert!(refused(verdict));
}

#[test]
fn a_swap_is_detected() {
    let (_, verdict) = open(Fault::Swap);
    assert_eq!(verdict, Verdict { disordered: 1, ..Verdict::default() });
    assert!(refused(verdict));
}

#[test]
fn losses_hidden_by_duplicates_are_detected() {
    let (_, verdict) = open(Fault::Disguise);
    assert_eq!(verdict, Verdict { lost: 2, doubled: 2, ..Verdict::default() });
}

#[test]
fn an_event_that_was_never_published_is_detected() {
    let (_, verdict) = open(Fault::Invent);
    // All later events have a lower number.
    assert_eq!(verdict, Verdict { foreign: 1, disordered: 89, ..Verdict::default() });
    assert!(refused(verdict));
}

#[test]
fn a_lost_connection_makes_the_measurement_invalid() {
    let mut fanout = Fanout::connect(&start(Fault::Close), SUBSCRIBERS, 1, 128).unwrap();
    let error = fanout.open(100, 1).unwrap_err();
    assert!(error.to_string().starts_with("invalid measurement"), "{error}");
}

#[test]
fn a_refused_request_is_an_error() {
    let mut fanout = Fanout::connect(&start(Fault::Refuse), SUBSCRIBERS, 1, 128).unwrap();
    assert!(fanout.open(100, 1).is_err());
}

#[test]
fn a_delay_is_in_the_latency() {
    let (fanout, verdict) = open(Fault::Delay);
    assert_eq!(verdict, Verdict::default());
    let median = fanout.latency.value_at_quantile(0.5);
    assert!(median >= 5_000, "{median} µs");
}

/// A stall of 400 ms delays forty of a hundred scheduled events. Measured from when the server handles them,
/// only one would be slow (coordinated omission).
#[test]
fn a_stall_counts_for_all_events_scheduled_during_it() {
    let (fanout, verdict) = open(Fault::Stall);
    assert_eq!(verdict, Verdict::default());
    let at = |quantile| fanout.latency.value_at_quantile(quantile);
    assert!(at(0.7) >= 50_000, "{} µs", at(0.7));
    assert!(at(0.99) >= 300_000, "{} µs", at(0.99));
}

#[test]
fn a_busy_load_generator_makes_an_open_loop_invalid() {
    let busy = |client: u64, server: u64| Phase {
        client: Usage { on_core: Duration::from_millis(client), ..Usage::default() },
        server: Usage { on_core: Duration::from_millis(server), ..Usage::default() },
        wall: Duration::from_secs(1),
    };
    let clean = Verdict::default();
    assert!(busy(960, 990).judge(clean, Pace::Open).is_err());
    assert!(busy(900, 10).judge(clean, Pace::Open).unwrap().marks.is_empty());
    assert!(busy(960, 990).judge(clean, Pace::Closed).unwrap().marks.is_empty());
    assert_eq!(busy(960, 900).judge(clean, Pace::Closed).unwrap().marks.len(), 1);
}

#[test]
fn compressed_events_are_decoded() {
    let mut inflater = Inflater::default();
    for sequence in [0, 1, 1, 0, 2, 40, 0] {
        let data = data(sequence, Duration::from_nanos(9), 1_000);
        assert_eq!(data.len(), 1_000);
        let mut frame = Vec::with_capacity(2_000);
        flate2::Compress::new(flate2::Compression::fast(), false)
            .compress_vec(data.as_bytes(), &mut frame, flate2::FlushCompress::Sync)
            .unwrap();
        frame.truncate(frame.len() - 4);
        let found = inflater.arrival(&frame).unwrap();
        assert_eq!((found.sequence, found.scheduled), (sequence, Duration::from_nanos(9)));
    }
    assert!(inflater.arrival(b"\0").is_err(), "without an event");
}

#[test]
fn numbers_are_found_wherever_the_data_is_in_the_message() {
    let expected = Arrival { sequence: 7, scheduled: Duration::from_nanos(1_234) };
    let data = data(7, expected.scheduled, 128);
    assert_eq!(data.len(), 128);
    let mut mark = 0;
    let first = format!(r#"{{"event":"bench","data":"{data}"}}"#);
    let other = format!(r#"{{"data":"{data}","event":"bench"}}"#);
    for text in [&first, &first, &other] {
        assert_eq!(arrival(text.as_bytes(), &mut mark), Some(expected));
    }
    assert_eq!(arrival(&first.as_bytes()[..60], &mut mark), None);
    assert_eq!(arrival(first.replace("#seq:0", "#seq:/").as_bytes(), &mut mark), None);
}

#[test]
fn frames_of_every_length_class_are_parsed() {
    for length in [0, 125, 126, 65_535, 65_536] {
        let payload = vec![b'x'; length];
        let frame = clarim_protocol::Frame::text(&payload);
        let bytes: &[u8] = frame.bytes();
        assert_eq!(first(bytes).unwrap().map(|f| f.payload.len()), Some(length));
        assert!(first(&bytes[..bytes.len() - 1]).unwrap().is_none());
    }
    assert!(first(&[0x01, 0]).is_err(), "a fragmented frame");
    assert!(first(&[&[0x81, 127][..], &[0xff; 8]].concat()).is_err(), "longer than the maximum");
}

#[test]
fn a_ledger_is_exact_for_any_order() {
    let of = |sequences: &[u64]| {
        let mut ledger = Ledger::default();
        sequences.iter().for_each(|sequence| ledger.note(*sequence));
        ledger.verdict(6)
    };
    assert!(of(&[0, 1, 2, 3, 4, 5]).is_clean());
    assert_eq!(of(&[1, 0, 2, 3, 4, 5]).disordered, 1);
    assert_eq!(of(&[5, 4, 3, 2, 1, 0]), Verdict { disordered: 5, ..Verdict::default() });
    assert_eq!(of(&[0, 0, 1, 2, 4, 4, 4]), Verdict { lost: 2, doubled: 3, ..Verdict::default() });
    assert_eq!(of(&[0, 1, 2, 3, 4, 5, 6]), Verdict { foreign: 1, ..Verdict::default() });
    assert_eq!(of(&[0, 1, 2, 3, 4, 9]), Verdict { lost: 1, foreign: 1, ..Verdict::default() });
}

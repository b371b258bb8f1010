//! Pages that name an id: they get what they have not acknowledged, keep their socket id, and are forgotten.

use std::time::Duration;

use clarim_hub::app::{App, HistoryRule};

use crate::script;

const SUBSCRIBE: &str = r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#;

/// Plays a transcript in which `EPOCH` stands for the epoch of a history that begins at once, and
/// `NAME subscribes OFFSET RECOVERED MISSED` for a subscription to `news` and its confirmation.
fn play(transcript: &str) {
    play_with(|_| {}, transcript);
}

fn play_with(change: impl FnOnce(&mut App), transcript: &str) {
    let line = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [name, "subscribes", offset, recovered, missed] => format!(
            r#"{name}> {SUBSCRIBE}
            {name}< {{"event":"pusher_internal:subscription_succeeded","channel":"news",
            "data":'{{"epoch":"EPOCH","offset":{offset},"recovered":{recovered},"missed":{missed}}}'}}"#
        ),
        [name, "gets", n] => {
            format!(r#"{name}< {{"event":"E","channel":"news","data":"{n}","offset":{n}}}"#)
        }
        ["event", n] => format!(r#"backend: event E on news data "{n}""#),
        _ => line.to_owned(),
    };
    let transcript: Vec<String> = transcript.lines().map(line).collect();
    let settings = |app: &mut App| {
        app.history = vec![HistoryRule::new("*news")];
        change(app);
    };
    script::play_with(settings, &transcript.join("\n").replace("EPOCH", "ee6b280000"));
}

#[test]
fn a_page_that_is_back_gets_what_it_has_not_acknowledged() {
    play(
        r#"
        ana connects as page p1
        ana subscribes 0 false 0
        event 1
        ana gets 1
        1 s pass
        ana< page ping
        ana acknowledges
        event 2
        ana gets 2
        ana hangs up
        event 3
        100 s pass
        ana connects as page p1 on worker 1
        ana subscribes 1 true 2
        ana gets 2
        ana gets 3
        # What was replayed is acknowledged, too.
        1 s pass
        ana< page ping
        ana acknowledges
        ana hangs up
        ana connects as page p1
        ana subscribes 3 true 0
        10 s pass
        nothing else
        "#,
    );
}

#[test]
fn other_pages_and_clients_without_a_page_get_nothing() {
    play(
        r#"
        ana connects as page p1
        ana subscribes 0 false 0
        ana hangs up
        event 1
        ben connects as page p2
        ben subscribes 1 false 0
        zoe connects
        zoe subscribes 1 false 0
        10 s pass
        nothing else
        "#,
    );
}

#[test]
fn a_page_without_a_pong_is_asked_once_and_gets_everything_again() {
    play(
        r#"
        ana connects as page p1
        ana subscribes 0 false 0
        event 1
        ana gets 1
        1 s pass
        ana< page ping
        event 2
        ana gets 2
        10 s pass
        # Pongs that reply to no request change nothing.
        ana sends a pong frame
        ana sends a pong frame 12345678
        ana sends a pong frame 123456789
        ana hangs up
        ana connects as page p1
        ana subscribes 0 true 2
        ana gets 1
        ana gets 2
        "#,
    );
}

#[test]
fn an_acknowledgement_is_a_sign_of_life_and_no_preference_for_control_frames() {
    play(
        r#"
        ana connects as page p1
        ana subscribes 0 false 0
        event 1
        ana gets 1
        1 s pass
        ana< page ping
        30 s pass
        ana acknowledges
        59 s pass
        nothing else
        1 s pass
        ana< {"event":"pusher:ping","data":{}}
        "#,
    );
}

#[test]
fn a_page_that_is_reloaded_starts_afresh() {
    play(
        r#"
        ana connects as page p1
        ana subscribes 0 false 0
        event 1
        ana gets 1
        ana closes the tab
        ana connects as page p1
        ana subscribes 1 false 0
        "#,
    );
}

#[test]
fn a_channel_that_was_left_starts_afresh() {
    play(
        r#"
        ana connects as page p1
        ana subscribes 0 false 0
        event 1
        ana gets 1
        1 s pass
        ana< page ping
        ana> {"event":"pusher:unsubscribe","data":{"channel":"news"}}
        event 2
        ana subscribes 2 false 0
        # It acknowledges what it got before it left.
        ana acknowledges
        event 3
        ana gets 3
        ana hangs up
        ana connects as page p1
        ana subscribes 2 true 1
        ana gets 3
        "#,
    );
}

#[test]
fn a_page_that_stays_away_for_too_long_is_new() {
    play(
        r#"
        ana connects as page p1
        ana subscribes 0 false 0
        event 1
        ana gets 1
        ana hangs up
        119 s pass
        event 2
        1 s pass
        ana connects as page p1
        ana subscribes 2 false 0
        "#,
    );
}

#[test]
fn a_page_learns_of_a_gap() {
    play_with(
        |app| app.history[0].messages = 1,
        r#"
        ana connects as page p1
        ana subscribes 0 false 0
        ana hangs up
        event 1
        event 2
        ana connects as page p1
        ana subscribes 2 false 0
        ana< {"event":"clarim:gap","channel":"news","data":'{"reason":"too_many","epoch":"EPOCH","offset":2}'}
        # It may not have arrived.
        ana hangs up
        ana connects as page p1
        ana subscribes 2 false 0
        ana< {"event":"clarim:gap","channel":"news","data":'{"reason":"too_many","epoch":"EPOCH","offset":2}'}
        1 s pass
        ana< page ping
        ana acknowledges
        ana hangs up
        ana connects as page p1
        ana subscribes 2 true 0
        "#,
    );
}

#[test]
fn a_position_of_the_client_comes_before_that_of_its_page() {
    play(
        r#"
        ana connects as page p1
        ana subscribes 0 false 0
        event 1
        ana gets 1
        event 2
        ana gets 2
        ana hangs up
        ana connects as page p1
        ana> {"event":"pusher:subscribe","data":{"channel":"news","since":{"epoch":"EPOCH","offset":1}}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"news",
            "data":'{"epoch":"EPOCH","offset":1,"recovered":true,"missed":1}'}
        ana gets 2
        "#,
    );
}

#[test]
fn a_page_keeps_its_socket_id() {
    play(
        r#"
        ana connects as page p1 on worker 0
        ana joins private-news
        eve connects on worker 0
        ana hangs up
        backend: event E on private-news data "1" except ana
        # In the slot of the former connection.
        zoe connects on worker 0
        ben connects as page p1 on worker 1
        ben> {"event":"pusher:subscribe","data":{"channel":"private-news","auth":"{auth as ana}"}}
        ben< {"event":"pusher_internal:subscription_succeeded","channel":"private-news",
            "data":'{"epoch":"EPOCH","offset":1,"recovered":true,"missed":0}'}
        backend: event E on private-news data "2" except ana
        backend: event E on private-news data "3" except zoe
        ben< {"event":"E","channel":"private-news","data":"3","offset":3}
        ben hangs up
        # Back in its first slot's worker, in another slot.
        joe connects as page p1 on worker 0
        joe> {"event":"pusher:subscribe","data":{"channel":"private-news","auth":"{auth as ana}"}}
        joe< {"event":"pusher_internal:subscription_succeeded","channel":"private-news",
            "data":'{"epoch":"EPOCH","offset":0,"recovered":true,"missed":1}'}
        joe< {"event":"E","channel":"private-news","data":"3","offset":3}
        backend: event E on private-news data "4" except joe
        nothing else
        "#,
    );
}

#[test]
fn of_two_live_connections_of_a_page_the_older_is_closed() {
    let closed = |name: &str| {
        format!(
            r#"{name}< {{"event":"pusher:error","data":{{"code":4200,"message":"Another connection of this page was opened"}}}}
            {name} is closed 4200 Another connection of this page was opened"#
        )
    };
    let transcript = [
        r#"
        ana connects as page p1 on worker 0
        ana subscribes 0 false 0
        event 1
        ana gets 1
        backend: event E on news data "2" except ana
        ben connects as page p1 on worker 0
        "#,
        &closed("ana"),
        r#"
        # It has another socket id; what excluded the former one is not for it.
        ben subscribes 0 true 1
        ben gets 1
        # A second tab: the two do not close each other forever.
        zoe connects as page p1 on worker 1
        zoe subscribes 0 true 2
        zoe gets 1
        zoe gets 2
        # Only the newest is the page's connection.
        event 3
        ben gets 3
        zoe gets 3
        1 s pass
        zoe< page ping
        zoe acknowledges
        ben hangs up
        10 s pass
        joe connects as page p1
        "#,
        &closed("zoe"),
        "joe subscribes 3 true 0",
    ];
    play(&transcript.join("\n"));
}

#[test]
fn a_page_id_is_no_credential() {
    play(
        r#"
        ana connects as page p1
        ana joins private-news
        ana hangs up
        backend: event E on private-news data "1"
        eve connects as page p1
        eve> {"event":"pusher:subscribe","data":{"channel":"private-news","auth":"{auth by two}"}}
        eve< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        eve< {"event":"pusher:subscription_error","channel":"private-news","data":{"type":"AuthError","error":"…","status":401}}
        nothing else
        "#,
    );
}

#[test]
fn a_page_has_no_more_channels_than_a_connection() {
    let join = |n: u32| format!("ana joins {n}.news");
    let joins = |range: std::ops::Range<u32>| range.map(join).collect::<Vec<_>>().join("\n");
    let transcript = [
        "ana connects as page p1",
        &joins(0..3),
        "ana hangs up\nana connects as page p1",
        &joins(3..5),
        "ana hangs up\nana connects as page p1",
        r#"
        backend: event E on 1.news data "1"
        backend: event E on 2.news data "1"
        ana joins 2.news
        ana< {"event":"E","channel":"2.news","data":"1","offset":1}
        # It had to make room.
        ana joins 1.news
        "#,
    ];
    play_with(|app| app.limits.channels_per_connection = 3, &transcript.join("\n"));
}

#[test]
fn many_pages_of_one_client_are_forgotten_in_time() {
    let visit = |n: u32| format!("ana connects as page {n}\nana joins news\nana hangs up\n");
    let visits: String = (0..2_000).map(visit).collect();
    play_with(|app| app.history[0].ttl = Duration::from_secs(10), &visits);
}

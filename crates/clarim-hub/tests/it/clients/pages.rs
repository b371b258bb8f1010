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
fn a_page_is_soon_asked_about_new_events() {
    play(
        r#"
        ana connects as page p1
        ana subscribes 0 false 0
        ben connects as page p2
        200 ms pass
        event 1
        ana gets 1
        event 2
        ana gets 2
        200 ms pass
        ana< page ping
        ana acknowledges
        event 3
        ana gets 3
        200 ms pass
        ana< page ping
        # One request at a time.
        event 4
        ana gets 4
        200 ms pass
        ana acknowledges
        1 s pass
        ana< page ping
        ana acknowledges
        200 ms pass
        1 s pass
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
fn a_page_without_a_pong_gets_everything_again() {
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
fn a_page_that_does_not_reply_is_asked_again() {
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
        29 s pass
        nothing else
        1 s pass
        ana< page ping
        ana acknowledges
        29 s pass
        ana hangs up
        ana connects as page p1
        ana subscribes 2 true 0
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
        29 s pass
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

/// Replaces `NAME is replaced` by what a connection gets whose page has opened another one.
fn with_replaced(transcript: &str) -> String {
    let line = |line: &str| match line.trim().strip_suffix(" is replaced") {
        Some(name) => format!(
            r#"{name}< {{"event":"pusher:error","data":{{"code":4200,"message":"Another connection of this page was opened"}}}}
            {name} is closed 4200 Another connection of this page was opened"#
        ),
        None => line.to_owned(),
    };
    transcript.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn of_two_live_connections_of_a_page_the_older_is_closed() {
    play(&with_replaced(
        r#"
        ana connects as page p1 on worker 0
        ana subscribes 0 false 0
        ana is dead
        event 1
        ana gets 1
        backend: event E on news data "2" except ana
        ben connects as page p1 on worker 0
        ana is replaced
        # It has another socket id; what excluded the former one is not for it.
        ben subscribes 0 true 1
        ben gets 1
        1 s pass
        ben< page ping
        ben acknowledges
        backend: event E on news data "3" except ben
        5 s pass
        ben< page ping
        ben acknowledges
        ben is dead
        backend: event E on news data "4" except ben
        zoe connects as page p1 on worker 1
        ben is replaced
        zoe subscribes 4 true 0
        zoe hangs up
        joe connects as page p1 on worker 1
        joe subscribes 4 true 0
        "#,
    ));
}

#[test]
fn all_former_socket_ids_of_a_page_are_known() {
    play(&with_replaced(
        r#"
        ana connects as page p1
        ana subscribes 0 false 0
        event 1
        ana gets 1
        ana is dead
        backend: event E on news data "2" except ana
        ben connects as page p1
        ana is replaced
        5 s pass
        ben is dead
        backend: event E on news data "3" except ben
        zoe connects as page p1
        ben is replaced
        5 s pass
        zoe hangs up
        joe connects as page p1
        joe subscribes 0 true 1
        joe gets 1
        "#,
    ));
}

#[test]
fn two_tabs_with_one_page_id_stay_open_and_miss_nothing() {
    play(&with_replaced(
        r#"
        ana connects as page p1 on worker 0
        ana subscribes 0 false 0
        event 1
        ana gets 1
        1 s pass
        ana< page ping
        ana acknowledges
        # The copy of a tab has its id. The first one replies to the close frame.
        ben connects as page p1 on worker 1
        ana is replaced
        ben subscribes 1 true 0
        event 2
        ben gets 2
        backend: event E on news data "3" except ben
        60 s pass
        ben< {"event":"pusher:ping","data":{}}
        # What the other tab has acknowledged, or sent, does not count.
        joe connects as page p1 on worker 0
        joe subscribes 1 true 2
        joe gets 2
        joe gets 3
        event 4
        ben gets 4
        joe gets 4
        ben closes the tab
        joe hangs up
        event 5
        zoe connects as page p1
        zoe subscribes 1 true 4
        zoe gets 2
        zoe gets 3
        zoe gets 4
        zoe gets 5
        # A channel that is not known for all tabs.
        zoe> {"event":"pusher:subscribe","data":{"channel":"good-news"}}
        zoe< {"event":"pusher_internal:subscription_succeeded","channel":"good-news",
            "data":'{"epoch":"…","offset":0,"recovered":false,"missed":0}'}
        zoe< {"event":"clarim:gap","channel":"good-news","data":'{"reason":"unknown","epoch":"…","offset":0}'}
        "#,
    ));
}

#[test]
fn a_second_tab_is_noticed_by_its_pong() {
    play(&with_replaced(
        r#"
        ana connects as page p1 on worker 0
        ana subscribes 0 false 0
        ana is dead
        ben connects as page p1 on worker 1
        ana is replaced
        ben subscribes 0 true 0
        event 1
        ben gets 1
        # Within five seconds, this may be the first tab. None is closed before that is known.
        zoe connects as page p1 on worker 0
        zoe subscribes 0 true 1
        zoe gets 1
        1 s pass
        ben< page ping
        zoe< page ping
        zoe acknowledges
        ben acknowledges
        event 2
        ben gets 2
        zoe gets 2
        10 s pass
        ben hangs up
        zoe hangs up
        joe connects as page p1
        joe subscribes 0 true 2
        joe gets 1
        joe gets 2
        "#,
    ));
}

#[test]
fn a_page_that_is_back_and_not_known_learns_of_a_gap() {
    play(
        r#"
        # It was here before a restart, or on another node, or was forgotten.
        ana connects as page p1.2
        ana subscribes 0 false 0
        ana< {"event":"clarim:gap","channel":"news","data":'{"reason":"unknown","epoch":"EPOCH","offset":0}'}
        # It may not have arrived.
        ana hangs up
        event 1
        ana connects as page p1.3
        ana subscribes 1 false 0
        ana< {"event":"clarim:gap","channel":"news","data":'{"reason":"unknown","epoch":"EPOCH","offset":1}'}
        event 2
        ana gets 2
        1 s pass
        ana< page ping
        ana acknowledges
        ana hangs up
        event 3
        ana connects as page p1.4
        ana subscribes 2 true 1
        ana gets 3
        # Another tab with the same id.
        ben connects as page p1.1
        ben subscribes 2 true 1
        ben gets 3
        event 4
        ana gets 4
        ben gets 4
        "#,
    );
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
fn a_page_with_too_many_channels_forgets_those_that_it_has_left_and_tells() {
    let join = |n: u32| format!("ana joins {n}.news");
    let joins = |range: std::ops::Range<u32>| range.map(join).collect::<Vec<_>>().join("\n");
    let transcript = [
        "ana connects as page p1",
        &joins(0..3),
        "ana hangs up\nana connects as page p1",
        &joins(3..6),
        "ana hangs up\nana connects as page p1",
        &joins(5..7),
        "ana hangs up\nana connects as page p1",
        r#"
        backend: event E on 1.news data "1"
        backend: event E on 5.news data "1"
        ana joins 5.news
        ana< {"event":"E","channel":"5.news","data":"1","offset":1}
        # It had to make room.
        ana joins 1.news
        ana< {"event":"clarim:gap","channel":"1.news","data":'{"reason":"unknown","epoch":"…","offset":1}'}
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

//! Channels with history: offsets, recovery, gaps, rewind, and members that are held.

use std::time::Duration;

use clarim_hub::app::{App, HistoryRule};

use crate::script;

/// Plays a transcript in which `EPOCH` stands for the epoch of a history that begins at once.
fn play(settings: impl FnOnce(&mut App), transcript: &str) {
    script::play_with(settings, &transcript.replace("EPOCH", "ee6b280000"));
}

/// Keeps events of `news` for two minutes.
fn keeps_news(change: impl FnOnce(&mut HistoryRule)) -> impl FnOnce(&mut App) {
    move |app| {
        let mut rule = HistoryRule::new("*news");
        change(&mut rule);
        app.history = vec![rule];
    }
}

#[test]
fn a_client_that_is_back_gets_what_it_missed() {
    play(
        keeps_news(|_| {}),
        r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"news"}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"news",
            "data":'{"epoch":"EPOCH","offset":0,"recovered":false,"missed":0}'}
        backend: event E on news data "1"
        ana< {"event":"E","channel":"news","data":"1","offset":1}
        ana hangs up
        backend: event E on news data "2"
        backend: event F on news data '{"n":3}'
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"news","since":{"epoch":"EPOCH","offset":1}}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"news",
            "data":'{"epoch":"EPOCH","offset":1,"recovered":true,"missed":2}'}
        ana< {"event":"E","channel":"news","data":"2","offset":2}
        ana< {"event":"F","channel":"news","data":'{"n":3}',"offset":3}
        backend: event E on news data "4"
        ana< {"event":"E","channel":"news","data":"4","offset":4}
        "#,
    );
}

#[test]
fn other_channels_are_as_without_history() {
    play(
        keeps_news(|_| {}),
        r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"chat","since":{"epoch":"EPOCH","offset":1}}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"chat","data":'{}'}
        backend: event E on chat data "1"
        ana< {"event":"E","channel":"chat","data":"1"}
        "#,
    );
}

#[test]
fn a_position_that_cannot_be_recovered_is_a_gap() {
    let since = |since: &str, last: u32, reason: &str| {
        format!(
            r#"
            ben connects
            ben> {{"event":"pusher:subscribe","data":{{"channel":"news","since":{since}}}}}
            ben< {{"event":"pusher_internal:subscription_succeeded","channel":"news",
                "data":'{{"epoch":"EPOCH","offset":{last},"recovered":false,"missed":0}}'}}
            ben< {{"event":"clarim:gap","channel":"news","data":'{{"reason":"{reason}","epoch":"EPOCH","offset":{last}}}'}}
            ben hangs up
            "#
        )
    };
    let transcript = [
        r#"
        backend: event E on news data "1"
        backend: event E on news data "2"
        backend: event E on news data "3"
        backend: event E on news data "4"
        "#,
        &since(r#"{"epoch":"2","offset":1}"#, 4, "epoch"),
        &since(r#"{"epoch":"EPOCH","offset":5}"#, 4, "unknown"),
        &since(r#"{"epoch":"EPOCH","offset":18446744073709551615}"#, 4, "unknown"),
        &since(r#"{"epoch":"EPOCH","offset":-1}"#, 4, "unknown"),
        &since(r#"[]"#, 4, "unknown"),
        &since(r#"{"epoch":"EPOCH","offset":0}"#, 4, "too_many"),
        "100 s pass",
        r#"backend: event E on news data "5""#,
        "100 s pass",
        &since(r#"{"epoch":"EPOCH","offset":2}"#, 5, "expired"),
    ];
    play(keeps_news(|rule| rule.messages = 3), &transcript.join("\n"));
}

#[test]
fn the_history_ends_when_it_has_not_been_used_for_its_time() {
    play(
        keeps_news(|_| {}),
        r#"
        backend: event E on news data "1"
        100 s pass
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"news","since":{"epoch":"EPOCH","offset":1}}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"news",
            "data":'{"epoch":"EPOCH","offset":1,"recovered":true,"missed":0}'}
        ana hangs up
        119 s pass
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"news","since":{"epoch":"EPOCH","offset":1}}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"news",
            "data":'{"epoch":"EPOCH","offset":1,"recovered":true,"missed":0}'}
        ana hangs up
        240 s pass
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"news","since":{"epoch":"EPOCH","offset":1}}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"news",
            "data":'{"epoch":"…","offset":0,"recovered":false,"missed":0}'}
        ana< {"event":"clarim:gap","channel":"news","data":'{"reason":"epoch","epoch":"…","offset":0}'}
        "#,
    );
}

#[test]
fn a_new_subscriber_gets_the_last_events_of_a_channel_with_rewind() {
    play(
        keeps_news(|rule| rule.rewind = 2),
        r#"
        backend: event E on news data "1"
        backend: event E on news data "2"
        backend: event E on news data "3"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"news"}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"news",
            "data":'{"epoch":"EPOCH","offset":1,"recovered":false,"missed":2}'}
        ana< {"event":"E","channel":"news","data":"2","offset":2}
        ana< {"event":"E","channel":"news","data":"3","offset":3}
        "#,
    );
}

#[test]
fn an_event_is_not_replayed_to_the_client_that_caused_it() {
    play(
        keeps_news(|_| {}),
        r#"
        ana connects
        ana joins news
        backend: event E on news data "1" except ana
        backend: event E on news data "2"
        ana< {"event":"E","channel":"news","data":"2","offset":2}
        ben connects
        ben> {"event":"pusher:subscribe","data":{"channel":"news",
            "since":{"epoch":"EPOCH","offset":0,"socket_id":"{socket_id of ana}"}}}
        ben< {"event":"pusher_internal:subscription_succeeded","channel":"news",
            "data":'{"epoch":"EPOCH","offset":0,"recovered":true,"missed":1}'}
        ben< {"event":"E","channel":"news","data":"2","offset":2}
        "#,
    );
}

#[test]
fn a_cache_channel_with_history_repeats_its_last_event_only_to_new_subscribers() {
    play(
        |app| app.history = vec![HistoryRule::new("cache-*")],
        r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"cache-x"}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"cache-x",
            "data":'{"epoch":"EPOCH","offset":0,"recovered":false,"missed":0}'}
        ana< {"event":"pusher:cache_miss","channel":"cache-x"}
        backend: event E on cache-x data "1"
        ana< {"event":"E","channel":"cache-x","data":"1","offset":1}
        ben connects
        ben> {"event":"pusher:subscribe","data":{"channel":"cache-x"}}
        ben< {"event":"pusher_internal:subscription_succeeded","channel":"cache-x",
            "data":'{"epoch":"EPOCH","offset":1,"recovered":false,"missed":0}'}
        ben< {"event":"E","channel":"cache-x","data":"1"}
        zoe connects
        zoe> {"event":"pusher:subscribe","data":{"channel":"cache-x","since":{"epoch":"EPOCH","offset":1}}}
        zoe< {"event":"pusher_internal:subscription_succeeded","channel":"cache-x",
            "data":'{"epoch":"EPOCH","offset":1,"recovered":true,"missed":0}'}
        "#,
    );
}

#[test]
fn client_events_are_kept_if_the_rule_says_so() {
    for is_kept in [false, true] {
        let offset = if is_kept { r#","offset":1"# } else { "" };
        let missed = u8::from(is_kept);
        let replay = if is_kept {
            r#"zoe< {"event":"client-x","channel":"private-news","data":"1","offset":1}"#
        } else {
            ""
        };
        play(
            keeps_news(|rule| rule.client_events = is_kept),
            &format!(
                r#"
                ana connects
                ana joins private-news
                ben connects
                ben joins private-news
                ana> {{"event":"client-x","channel":"private-news","data":"1"}}
                ben< {{"event":"client-x","channel":"private-news","data":"1"{offset}}}
                zoe connects
                zoe> {{"event":"pusher:subscribe","data":{{"channel":"private-news",
                    "auth":"{{auth}}","since":{{"epoch":"EPOCH","offset":0}}}}}}
                zoe< {{"event":"pusher_internal:subscription_succeeded","channel":"private-news",
                    "data":'{{"epoch":"EPOCH","offset":0,"recovered":true,"missed":{missed}}}'}}
                {replay}
                "#
            ),
        );
    }
}

#[test]
fn a_member_whose_connection_breaks_stays_for_the_grace_time() {
    let grace = |rule: &mut HistoryRule| rule.presence_grace = Duration::from_secs(15);
    play(
        keeps_news(grace),
        r#"
        ana connects
        ana joins presence-news as {"user_id":"a"}
        ben connects
        ben joins presence-news as {"user_id":"b"}
        ana< {"event":"pusher_internal:member_added","channel":"presence-news",
            "data":'{"user_id":"b","user_info":null}'}
        # Back in time: nobody hears of it.
        ben hangs up
        10 s pass
        ben connects
        ben joins presence-news as {"user_id":"b"}
        # A second time: the first grace time does not end the second.
        ben hangs up
        14 s pass
        ben connects
        ben joins presence-news as {"user_id":"b"}
        16 s pass
        channel presence-news has 2 subscriptions of 2 users: a b
        # A closed tab leaves at once.
        ben closes the tab
        ana< {"event":"pusher_internal:member_removed","channel":"presence-news",
            "data":'{"user_id":"b"}'}
        # Not back in time.
        ben connects
        ben joins presence-news as {"user_id":"b"}
        ana< {"event":"pusher_internal:member_added","channel":"presence-news",
            "data":'{"user_id":"b","user_info":null}'}
        ben hangs up
        14 s pass
        nothing else
        1 s pass
        ana< {"event":"pusher_internal:member_removed","channel":"presence-news",
            "data":'{"user_id":"b"}'}
        "#,
    );
}

#[test]
fn an_app_over_its_limit_loses_the_oldest_events() {
    let event = format!(r#"backend: event E on news data "{}""#, "x".repeat(200_000));
    let mut transcript = vec![event; 30].join("\n");
    transcript.push_str(
        r#"
        ben connects
        ben> {"event":"pusher:subscribe","data":{"channel":"news","since":{"epoch":"EPOCH","offset":0}}}
        ben< {"event":"pusher_internal:subscription_succeeded","channel":"news",
            "data":'{"epoch":"EPOCH","offset":30,"recovered":false,"missed":0}'}
        ben< {"event":"clarim:gap","channel":"news","data":'{"reason":"too_many","epoch":"…","offset":30}'}
        "#,
    );
    play(keeps_news(|rule| rule.bytes = usize::MAX / 2), &transcript);
}

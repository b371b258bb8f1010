//! The bound on messages of a connection.

use std::time::Duration;

use clarim_hub::app::{App, RateLimit};

use crate::script::play_with;

fn two_in_ten_seconds(terminate: bool) -> impl FnOnce(&mut App) {
    move |app| {
        let decay = Duration::from_secs(10);
        let mut limit = RateLimit::new(2, decay);
        limit.terminate = terminate;
        app.rate_limit = Some(limit);
    }
}

#[test]
fn messages_over_the_limit_are_rejected_until_the_window_ends() {
    play_with(
        two_in_ten_seconds(false),
        r#"
        ana connects
        ben connects
        ana joins private-x
        ben joins private-x
        ana> {"event":"client-e","channel":"private-x","data":1}
        ben< {"event":"client-e","channel":"private-x","data":'1'}
        ana> {"event":"client-e","channel":"private-x","data":2}
        ana< {"event":"pusher:error","data":{"code":4301,"message":"Rate limit exceeded"}}
        # The next one gets no reply, not even an error.
        ana> {"event":"pusher:ping"}
        nothing else
        # Each connection has its own.
        ben> {"event":"pusher:ping"}
        ben< {"event":"pusher:pong","data":{}}
        9 s pass
        ana> {"event":"pusher:ping"}
        nothing else
        1 s pass
        ana> {"event":"pusher:ping"}
        ana< {"event":"pusher:pong","data":{}}
        "#,
    );
}

#[test]
fn invalid_messages_count_too() {
    play_with(
        two_in_ten_seconds(false),
        r#"
        ana connects
        ana> {
        ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        ana> {
        ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        ana> {
        ana< {"event":"pusher:error","data":{"code":4301,"message":"Rate limit exceeded"}}
        "#,
    );
}

#[test]
fn ping_frames_count_too() {
    play_with(
        two_in_ten_seconds(false),
        r#"
        ana connects
        ana sends a ping frame
        ana sends a ping frame
        nothing else
        ana sends a ping frame
        ana< {"event":"pusher:error","data":{"code":4301,"message":"Rate limit exceeded"}}
        ana sends a ping frame
        # Pongs reply to pings of the server.
        ana sends a pong frame
        nothing else
        10 s pass
        ana> {"event":"pusher:ping"}
        ana< {"event":"pusher:pong","data":{}}
        "#,
    );
}

#[test]
fn a_rejected_message_still_counts_as_activity() {
    play_with(
        |app| {
            let decay = Duration::from_secs(600);
            app.rate_limit = Some(RateLimit::new(0, decay));
        },
        r#"
        ana connects
        59 s pass
        ana> {"event":"pusher:pong"}
        ana< {"event":"pusher:error","data":{"code":4301,"message":"Rate limit exceeded"}}
        59 s pass
        nothing else
        "#,
    );
}

#[test]
fn connections_over_the_limit_can_be_closed_with_a_code_that_reconnects_later() {
    play_with(
        two_in_ten_seconds(true),
        r#"
        ben connects
        ben joins presence-r as {"user_id":"b"}
        ana connects
        ana joins presence-r as {"user_id":"a"}
        ben< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":"a","user_info":null}'}
        ana> {"event":"pusher:pong"}
        ana> {"event":"pusher:pong"}
        ana< {"event":"pusher:error","data":{"code":4301,"message":"Rate limit exceeded"}}
        ana is closed 4100 Rate limit exceeded
        ben< {"event":"pusher_internal:member_removed","channel":"presence-r",
            "data":'{"user_id":"a"}'}
        nothing else
        "#,
    );
}

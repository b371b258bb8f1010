//! Signs of life.

use std::time::Duration;

use crate::script::{play, play_with};

#[test]
fn a_ping_is_answered() {
    play(
        r#"
        ana connects
        ana> {"event":"pusher:ping","data":{}}
        ana< {"event":"pusher:pong","data":{}}
        ana> {"event":"pusher:ping"}
        ana< {"event":"pusher:pong","data":{}}
        ana> {"event":"pusher:pong","data":{}}
        nothing else
        "#,
    );
}

#[test]
fn a_silent_connection_is_pinged_once_and_then_closed() {
    play(
        r#"
        ana connects
        ben connects
        ana joins presence-r as {"user_id":"a"}
        ben joins presence-r as {"user_id":"b"}
        ana< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":"b","user_info":null}'}
        59 s pass
        nothing else
        1 s pass
        ana< {"event":"pusher:ping","data":{}}
        ben< {"event":"pusher:ping","data":{}}
        29 s pass
        ben> {"event":"pusher:pong","data":{}}
        nothing else
        1 s pass
        ana< {"event":"pusher:error",
            "data":{"code":4201,"message":"Pong reply not received in time"}}
        ana is closed 4201 Pong reply not received in time
        ben< {"event":"pusher_internal:member_removed","channel":"presence-r",
            "data":'{"user_id":"a"}'}
        nothing else
        "#,
    );
}

#[test]
fn a_connection_without_subscriptions_is_pinged_too() {
    play(
        r#"
        ana connects
        60 s pass
        ana< {"event":"pusher:ping","data":{}}
        30 s pass
        ana< {"event":"pusher:error","data":{"code":4201,"message":"…"}}
        ana is closed 4201 Pong reply not received in time
        "#,
    );
}

#[test]
fn any_message_counts_as_activity() {
    for message in [
        r#"ana> {"event":"pusher:pong"}"#,
        r#"ana> {"event":"client-e","channel":"private-x","data":1}"#,
        r#"ana> {"event":"pusher:unsubscribe","data":{"channel":"nowhere"}}"#,
        "ana sends a ping frame",
    ] {
        let transcript = r#"
            ana connects
            ana joins private-x
            59 s pass
            MESSAGE
            59 s pass
            nothing else
        "#
        .replace("MESSAGE", message);
        play(&transcript);
    }
}

#[test]
fn deliveries_do_not_count_as_activity() {
    play(
        r#"
        ana connects
        ana joins news
        59 s pass
        backend: event E on news data "1"
        ana< {"event":"E","channel":"news","data":"1"}
        1 s pass
        ana< {"event":"pusher:ping","data":{}}
        "#,
    );
}

#[test]
fn a_client_that_uses_control_frames_is_pinged_with_them() {
    play(
        r#"
        ana connects
        ana sends a ping frame
        60 s pass
        ana< ping frame
        ana sends a ping frame
        60 s pass
        ana< ping frame
        30 s pass
        ana< {"event":"pusher:error","data":{"code":4201,"message":"…"}}
        ana is closed 4201 Pong reply not received in time
        "#,
    );
}

#[test]
fn the_pong_frame_that_replies_to_a_ping_is_a_sign_of_life_and_no_preference() {
    play(
        r#"
        ana connects
        60 s pass
        ana< {"event":"pusher:ping","data":{}}
        29 s pass
        ana sends a pong frame
        59 s pass
        nothing else
        1 s pass
        ana< {"event":"pusher:ping","data":{}}
        29 s pass
        ana sends a pong frame
        30 s pass
        nothing else
        "#,
    );
}

#[test]
fn an_app_may_close_connections_that_are_not_authorized_in_time() {
    play_with(
        |app| app.authorization_timeout = Some(Duration::from_secs(10)),
        r#"
        ana connects
        ben connects
        cleo connects
        dora connects
        ana joins news
        ben joins private-x
        cleo signs in as {"id":"cleo"}
        dora joins presence-r as {"user_id":"d"}
        9 s pass
        # Authorized once is enough.
        ben> {"event":"pusher:unsubscribe","data":{"channel":"private-x"}}
        nothing else
        1 s pass
        ana< {"event":"pusher:error",
            "data":{"code":4009,"message":"Connection not authorized within timeout"}}
        ana is closed 4009 Connection not authorized within timeout
        20 s pass
        nothing else
        "#,
    );
}

#[test]
fn the_times_are_those_of_the_app() {
    play_with(
        |app| {
            app.ping_interval = Duration::from_secs(10);
            app.activity_timeout = Duration::from_secs(5);
        },
        r#"
        ana connects
        eve connects to two
        10 s pass
        ana< {"event":"pusher:ping","data":{}}
        5 s pass
        ana< {"event":"pusher:error","data":{"code":4201,"message":"…"}}
        ana is closed 4201 Pong reply not received in time
        nothing else
        "#,
    );
}

#[test]
fn a_connection_has_the_whole_timeout_to_reply_to_a_late_ping() {
    play(
        r#"
        ana connects
        a stall of 200 s
        ana< {"event":"pusher:ping","data":{}}
        29 s pass
        ana> {"event":"pusher:pong"}
        59 s pass
        nothing else
        1 s pass
        ana< {"event":"pusher:ping","data":{}}
        30 s pass
        ana< {"event":"pusher:error","data":{"code":4201,"message":"…"}}
        ana is closed 4201 Pong reply not received in time
        "#,
    );
}

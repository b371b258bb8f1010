//! Apps know nothing of each other, and each has its own bounds.

use crate::script::{play, play_with};

#[test]
fn apps_share_no_channel() {
    play(
        r#"
        ana connects on worker 0
        eve connects to two
        ana joins presence-r as {"user_id":"a"}
        eve> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
            "channel_data":'{"user_id":"e"}'}}
        eve< {"event":"pusher_internal:subscription_succeeded","channel":"presence-r",
            "data":'{"presence":{"count":1,"ids":["e"],"hash":{"e":null}}}'}
        backend: event E on presence-r data "one"
        ana< {"event":"E","channel":"presence-r","data":"one"}
        backend of two: event E on presence-r data "two"
        eve< {"event":"E","channel":"presence-r","data":"two"}
        eve> {"event":"client-e","channel":"presence-r","data":1}
        nothing else
        channel presence-r has 1 subscriptions of 1 users: a
        "#,
    );
}

#[test]
fn apps_share_no_cache() {
    play(
        r#"
        backend of two: event E on cache-x data "two"
        ana connects
        ana joins cache-x
        ana< {"event":"pusher:cache_miss","channel":"cache-x"}
        "#,
    );
}

#[test]
fn apps_share_no_users() {
    play(
        r#"
        ana connects
        ana signs in as {"id":"a","watchlist":["b"]}
        ana< {"event":"pusher_internal:watchlist_events",
            "data":'{"events":[{"name":"offline","user_ids":["b"]}]}'}
        eve connects to two
        eve signs in as {"id":"b"}
        backend of two: terminate a
        nothing else
        "#,
    );
}

#[test]
fn a_signature_of_one_app_is_invalid_for_another() {
    play(
        r#"
        eve connects to two
        eve> {"event":"pusher:subscribe","data":{"channel":"private-x","auth":"{auth by one}"}}
        eve< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        eve< {"event":"pusher:subscription_error","channel":"private-x",
            "data":{"type":"AuthError","error":"…","status":401}}
        eve> {"event":"pusher:subscribe","data":{"channel":"private-x","auth":"{auth by two}"}}
        eve< {"event":"pusher_internal:subscription_succeeded","channel":"private-x","data":'{}'}
        "#,
    );
}

#[test]
fn an_app_has_a_maximum_number_of_connections() {
    play_with(
        |app| app.limits.connections = Some(2),
        r#"
        ana connects on worker 0
        ben connects on worker 1
        cleo connects
        cleo is refused 4004 Application is over connection quota
        eve connects to two
        # A freed slot can be used again.
        ana hangs up
        dora connects
        finn connects
        finn is refused 4004 Application is over connection quota
        "#,
    );
}

#[test]
fn a_closed_connection_frees_its_slot() {
    play_with(
        |app| app.limits.connections = Some(1),
        r#"
        ana connects
        90 s pass
        ana< {"event":"pusher:ping","data":{}}
        ana< {"event":"pusher:error","data":{"code":4201,"message":"…"}}
        ana is closed 4201 Pong reply not received in time
        ben connects
        nothing else
        "#,
    );
}

//! Sign-in, channels of users, watchlists, and closing all connections of a user.

use crate::script::{play, play_with};

#[test]
fn a_sign_in_is_confirmed_with_the_same_text() {
    play(
        r#"
        ana connects
        ana> {"event":"pusher:signin","data":{"auth":"{auth}",
            "user_data":'{"id":"a","user_info":{"name":"Ana"}}'}}
        ana< {"event":"pusher:signin_success",
            "data":{"user_data":'{"id":"a","user_info":{"name":"Ana"}}'}}
        nothing else
        "#,
    );
}

#[test]
fn a_sign_in_needs_the_right_signature() {
    for auth in ["", "key-one:00", "{auth by two}", "{auth as ben}"] {
        let transcript = r##"
            ben connects
            ana connects
            ana> {"event":"pusher:signin","data":{"auth":"AUTH","user_data":'{"id":"a"}'}}
            ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
            ana> {"event":"pusher:subscribe","data":{"channel":"#server-to-user-a"}}
            ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
            ana< {"event":"pusher:subscription_error","channel":"#server-to-user-a",
                "data":{"type":"AuthError","error":"…","status":401}}
            nothing else
        "##
        .replace("AUTH\"", &format!("{auth}\""));
        play(&transcript);
    }
}

#[test]
fn user_data_must_name_a_user() {
    for data in ["{}", r#"{"id":""}"#, r#"{"id":null}"#, r#"{"id":"a","watchlist":[{}]}"#] {
        let transcript = r#"
            ana connects
            ana> {"event":"pusher:signin","data":{"auth":"{auth}","user_data":'DATA'}}
            ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
            nothing else
        "#
        .replace("DATA", data);
        play(&transcript);
    }
}

#[test]
fn user_data_has_a_maximum_length() {
    play_with(
        |app| app.limits.presence_member_bytes = 11,
        r#"
        ana connects
        ana signs in as {"id":"ab"}
        ben connects
        ben> {"event":"pusher:signin","data":{"auth":"{auth}","user_data":'{"id":"abc"}'}}
        ben< {"event":"pusher:error",
            "data":{"code":null,"message":"user_data has 12 bytes, the maximum is 11"}}
        "#,
    );
}

#[test]
fn a_connection_signs_in_as_one_user() {
    play(
        r##"
        ana connects
        ana signs in as {"id":"a"}
        ana signs in as {"id":"a"}
        ana> {"event":"pusher:signin","data":{"auth":"{auth}","user_data":'{"id":"b"}'}}
        ana< {"event":"pusher:error","data":{"code":null,
            "message":"The connection is signed in as another user already"}}
        ana joins #server-to-user-a
        "##,
    );
}

#[test]
fn the_channel_of_a_user_is_for_its_own_connections() {
    play(
        r##"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"#server-to-user-a","auth":"{auth}"}}
        ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        ana< {"event":"pusher:subscription_error","channel":"#server-to-user-a",
            "data":{"type":"AuthError","status":401,
            "error":"This channel is for connections that are signed in as its user"}}
        ana signs in as {"id":"a"}
        ana> {"event":"pusher:subscribe","data":{"channel":"#server-to-user-a"}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"#server-to-user-a",
            "data":'{}'}
        ana> {"event":"pusher:subscribe","data":{"channel":"#server-to-user-b"}}
        ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        ana< {"event":"pusher:subscription_error","channel":"#server-to-user-b",
            "data":{"type":"AuthError","error":"…","status":401}}
        backend: event E on #server-to-user-a data '{"hi":1}'
        ana< {"event":"E","channel":"#server-to-user-a","data":'{"hi":1}'}
        nothing else
        "##,
    );
}

#[test]
fn an_id_that_is_a_number_has_the_same_channel() {
    play(
        r##"
        ana connects
        ana signs in as {"id":7}
        ana joins #server-to-user-7
        "##,
    );
}

#[test]
fn watchers_are_notified_of_the_first_and_the_last_connection() {
    play(
        r#"
        ben connects
        ben signs in as {"id":"b"}
        ana connects
        ana> {"event":"pusher:signin","data":{"auth":"{auth}",
            "user_data":'{"id":"a","watchlist":["b","c"]}'}}
        ana< {"event":"pusher:signin_success",
            "data":{"user_data":'{"id":"a","watchlist":["b","c"]}'}}
        ana< {"event":"pusher_internal:watchlist_events","data":'{"events":[
            {"name":"online","user_ids":["b"]},
            {"name":"offline","user_ids":["c"]}]}'}
        nothing else
        cleo connects
        cleo signs in as {"id":"c"}
        ana< {"event":"pusher_internal:watchlist_events",
            "data":'{"events":[{"name":"online","user_ids":["c"]}]}'}
        tab connects
        tab signs in as {"id":"c"}
        cleo hangs up
        nothing else
        tab hangs up
        ana< {"event":"pusher_internal:watchlist_events",
            "data":'{"events":[{"name":"offline","user_ids":["c"]}]}'}
        ana hangs up
        ben hangs up
        nothing else
        "#,
    );
}

#[test]
fn signing_in_again_does_not_duplicate_watchers() {
    play(
        r#"
        ana connects
        ana signs in as {"id":"a","watchlist":["b"]}
        ana< {"event":"pusher_internal:watchlist_events",
            "data":'{"events":[{"name":"offline","user_ids":["b"]}]}'}
        ana signs in as {"id":"a","watchlist":["b"]}
        ben connects
        ben signs in as {"id":"b"}
        ana< {"event":"pusher_internal:watchlist_events",
            "data":'{"events":[{"name":"online","user_ids":["b"]}]}'}
        nothing else
        "#,
    );
}

#[test]
fn a_user_may_watch_itself() {
    play(
        r#"
        ana connects
        ana signs in as {"id":"a","watchlist":["a"]}
        ana< {"event":"pusher_internal:watchlist_events",
            "data":'{"events":[{"name":"offline","user_ids":["a"]}]}'}
        ana< {"event":"pusher_internal:watchlist_events",
            "data":'{"events":[{"name":"online","user_ids":["a"]}]}'}
        "#,
    );
}

#[test]
fn a_watchlist_is_cut_at_a_hundred_users() {
    let watchlist: Vec<u32> = (0..101).collect();
    let transcript = r#"
        ana connects
        ana signs in as {"id":"a","watchlist":WATCHLIST}
        ana< {"event":"pusher:error","data":{"code":4302,
            "message":"The watchlist is longer than 100 users; those beyond are ignored"}}
        ana< {"event":"pusher_internal:watchlist_events","data":"…"}
        last connects
        last signs in as {"id":99}
        ana< {"event":"pusher_internal:watchlist_events",
            "data":'{"events":[{"name":"online","user_ids":["99"]}]}'}
        beyond connects
        beyond signs in as {"id":100}
        nothing else
    "#
    .replace("WATCHLIST", &format!("{watchlist:?}").replace(' ', ""));
    play(&transcript);
}

#[test]
fn terminating_a_user_closes_all_connections_of_the_user() {
    play(
        r#"
        ana connects
        ana signs in as {"id":"a"}
        member connects
        member joins presence-r as {"user_id":"a"}
        other connects
        other joins presence-r as {"user_id":"b"}
        member< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":"b","user_info":null}'}
        stranger connects
        namesake connects to two
        namesake signs in as {"id":"a"}
        backend: terminate a
        ana< {"event":"pusher:error",
            "data":{"code":4009,"message":"Terminated by the application"}}
        ana is closed 4009 Terminated by the application
        member< {"event":"pusher:error",
            "data":{"code":4009,"message":"Terminated by the application"}}
        member is closed 4009 Terminated by the application
        other< {"event":"pusher_internal:member_removed","channel":"presence-r",
            "data":'{"user_id":"a"}'}
        nothing else
        channel presence-r has 1 subscriptions of 1 users: b
        "#,
    );
}

#[test]
fn a_closing_connection_gets_nothing_more() {
    play(
        r#"
        ana connects on worker 0
        ana joins presence-r as {"user_id":"a"}
        workers wait
        backend: terminate a
        backend: event E on presence-r data "1"
        worker 0 runs
        ana< {"event":"pusher:error","data":{"code":4009,"message":"…"}}
        ana is closed 4009 Terminated by the application
        nothing else
        "#,
    );
}

//! Presence channels: each user is one member, announced once.

use crate::script::{play, play_with};

#[test]
fn members_get_the_member_list_and_every_join_and_leave() {
    play(
        r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
            "channel_data":'{"user_id":"1","user_info":{"name":"Ana"}}'}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"presence-r",
            "data":'{"presence":{"count":1,"ids":["1"],"hash":{"1":{"name":"Ana"}}}}'}
        ben connects
        ben> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
            "channel_data":'{"user_id":"2","user_info":{"name":"Ben"}}'}}
        ana< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":"2","user_info":{"name":"Ben"}}'}
        ben< {"event":"pusher_internal:subscription_succeeded","channel":"presence-r",
            "data":'{"presence":{"count":2,"ids":["1","2"],
            "hash":{"1":{"name":"Ana"},"2":{"name":"Ben"}}}}'}
        nothing else
        channel presence-r has 2 subscriptions of 2 users: 1 2
        ana> {"event":"pusher:unsubscribe","data":{"channel":"presence-r"}}
        ben< {"event":"pusher_internal:member_removed","channel":"presence-r",
            "data":'{"user_id":"1"}'}
        nothing else
        ben hangs up
        channel presence-r has nothing
        "#,
    );
}

#[test]
fn numeric_ids_stay_numbers_everywhere() {
    play(
        r#"
        ana connects
        ana joins presence-r as {"user_id":1}
        ben connects
        ben> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
            "channel_data":'{"user_id":2,"user_info":[]}'}}
        ana< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":2,"user_info":[]}'}
        ben< {"event":"pusher_internal:subscription_succeeded","channel":"presence-r",
            "data":'{"presence":{"count":2,"ids":[1,2],"hash":{"1":null,"2":[]}}}'}
        ben> {"event":"client-hi","channel":"presence-r","data":{}}
        ana< {"event":"client-hi","channel":"presence-r","data":'{}',"user_id":2}
        ben hangs up
        ana< {"event":"pusher_internal:member_removed","channel":"presence-r",
            "data":'{"user_id":2}'}
        "#,
    );
}

#[test]
fn a_user_is_one_member_whether_its_id_is_a_number_or_a_text() {
    play(
        r#"
        ana connects
        ana joins presence-r as {"user_id":1}
        tab connects
        tab> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
            "channel_data":'{"user_id":"1"}'}}
        tab< {"event":"pusher_internal:subscription_succeeded","channel":"presence-r",
            "data":'{"presence":{"count":1,"ids":[1],"hash":{"1":null}}}'}
        nothing else
        channel presence-r has 2 subscriptions of 1 users: 1
        "#,
    );
}

#[test]
fn only_the_first_tab_is_announced_and_only_the_last_tab_closing_is() {
    play(
        r#"
        eve connects
        eve joins presence-r as {"user_id":"e"}
        tab1 connects
        tab1 joins presence-r as {"user_id":"t"}
        eve< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":"t","user_info":null}'}
        tab2 connects
        tab2 joins presence-r as {"user_id":"t"}
        tab3 connects
        tab3 joins presence-r as {"user_id":"t"}
        nothing else
        tab2 hangs up
        tab1> {"event":"pusher:unsubscribe","data":{"channel":"presence-r"}}
        nothing else
        channel presence-r has 2 subscriptions of 2 users: e t
        tab3 hangs up
        eve< {"event":"pusher_internal:member_removed","channel":"presence-r",
            "data":'{"user_id":"t"}'}
        "#,
    );
}

#[test]
fn user_info_of_the_first_connection_stays() {
    play(
        r#"
        tab1 connects
        tab1 joins presence-r as {"user_id":"t","user_info":"first"}
        tab2 connects
        tab2> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
            "channel_data":'{"user_id":"t","user_info":"second"}'}}
        tab2< {"event":"pusher_internal:subscription_succeeded","channel":"presence-r",
            "data":'{"presence":{"count":1,"ids":["t"],"hash":{"t":"first"}}}'}
        tab1 hangs up
        ben connects
        ben> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
            "channel_data":'{"user_id":"b"}'}}
        tab2< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":"b","user_info":null}'}
        ben< {"event":"pusher_internal:subscription_succeeded","channel":"presence-r",
            "data":'{"presence":{"count":2,"ids":["t","b"],"hash":{"t":"first","b":null}}}'}
        "#,
    );
}

#[test]
fn a_full_channel_admits_only_further_tabs_of_its_members() {
    play_with(
        |app| app.limits.presence_members = 1,
        r#"
        ana connects
        ana joins presence-r as {"user_id":"a"}
        ben connects
        ben> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
            "channel_data":'{"user_id":"b"}'}}
        ben< {"event":"pusher:error","data":{"code":null,
            "message":"The presence channel has its maximum of 1 members"}}
        ben< {"event":"pusher:subscription_error","channel":"presence-r",
            "data":{"type":"LimitReached","status":403,
            "error":"The presence channel has its maximum of 1 members"}}
        tab connects
        tab joins presence-r as {"user_id":"a"}
        nothing else
        ana hangs up
        tab hangs up
        ben joins presence-r as {"user_id":"b"}
        channel presence-r has 1 subscriptions of 1 users: b
        "#,
    );
}

#[test]
fn a_rejected_member_leaves_no_state_behind() {
    play_with(
        |app| app.limits.presence_members = 0,
        r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
            "channel_data":'{"user_id":"a"}'}}
        ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        ana< {"event":"pusher:subscription_error","channel":"presence-r",
            "data":{"type":"LimitReached","status":403,"error":"…"}}
        channel presence-r has nothing
        "#,
    );
}

#[test]
fn channel_data_must_name_a_user() {
    for data in [r#"{}"#, r#"[]"#, r#"{"user_id":""}"#, r#"{"user_id":null}"#, "no JSON"] {
        let transcript = r#"
            ana connects
            ana> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
                "channel_data":'DATA'}}
            ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
            ana< {"event":"pusher:subscription_error","channel":"presence-r",
                "data":{"type":"AuthError","status":401,"error":"REASON"}}
            channel presence-r has nothing
        "#
        .replace("DATA", data)
        .replace(
            "REASON",
            "channel_data of a presence channel must be a JSON object with a user_id \
             (text or number)",
        );
        play(&transcript);
    }
}

#[test]
fn channel_data_has_a_maximum_length() {
    play_with(
        |app| app.limits.presence_member_bytes = 16,
        r#"
        ana connects
        ana joins presence-r as {"user_id":"ab"}
        ben connects
        ben> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
            "channel_data":'{"user_id":"abc"}'}}
        ben< {"event":"pusher:error",
            "data":{"code":null,"message":"channel_data has 17 bytes, the maximum is 16"}}
        ben< {"event":"pusher:subscription_error","channel":"presence-r",
            "data":{"type":"LimitReached","status":403,
            "error":"channel_data has 17 bytes, the maximum is 16"}}
        "#,
    );
}

#[test]
fn a_signed_in_connection_needs_no_channel_data() {
    play(
        r#"
        ana connects
        ana signs in as {"id":"a","user_info":{"name":"Ana"}}
        ana> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}"}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"presence-r",
            "data":'{"presence":{"count":1,"ids":["a"],"hash":{"a":{"name":"Ana"}}}}'}
        # With channel_data, the connection is another member on this channel.
        ana> {"event":"pusher:subscribe","data":{"channel":"presence-s","auth":"{auth}",
            "channel_data":'{"user_id":"guest"}'}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"presence-s",
            "data":'{"presence":{"count":1,"ids":["guest"],"hash":{"guest":null}}}'}
        "#,
    );
}

#[test]
fn without_channel_data_a_connection_must_be_signed_in() {
    play(
        r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}"}}
        ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        ana< {"event":"pusher:subscription_error","channel":"presence-r",
            "data":{"type":"AuthError","error":"…","status":401}}
        channel presence-r has nothing
        "#,
    );
}

#[test]
fn leaving_and_rejoining_is_announced_each_time() {
    play(
        r#"
        eve connects
        eve joins presence-r as {"user_id":"e"}
        ana connects
        ana joins presence-r as {"user_id":"a"}
        eve< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":"a","user_info":null}'}
        ana> {"event":"pusher:unsubscribe","data":{"channel":"presence-r"}}
        eve< {"event":"pusher_internal:member_removed","channel":"presence-r",
            "data":'{"user_id":"a"}'}
        ana joins presence-r as {"user_id":"a"}
        eve< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":"a","user_info":null}'}
        "#,
    );
}

//! Client events: from one subscriber to the others, past the backend.

use clarim_hub::app::{App, ClientEvents};
use clarim_protocol::server::ClientEventData;

use crate::script::{play, play_with};

#[test]
fn a_client_event_goes_to_all_subscribers_but_the_sender() {
    for channel in ["private-x", "private-cache-x"] {
        let misses = if channel.contains("cache") { "" } else { "#" };
        let transcript = r#"
            ana connects
            ben connects
            cleo connects
            ana joins CHANNEL
            MISS ana< {"event":"pusher:cache_miss","channel":"CHANNEL"}
            ben joins CHANNEL
            MISS ben< {"event":"pusher:cache_miss","channel":"CHANNEL"}
            cleo joins CHANNEL
            MISS cleo< {"event":"pusher:cache_miss","channel":"CHANNEL"}
            ana> {"event":"client-typing","channel":"CHANNEL","data":{"name":"Ana"}}
            ben< {"event":"client-typing","channel":"CHANNEL","data":'{"name":"Ana"}'}
            cleo< {"event":"client-typing","channel":"CHANNEL","data":'{"name":"Ana"}'}
            nothing else
        "#
        .replace("MISS ", misses)
        .replace("CHANNEL", channel);
        play(&transcript);
    }
}

#[test]
fn data_may_be_any_json_and_is_forwarded_as_a_string() {
    for (sent, text, unchanged) in [
        (r#","data":{"a":[1,null]}"#, r#""{\"a\":[1,null]}""#, r#"{"a":[1,null]}"#),
        (r#","data":"text""#, r#""text""#, r#""text""#),
        (r#","data":"{}""#, r#""{}""#, r#""{}""#),
        (r#","data":1.5"#, "'1.5'", "1.5"),
        (r#","data":null"#, "'null'", "null"),
        ("", "'null'", "null"),
    ] {
        let transcript = r#"
            ana connects
            ben connects
            ana joins private-x
            ben joins private-x
            ana> {"event":"client-e","channel":"private-x"SENT}
            ben< {"event":"client-e","channel":"private-x","data":GOT}
        "#
        .replace("SENT", sent);
        play(&transcript.replace("GOT", text));
        let as_sent = |app: &mut App| app.client_event_data = ClientEventData::Unchanged;
        play_with(as_sent, &transcript.replace("GOT", unchanged));
    }
}

#[test]
fn on_presence_channels_the_senders_authenticated_id_is_included() {
    play(
        r#"
        ana connects
        ben connects
        ana joins presence-r as {"user_id":"a"}
        ben joins presence-r as {"user_id":7}
        ana< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":7,"user_info":null}'}
        ana> {"event":"client-e","channel":"presence-r","data":{},"user_id":"forged"}
        ben< {"event":"client-e","channel":"presence-r","data":'{}',"user_id":"a"}
        ben> {"event":"client-e","channel":"presence-r","data":{"user_id":"forged"}}
        ana< {"event":"client-e","channel":"presence-r","data":'{"user_id":"forged"}',"user_id":7}
        "#,
    );
}

#[test]
fn a_forged_user_id_is_dropped_on_private_channels_too() {
    play(
        r#"
        ana connects
        ben connects
        ana joins private-x
        ben joins private-x
        ana> {"event":"client-e","channel":"private-x","data":{},"user_id":"forged"}
        ben< {"event":"client-e","channel":"private-x","data":'{}'}
        "#,
    );
}

#[test]
fn only_subscribers_may_send_client_events() {
    play(
        r#"
        ana connects
        ben connects
        ben joins private-x
        ana> {"event":"client-e","channel":"private-x","data":{}}
        ana< {"event":"pusher:error","data":{"code":null,
            "message":"The client is not a member of the specified channel."}}
        ana joins private-x
        ana> {"event":"pusher:unsubscribe","data":{"channel":"private-x"}}
        ana> {"event":"client-e","channel":"private-x","data":{}}
        ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        nothing else
        "#,
    );
}

#[test]
fn an_app_may_let_all_its_connections_send() {
    play_with(
        |app| app.client_events = ClientEvents::All,
        r#"
        ana connects
        ben connects
        ben joins presence-r as {"user_id":"b"}
        ana> {"event":"client-e","channel":"presence-r","data":1,"user_id":"forged"}
        ben< {"event":"client-e","channel":"presence-r","data":'1'}
        ana> {"event":"client-e","channel":"private-nobody","data":1}
        nothing else
        channel private-nobody has nothing
        "#,
    );
}

#[test]
fn an_app_may_have_no_client_events() {
    play_with(
        |app| {
            app.client_events = ClientEvents::None;
            app.client_events_on_public = true;
        },
        r#"
        ana connects
        ben connects
        ana joins private-x
        ben joins private-x
        ana> {"event":"client-e","channel":"private-x","data":1}
        ana< {"event":"pusher:error","data":{"code":4301,
            "message":"The app does not have client messaging enabled."}}
        nothing else
        "#,
    );
}

#[test]
fn client_events_on_encrypted_channels_are_rejected() {
    play(
        r#"
        ana connects
        ben connects
        ana joins private-encrypted-x
        ben joins private-encrypted-x
        ana> {"event":"client-e","channel":"private-encrypted-x","data":"1"}
        ana< {"event":"pusher:error","data":{"code":4301,"message":
            "Client event rejected - only supported on private and presence channels"}}
        nothing else
        "#,
    );
}

#[test]
fn client_events_on_public_channels_need_the_apps_permission() {
    let joined = r#"
        ana connects
        ben connects
        ana joins news
        ben joins news
        ana> {"event":"client-e","channel":"news","data":1}
    "#;
    let refused = r#"
        ana< {"event":"pusher:error","data":{"code":4301,"message":
            "Client event rejected - only supported on private and presence channels"}}
    "#;
    play(&format!("{joined}{refused}"));
    play_with(
        |app| app.client_events_on_public = true,
        &format!("{joined} ben< {{\"event\":\"client-e\",\"channel\":\"news\",\"data\":\"1\"}}"),
    );
}

#[test]
fn channels_of_users_carry_no_client_events() {
    for mode in [ClientEvents::Members, ClientEvents::All] {
        play_with(
            |app| {
                app.client_events = mode;
                app.client_events_on_public = true;
            },
            r##"
            ana connects
            ana signs in as {"id":"a"}
            ana joins #server-to-user-a
            tab connects
            tab signs in as {"id":"a"}
            tab joins #server-to-user-a
            ana> {"event":"client-e","channel":"#server-to-user-a","data":1}
            ana< {"event":"pusher:error","data":{"code":4301,"message":"…"}}
            nothing else
            "##,
        );
    }
}

#[test]
fn names_and_data_have_a_maximum_length() {
    play_with(
        |app| {
            app.limits.event_name_bytes = 10;
            app.limits.event_data_bytes = 10;
        },
        r#"
        ana connects
        ben connects
        ana joins private-x
        ben joins private-x
        ana> {"event":"client-abc","channel":"private-x","data":"12345678"}
        ben< {"event":"client-abc","channel":"private-x","data":"12345678"}
        ana> {"event":"client-abcd","channel":"private-x","data":1}
        ana< {"event":"pusher:error","data":{"code":4301,
            "message":"The event name has 11 bytes, the maximum is 10"}}
        ana> {"event":"client-abc","channel":"private-x","data":"123456789"}
        ana< {"event":"pusher:error","data":{"code":4301,
            "message":"The event's data has 11 bytes, the maximum is 10"}}
        nothing else
        "#,
    );
}

#[test]
fn the_channel_must_have_a_name() {
    play(
        r##"
        ana connects
        ana> {"event":"client-e","channel":"","data":1}
        ana< {"event":"pusher:error","data":{"code":4301,"message":"the channel name is empty"}}
        ana> {"event":"client-e","channel":"#x","data":1}
        ana< {"event":"pusher:error","data":{"code":4301,"message":"…"}}
        ana> {"event":"client-e","data":1}
        ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        "##,
    );
}

#[test]
fn a_server_over_capacity_rejects_client_events() {
    play(
        r#"
        ana connects
        ben connects
        ana joins private-x
        ben joins private-x
        inboxes are full
        ana> {"event":"client-e","channel":"private-x","data":1}
        ana< {"event":"pusher:error","data":{"code":4301,
            "message":"The server is over capacity; the event was not sent"}}
        nothing else
        inboxes are free
        ana> {"event":"client-e","channel":"private-x","data":2}
        ben< {"event":"client-e","channel":"private-x","data":'2'}
        "#,
    );
}

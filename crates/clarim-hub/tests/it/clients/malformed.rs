//! Malformed messages.

use proptest::prelude::*;

use crate::script::{play, play_with};

#[test]
fn invalid_messages_get_an_error_and_change_nothing() {
    for message in [
        "{",
        "null",
        "[]",
        "{}",
        "\u{1F4EF}",
        r#"{"event":7}"#,
        r#"{"event":"pusher:subscribe"}"#,
        r#"{"event":"pusher:subscribe","data":null}"#,
        r#"{"event":"pusher:subscribe","data":"{"}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":7}}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":"x","auth":[]}}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":"x","channel_data":{"user_id":1}}}"#,
        r#"{"event":"pusher:unsubscribe","data":{}}"#,
        r#"{"event":"pusher:signin","data":{"auth":"key-one:00"}}"#,
        r#"{"event":"pusher:signin","data":{"auth":"key-one:00","user_data":{"id":"a"}}}"#,
        r#"{"event":"pusher:what","data":{}}"#,
        r#"{"event":"pusher_internal:subscription_succeeded","channel":"x"}"#,
        r#"{"event":"message","channel":"x","data":{}}"#,
        r#"{"event":"client-e","data":{}}"#,
        r#"{"event":"client-e","channel":["x"],"data":{}}"#,
    ] {
        let transcript = r#"
            ana connects
            ana joins private-x
            ben connects
            ben joins private-x
            ana> MESSAGE
            ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
            nothing else
            channel x has nothing
            ana> {"event":"pusher:ping"}
            ana< {"event":"pusher:pong","data":{}}
        "#
        .replace("MESSAGE", message);
        play(&transcript);
    }
}

#[test]
fn the_error_says_what_is_wrong() {
    play(
        r#"
        ana connects
        ana> {"event":"message","channel":"x","data":{}}
        ana< {"event":"pusher:error","data":{"code":null,"message":"REASON"}}
        "#
        .replace(
            "REASON",
            "Invalid message format: clients cannot send the event \\\"message\\\"; \
             names of client events begin with client-",
        )
        .as_str(),
    );
}

#[test]
fn deeply_nested_data_is_handled() {
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for event in ["client-e", "pusher:subscribe"] {
        let transcript = r#"
            ana connects
            ana> {"event":"EVENT","channel":"private-x","data":DEEP}
            ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        "#
        .replace("EVENT", event)
        .replace("DEEP", &deep);
        play(&transcript);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// With any names and data, another client's channel gets nothing, and nothing is left behind.
    #[test]
    fn no_text_breaks_a_connection(
        event in prop_oneof![
            Just("pusher:subscribe".to_owned()),
            Just("pusher:unsubscribe".to_owned()),
            Just("pusher:signin".to_owned()),
            "client-[a-z\"\\\\\u{0}-\u{20}é]{0,9}",
            any::<String>(),
        ],
        channel in prop_oneof![
            "(private-|presence-|private-encrypted-|#server-to-user-|#)?(cache-)?[a-z ü:]{0,3}",
            any::<String>(),
        ],
        auth: Option<String>,
        channel_data: Option<String>,
    ) {
        let data = serde_json::json!({
            "channel": channel, "auth": auth, "channel_data": channel_data, "user_data": channel,
        });
        let message = serde_json::json!({"event": event, "channel": channel, "data": data});
        let mut world = crate::harness::World::new(
            vec![clarim_hub::app::App::new("one", "key-one", "secret-one")], 1);
        let app = world.node.apps().find_by_id("one").unwrap();
        let addr = world.connect(app, 0).unwrap();
        world.receive(addr, &message.to_string());
        world.receive(addr, r#"{"event":"pusher:ping"}"#);
        let last = world.take(addr).pop_back();
        let Some(crate::harness::Out::Frame(frame)) = last else { panic!("{last:?}") };
        prop_assert_eq!(frame, clarim_protocol::server::pong());
        world.hang_up(addr);
        world.assert_empty();
    }
}

#[test]
fn an_event_name_of_a_client_is_written_as_json() {
    play_with(
        |app| app.client_events_on_public = true,
        r#"
        ana connects
        ben connects
        ana joins news
        ben joins news
        ana> {"event":"client-\"\\\u0001\n","channel":"news","data":"\u0000"}
        ben< {"event":"client-\"\\\u0001\n","channel":"news","data":"\u0000"}
        "#,
    );
}

//! Authorization of subscriptions, and the errors of rejected ones.

use crate::script::{play, play_with};

#[test]
fn a_public_channel_needs_no_signature() {
    play(
        r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"news"}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"news","data":'{}'}
        ben connects
        ben> {"event":"pusher:subscribe","data":{"channel":"news","auth":""}}
        ben< {"event":"pusher_internal:subscription_succeeded","channel":"news","data":'{}'}
        channel news has 2 subscriptions
        backend: event App\Events\Sent on news data '{"text":"Olá"}'
        ana< {"event":"App\\Events\\Sent","channel":"news","data":'{"text":"Olá"}'}
        ben< {"event":"App\\Events\\Sent","channel":"news","data":'{"text":"Olá"}'}
        nothing else
        "#,
    );
}

#[test]
fn data_of_a_subscription_may_be_json_in_a_string() {
    play(
        r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":'{"channel":"private-x","auth":"{auth}"}'}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"private-x","data":'{}'}
        "#,
    );
}

#[test]
fn every_kind_of_private_channel_accepts_the_right_signature() {
    for channel in [
        "private-x",
        "private-encrypted-x",
        "private-cache-x",
        "private-encrypted-cache-x",
        "presence-x",
        "presence-cache-x",
    ] {
        let channel_data = if channel.starts_with("presence") {
            r#","channel_data":'{"user_id":"7"}'"#
        } else {
            ""
        };
        let data = if channel.starts_with("presence") {
            r#"'{"presence":{"count":1,"ids":["7"],"hash":{"7":null}}}'"#
        } else {
            "'{}'"
        };
        let miss = if channel.contains("cache") {
            r#"ana< {"event":"pusher:cache_miss","channel":"CHANNEL"}"#
        } else {
            "nothing else"
        };
        let transcript = r#"
            ana connects
            ana> {"event":"pusher:subscribe","data":{"channel":"CHANNEL","auth":"{auth}"MEMBER}}
            ana< {"event":"pusher_internal:subscription_succeeded","channel":"CHANNEL","data":DATA}
            MISS
            nothing else
        "#
        .replace("MISS", miss)
        .replace("CHANNEL", channel)
        .replace("MEMBER", channel_data)
        .replace("DATA", data);
        play(&transcript);
    }
}

#[test]
fn every_kind_of_private_channel_rejects_wrong_signatures() {
    for channel in [
        "private-x",
        "private-encrypted-x",
        "private-cache-x",
        "private-encrypted-cache-x",
        "presence-x",
        "presence-cache-x",
    ] {
        for auth in [
            "",
            r#","auth":"""#,
            r#","auth":null"#,
            r#","auth":"key-one""#,
            r#","auth":"key-one:""#,
            r#","auth":"key-one:0000""#,
            r#","auth":"key-two:0000""#,
            r#","auth":"{auth by two}""#,
            r#","auth":"{auth as ben}""#,
        ] {
            let transcript = r#"
                ben connects
                ana connects
                ana> {"event":"pusher:subscribe","data":{"channel":"CHANNEL"AUTH,
                    "channel_data":'{"user_id":1}'}}
                ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
                ana< {"event":"pusher:subscription_error","channel":"CHANNEL",
                    "data":{"type":"AuthError","error":"…","status":401}}
                channel CHANNEL has nothing
                backend: event E on CHANNEL data 'x'
                nothing else
            "#
            .replace("CHANNEL", channel)
            .replace("AUTH", auth);
            play(&transcript);
        }
    }
}

#[test]
fn a_rejection_says_which_part_of_auth_is_wrong() {
    for (auth, reason) in [
        ("", r#"auth is missing or not of the form \"key:signature\""#),
        ("{auth by two}", "the key in auth is not the key of this app"),
        (
            "key-one:00",
            "the signature in auth does not match: it must be the HMAC-SHA256 hex digest, \
             under this app's secret, of what this socket asked for",
        ),
    ] {
        let transcript = r#"
            ana connects
            ana> {"event":"pusher:subscribe","data":{"channel":"private-x","auth":"AUTH"}}
            ana< {"event":"pusher:error",
                "data":{"code":null,"message":"Connection is unauthorized: REASON"}}
            ana< {"event":"pusher:subscription_error","channel":"private-x",
                "data":{"type":"AuthError","error":"Connection is unauthorized: REASON",
                "status":401}}
        "#
        .replace("AUTH\"", &format!("{auth}\""))
        .replace("REASON", reason);
        play(&transcript);
    }
}

#[test]
fn channel_data_is_part_of_the_signature_on_private_channels_too() {
    play(
        r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"private-x","auth":"{auth}",
            "channel_data":'{"user_id":1}'}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"private-x","data":'{}'}
        channel private-x has 1 subscriptions
        "#,
    );
}

#[test]
fn a_signature_is_for_one_channel_and_one_member() {
    // Signed by hand: the signature of `private-x` for the socket 2.1, the first of each node.
    let key = clarim_protocol::auth::AppKey::new("key-one", "secret-one");
    let socket_id = "2.1".parse().unwrap();
    let member = r#"{"user_id":1}"#;
    for (signed, data, right) in [
        ("private-x", None, true),
        ("private-y", None, false),
        ("presence-x", None, false),
        ("private-x", Some(member), false),
    ] {
        let answer = if right {
            r#"ana< {"event":"pusher_internal:subscription_succeeded","channel":"private-x",
                "data":'{}'}"#
        } else {
            r#"ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
               ana< {"event":"pusher:subscription_error","channel":"private-x",
                "data":{"type":"AuthError","error":"…","status":401}}"#
        };
        let auth = key.sign_channel(socket_id, signed, data);
        let transcript = r#"
            ana connects
            ana> {"event":"pusher:subscribe","data":{"channel":"private-x","auth":"AUTH"}}
        "#
        .replace("AUTH", &auth);
        play(&format!("{transcript}{answer}"));
    }
}

#[test]
fn invalid_names_are_rejected() {
    for (name, reason) in [
        ("", "the channel name is empty"),
        ("two words", "a channel name consists of letters, digits and _ - = @ , . ;"),
        ("private-ü", "a channel name consists of letters, digits and _ - = @ , . ;"),
        ("#news", "channel names beginning with # are reserved, except for #server-to-user-ID"),
        ("0123456789012345", "the channel name has 16 bytes, the maximum is 15"),
    ] {
        let transcript = r#"
            ana connects
            ana> {"event":"pusher:subscribe","data":{"channel":"NAME","auth":"{auth}"}}
            ana< {"event":"pusher:error","data":{"code":null,"message":"REASON"}}
            ana< {"event":"pusher:subscription_error","channel":"NAME",
                "data":{"type":"InvalidChannel","error":"REASON","status":400}}
            nothing else
        "#
        .replace("NAME", name)
        .replace("REASON", reason);
        play_with(|app| app.limits.channel_name_bytes = 15, &transcript);
    }
}

#[test]
fn a_rejection_does_not_repeat_a_very_long_name() {
    let transcript = r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"LONG"}}
        ana< {"event":"pusher:error","data":{"code":null,"message":"…"}}
        ana< {"event":"pusher:subscription_error","channel":"CUT",
            "data":{"type":"InvalidChannel","error":"…","status":400}}
    "#
    .replace("LONG", &"x".repeat(90_000))
    .replace("CUT", &"x".repeat(256));
    play(&transcript);
}

#[test]
fn a_connection_has_a_maximum_number_of_subscriptions() {
    play_with(
        |app| app.limits.channels_per_connection = 2,
        r#"
        ana connects
        ana joins a
        ana joins b
        ana> {"event":"pusher:subscribe","data":{"channel":"c"}}
        ana< {"event":"pusher:error",
            "data":{"code":null,"message":"A connection may have 2 subscriptions at most"}}
        ana< {"event":"pusher:subscription_error","channel":"c","data":{"type":"LimitReached",
            "error":"A connection may have 2 subscriptions at most","status":403}}
        # Unsubscribing makes room for another subscription.
        ana> {"event":"pusher:unsubscribe","data":{"channel":"a"}}
        ana joins c
        channel a has nothing
        channel c has 1 subscriptions
        "#,
    );
}

#[test]
fn a_second_subscription_is_rejected_and_the_first_stays() {
    play(
        r#"
        ana connects
        ana joins private-x
        ana> {"event":"pusher:subscribe","data":{"channel":"private-x","auth":"{auth}"}}
        ana< {"event":"pusher:error",
            "data":{"code":null,"message":"Existing subscription to channel private-x"}}
        # No subscription_error: the channel is fine.
        nothing else
        channel private-x has 1 subscriptions
        backend: event E on private-x data "1"
        ana< {"event":"E","channel":"private-x","data":"1"}
        nothing else
        ana> {"event":"pusher:unsubscribe","data":{"channel":"private-x"}}
        channel private-x has nothing
        "#,
    );
}

#[test]
fn unsubscribing_ends_delivery_at_once_and_may_be_repeated() {
    play(
        r#"
        ana connects
        ana joins news
        ana joins sport
        ana> {"event":"pusher:unsubscribe","data":{"channel":"news"}}
        backend: event E on news data "1"
        ana> {"event":"pusher:unsubscribe","data":{"channel":"news"}}
        ana> {"event":"pusher:unsubscribe","data":{"channel":"never"}}
        ana> {"event":"pusher:unsubscribe","data":{"channel":"no name"}}
        nothing else
        backend: event E on sport data "2"
        ana< {"event":"E","channel":"sport","data":"2"}
        channel news has nothing
        "#,
    );
}

#[test]
fn unsubscribing_without_a_subscription_leaves_the_others_alone() {
    play(
        r#"
        ana connects on worker 0
        ben connects on worker 0
        ana joins news
        ben> {"event":"pusher:unsubscribe","data":{"channel":"news"}}
        channel news has 1 subscriptions
        backend: event E on news data "1"
        ana< {"event":"E","channel":"news","data":"1"}
        "#,
    );
}

#[test]
fn subscribing_again_right_behind_unsubscribing_works() {
    play(
        r#"
        ana connects
        ben connects
        ana joins private-x
        ben joins private-x
        ana> {"event":"pusher:unsubscribe","data":{"channel":"private-x"}}
        ana> {"event":"pusher:subscribe","data":{"channel":"private-x","auth":"{auth}"}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"private-x","data":'{}'}
        backend: event E on private-x data "1"
        ana< {"event":"E","channel":"private-x","data":"1"}
        ben< {"event":"E","channel":"private-x","data":"1"}
        channel private-x has 2 subscriptions
        "#,
    );
}

#[test]
fn an_event_can_skip_the_connection_that_caused_it() {
    play(
        r#"
        ana connects
        ben connects
        ana joins news
        ben joins news
        backend: event E on news data "1" except ana
        ben< {"event":"E","channel":"news","data":"1"}
        nothing else
        # A connection that reuses ana's slot is not skipped.
        ana hangs up
        cleo connects on worker 0
        cleo joins news
        backend: event E on news data "2" except ana
        ben< {"event":"E","channel":"news","data":"2"}
        cleo< {"event":"E","channel":"news","data":"2"}
        "#,
    );
}

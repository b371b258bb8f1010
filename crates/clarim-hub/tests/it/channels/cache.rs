//! Cache channels: later subscribers get the backend's last event.

use crate::script::play;

#[test]
fn a_new_subscriber_gets_the_last_event_or_a_miss() {
    play(
        r#"
        ana connects
        ana> {"event":"pusher:subscribe","data":{"channel":"cache-x"}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"cache-x","data":'{}'}
        ana< {"event":"pusher:cache_miss","channel":"cache-x"}
        backend: event E on cache-x data '{"n":1}'
        ana< {"event":"E","channel":"cache-x","data":'{"n":1}'}
        backend: event F on cache-x data '{"n":2}'
        ana< {"event":"F","channel":"cache-x","data":'{"n":2}'}
        ben connects
        ben> {"event":"pusher:subscribe","data":{"channel":"cache-x"}}
        ben< {"event":"pusher_internal:subscription_succeeded","channel":"cache-x","data":'{}'}
        ben< {"event":"F","channel":"cache-x","data":'{"n":2}'}
        nothing else
        "#,
    );
}

#[test]
fn other_channels_cache_nothing() {
    play(
        r#"
        ana connects
        ana joins news
        backend: event E on news data "1"
        ana< {"event":"E","channel":"news","data":"1"}
        ben connects
        ben joins news
        nothing else
        backend: event E on private-x data "1"
        channel private-x has nothing
        "#,
    );
}

#[test]
fn an_event_is_cached_without_subscribers() {
    play(
        r#"
        backend: event E on private-encrypted-cache-x data "1"
        channel private-encrypted-cache-x has an event
        ana connects
        ana joins private-encrypted-cache-x
        ana< {"event":"E","channel":"private-encrypted-cache-x","data":"1"}
        ana hangs up
        channel private-encrypted-cache-x has an event
        ben connects
        ben joins private-encrypted-cache-x
        ben< {"event":"E","channel":"private-encrypted-cache-x","data":"1"}
        "#,
    );
}

#[test]
fn an_event_is_cached_for_thirty_minutes_after_the_last_publish() {
    play(
        r#"
        backend: event E on cache-x data "1"
        20 min pass
        backend: event E on cache-x data "2"
        29 min pass
        59 s pass
        ana connects
        ana joins cache-x
        ana< {"event":"E","channel":"cache-x","data":"2"}
        ana hangs up
        1 s pass
        channel cache-x has nothing
        ben connects
        ben joins cache-x
        ben< {"event":"pusher:cache_miss","channel":"cache-x"}
        "#,
    );
}

#[test]
fn an_event_expires_under_subscribers_who_stay() {
    play(
        r#"
        ana connects
        ana joins cache-x
        ana< {"event":"pusher:cache_miss","channel":"cache-x"}
        backend: event E on cache-x data "1"
        ana< {"event":"E","channel":"cache-x","data":"1"}
        # The sweep is late, but no subscriber gets an expired event.
        1799 s pass unswept
        ben connects
        ben joins cache-x
        ben< {"event":"E","channel":"cache-x","data":"1"}
        ben hangs up
        1 s pass unswept
        ben connects
        ben joins cache-x
        ben< {"event":"pusher:cache_miss","channel":"cache-x"}
        channel cache-x has 2 subscriptions
        "#,
    );
}

#[test]
fn client_events_are_not_cached() {
    play(
        r#"
        ana connects
        ana joins private-cache-x
        ana< {"event":"pusher:cache_miss","channel":"private-cache-x"}
        ana> {"event":"client-e","channel":"private-cache-x","data":1}
        ben connects
        ben joins private-cache-x
        ben< {"event":"pusher:cache_miss","channel":"private-cache-x"}
        "#,
    );
}

#[test]
fn an_event_is_cached_for_the_connection_that_it_skipped() {
    play(
        r#"
        ana connects
        ana joins cache-x
        ana< {"event":"pusher:cache_miss","channel":"cache-x"}
        backend: event E on cache-x data "1" except ana
        nothing else
        ana> {"event":"pusher:unsubscribe","data":{"channel":"cache-x"}}
        ana joins cache-x
        ana< {"event":"E","channel":"cache-x","data":"1"}
        "#,
    );
}

#[test]
fn joins_and_leaves_of_members_are_not_cached() {
    play(
        r#"
        ana connects
        ana joins presence-cache-r as {"user_id":"a"}
        ana< {"event":"pusher:cache_miss","channel":"presence-cache-r"}
        ben connects
        ben joins presence-cache-r as {"user_id":"b"}
        ben< {"event":"pusher:cache_miss","channel":"presence-cache-r"}
        ana< {"event":"pusher_internal:member_added","channel":"presence-cache-r",
            "data":'{"user_id":"b","user_info":null}'}
        ben hangs up
        ana< {"event":"pusher_internal:member_removed","channel":"presence-cache-r",
            "data":'{"user_id":"b"}'}
        cleo connects
        cleo joins presence-cache-r as {"user_id":"c"}
        cleo< {"event":"pusher:cache_miss","channel":"presence-cache-r"}
        ana< {"event":"pusher_internal:member_added","channel":"presence-cache-r",
            "data":'{"user_id":"c","user_info":null}'}
        "#,
    );
}

#[test]
fn former_members_are_not_in_the_cached_list() {
    play(
        r#"
        backend: event E on presence-cache-r data "1"
        ana connects
        ana joins presence-cache-r as {"user_id":"a"}
        ana< {"event":"E","channel":"presence-cache-r","data":"1"}
        ana hangs up
        channel presence-cache-r has an event
        ben connects
        ben> {"event":"pusher:subscribe","data":{"channel":"presence-cache-r","auth":"{auth}",
            "channel_data":'{"user_id":"b"}'}}
        ben< {"event":"pusher_internal:subscription_succeeded","channel":"presence-cache-r",
            "data":'{"presence":{"count":1,"ids":["b"],"hash":{"b":null}}}'}
        ben< {"event":"E","channel":"presence-cache-r","data":"1"}
        "#,
    );
}

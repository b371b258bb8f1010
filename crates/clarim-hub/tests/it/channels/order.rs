//! Order while messages wait in the inboxes of other workers.

use crate::script::play;

#[test]
fn a_subscriber_gets_every_later_event_and_no_earlier_one() {
    play(
        r#"
        ana connects on worker 0
        ben connects on worker 0
        ana joins news
        workers wait
        backend: event E on news data "before"
        nothing else
        # Worker 0 has not delivered yet. Ben's subscription is later in the same inbox.
        ben> {"event":"pusher:subscribe","data":{"channel":"news"}}
        ana< {"event":"E","channel":"news","data":"before"}
        ben< {"event":"pusher_internal:subscription_succeeded","channel":"news","data":'{}'}
        backend: event E on news data "after"
        worker 0 runs
        ana< {"event":"E","channel":"news","data":"after"}
        ben< {"event":"E","channel":"news","data":"after"}
        "#,
    );
}

#[test]
fn queued_events_are_not_delivered_after_unsubscribing() {
    play(
        r#"
        ana connects on worker 0
        ben connects on worker 0
        ana joins news
        ben joins news
        workers wait
        backend: event E on news data "1"
        ana> {"event":"pusher:unsubscribe","data":{"channel":"news"}}
        ben< {"event":"E","channel":"news","data":"1"}
        nothing else
        "#,
    );
}

#[test]
fn a_new_subscription_does_not_get_events_queued_for_the_old_one() {
    play(
        r#"
        ana connects on worker 0
        ana joins news
        ben connects on worker 0
        ben joins news
        workers wait
        backend: event E on news data "old"
        ana> {"event":"pusher:unsubscribe","data":{"channel":"news"}}
        ben< {"event":"E","channel":"news","data":"old"}
        backend: event E on news data "between"
        ana> {"event":"pusher:subscribe","data":{"channel":"news"}}
        ana< {"event":"pusher_internal:subscription_succeeded","channel":"news","data":'{}'}
        ben< {"event":"E","channel":"news","data":"between"}
        backend: event E on news data "new"
        worker 0 runs
        ana< {"event":"E","channel":"news","data":"new"}
        ben< {"event":"E","channel":"news","data":"new"}
        "#,
    );
}

#[test]
fn a_reused_slot_does_not_inherit_queued_events() {
    play(
        r#"
        ana connects on worker 0
        ana joins news
        ana signs in as {"id":"a","watchlist":["b"]}
        ana< {"event":"pusher_internal:watchlist_events",
            "data":'{"events":[{"name":"offline","user_ids":["b"]}]}'}
        ben connects on worker 1
        workers wait
        backend: event E on news data "1"
        ben signs in as {"id":"b"}
        ana hangs up
        cleo connects on worker 0
        worker 0 runs
        nothing else
        "#,
    );
}

#[test]
fn late_workers_see_joins_and_leaves_in_one_order() {
    play(
        r#"
        ana connects on worker 0
        ana joins presence-r as {"user_id":"a"}
        workers wait
        ben connects on worker 1
        ben joins presence-r as {"user_id":"b"}
        backend: event E on presence-r data "1"
        ben hangs up
        cleo connects on worker 1
        cleo> {"event":"pusher:subscribe","data":{"channel":"presence-r","auth":"{auth}",
            "channel_data":'{"user_id":"c"}'}}
        cleo< {"event":"pusher_internal:subscription_succeeded","channel":"presence-r",
            "data":'{"presence":{"count":2,"ids":["a","c"],"hash":{"a":null,"c":null}}}'}
        worker 0 takes 1
        ana< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":"b","user_info":null}'}
        worker 0 takes 1
        ana< {"event":"E","channel":"presence-r","data":"1"}
        worker 0 takes 1
        ana< {"event":"pusher_internal:member_removed","channel":"presence-r",
            "data":'{"user_id":"b"}'}
        worker 0 runs
        ana< {"event":"pusher_internal:member_added","channel":"presence-r",
            "data":'{"user_id":"c","user_info":null}'}
        "#,
    );
}

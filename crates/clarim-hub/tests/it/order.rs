//! What holds while entries wait in the inboxes of other workers.

use crate::script::play;

#[test]
fn a_subscriber_gets_nothing_that_was_published_before_and_all_that_is_published_later() {
    play(
        r#"
        ana connects on worker 0
        ben connects on worker 0
        ana joins news
        workers wait
        backend: event E on news data "before"
        nothing else
        # Worker 0 has yet to deliver; ben's subscription stands behind it in the same inbox.
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
fn what_waits_for_a_connection_that_unsubscribes_is_not_delivered_to_it() {
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
fn a_new_subscription_does_not_get_what_waited_for_the_old_one() {
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
fn a_place_taken_by_another_connection_does_not_inherit_what_waited() {
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
fn joins_and_leaves_are_seen_in_one_order_by_workers_that_run_late() {
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

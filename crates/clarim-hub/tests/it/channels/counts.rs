//! `subscription_count`: how many subscribers a channel has.

use std::time::Duration;

use clarim_hub::app::App;
use clarim_hub::{AppIndex, ConnectionAddr};

use crate::harness::{Out, World, text};
use crate::script::{play, play_with};

#[test]
fn subscribers_get_the_count_when_it_changes() {
    play_with(
        |app| app.subscription_count = true,
        r#"
        ana connects
        ana joins news
        ana< {"event":"pusher_internal:subscription_count","channel":"news",
            "data":'{"subscription_count":1}'}
        ben connects
        ben joins news
        ana< {"event":"pusher_internal:subscription_count","channel":"news",
            "data":'{"subscription_count":2}'}
        ben< {"event":"pusher_internal:subscription_count","channel":"news",
            "data":'{"subscription_count":2}'}
        ben> {"event":"pusher:unsubscribe","data":{"channel":"news"}}
        ana< {"event":"pusher_internal:subscription_count","channel":"news",
            "data":'{"subscription_count":1}'}
        nothing else
        "#,
    );
}

#[test]
fn counts_are_off_by_default() {
    play(
        r#"
        ana connects
        ana joins news
        ben connects
        ben joins news
        nothing else
        "#,
    );
}

#[test]
fn presence_channels_have_no_counts() {
    play_with(
        |app| app.subscription_count = true,
        r#"
        ana connects
        ana joins presence-r as {"user_id":"a"}
        tab connects
        tab joins presence-r as {"user_id":"a"}
        nothing else
        "#,
    );
}

/// A channel with `size` subscribers, all of whom have heard everything so far.
fn crowd(size: usize) -> (World, AppIndex, Vec<ConnectionAddr>) {
    let mut app = App::new("one", "key", "secret");
    app.subscription_count = true;
    let mut world = World::new(vec![app], 2);
    let app = world.node.apps().find_by_id("one").unwrap();
    let mut crowd = Vec::new();
    for n in 0..size {
        crowd.push(join(&mut world, app, (n % 2) as u16));
    }
    for &addr in &crowd {
        world.take(addr);
    }
    (world, app, crowd)
}

fn join(world: &mut World, app: AppIndex, worker: u16) -> ConnectionAddr {
    let addr = world.connect(app, worker).unwrap();
    world.receive(addr, r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#);
    world.run_all();
    addr
}

/// Returns the counts that a connection has got since the last call.
fn counts(world: &mut World, addr: ConnectionAddr) -> Vec<usize> {
    let received = world.take(addr);
    let frames = received.iter().filter_map(|out| match out {
        Out::Frame(frame) => text(frame),
        Out::Close(..) => None,
    });
    let prefix = r#"\"subscription_count\":"#;
    frames
        .filter_map(|text| text.split_once(prefix))
        .map(|(_, rest)| rest.trim_end_matches(['}', '"']).parse().unwrap())
        .collect()
}

fn pass(world: &mut World, milliseconds: u64) {
    world.pass(Duration::from_millis(milliseconds));
    world.run_all();
}

#[test]
fn up_to_a_hundred_subscribers_get_every_count() {
    let (mut world, app, crowd) = crowd(98);
    join(&mut world, app, 0);
    join(&mut world, app, 1);
    assert_eq!(counts(&mut world, crowd[0]), [99, 100]);
}

#[test]
fn more_than_a_hundred_subscribers_get_the_latest_count_every_five_seconds() {
    let (mut world, app, crowd) = crowd(100);
    join(&mut world, app, 0);
    let leaver = join(&mut world, app, 1);
    join(&mut world, app, 1);
    pass(&mut world, 4_999);
    assert_eq!(counts(&mut world, crowd[0]), [0; 0], "the hundredth count was just sent");
    pass(&mut world, 1);
    for &addr in &crowd {
        assert_eq!(counts(&mut world, addr), [103]);
    }
    // The interval starts again.
    world.hang_up(leaver);
    pass(&mut world, 4_999);
    assert_eq!(counts(&mut world, crowd[0]), [0; 0]);
    pass(&mut world, 1);
    assert_eq!(counts(&mut world, crowd[0]), [102]);
    // An unchanged count is not sent, and a change after a pause is sent at once.
    pass(&mut world, 60_000);
    assert_eq!(counts(&mut world, crowd[0]), [0; 0]);
    join(&mut world, app, 0);
    assert_eq!(counts(&mut world, crowd[0]), [103]);
}

#[test]
fn a_count_is_not_sent_after_all_subscribers_have_left() {
    let (mut world, app, crowd) = crowd(100);
    let more = [join(&mut world, app, 0), join(&mut world, app, 1)];
    for addr in crowd.into_iter().chain(more) {
        world.hang_up(addr);
    }
    let late = join(&mut world, app, 0);
    assert_eq!(counts(&mut world, late), [1]);
    pass(&mut world, 5_000);
    pass(&mut world, 5_000);
    assert_eq!(counts(&mut world, late), [0; 0], "the count has not changed");
    world.hang_up(late);
    world.assert_empty();
}

//! Events and members of channels.

use clarim_client::{Client, Error, Update};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::{World, event, ids, next, subscribed, within};

#[tokio::test]
async fn events_of_every_kind_of_channel_arrive_in_order() {
    let world = World::start();
    let client = world.connect("ana");
    let mut public = client.channel("news");
    let mut private = client.private("orders.7");
    let mut presence = client.join("room");
    for (channel, name) in [
        (&mut public, "news"),
        (&mut private, "private-orders.7"),
        (&mut presence, "presence-room"),
    ] {
        assert_eq!(channel.name(), name);
        subscribed(channel).await;
        for n in 0..20 {
            world.publish(name, "counted", &json!({ "n": n })).await;
        }
        for n in 0..20 {
            assert_eq!(event(channel).await, ("counted".to_owned(), json!({ "n": n })));
        }
    }
}

#[tokio::test]
async fn listen_takes_names_like_echo_and_ends_when_dropped() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct OrderShipped {
        order: u64,
    }
    let world = World::start();
    let client = world.connect("ana");
    let orders = client.private("orders.7");
    let (heard, mut shipped) = mpsc::unbounded_channel();
    let listening = orders.listen("OrderShipped", {
        let heard = heard.clone();
        move |order: OrderShipped| heard.send(order).unwrap()
    });
    let _by_name =
        orders.listen(".order.paid", move |order: OrderShipped| heard.send(order).unwrap());
    subscribed(&orders).await;
    let send = async |name: &str, data| world.publish("private-orders.7", name, &data).await;
    send("OrderShipped", json!({ "order": 1 })).await;
    send("App\\Events\\OrderShipped", json!("not an order")).await;
    send("App\\Events\\OrderShipped", json!({ "order": 2 })).await;
    assert_eq!(within(shipped.recv()).await, Some(OrderShipped { order: 2 }));
    drop(listening);
    send("App\\Events\\OrderShipped", json!({ "order": 3 })).await;
    send("order.paid", json!({ "order": 4 })).await;
    assert_eq!(within(shipped.recv()).await, Some(OrderShipped { order: 4 }));
}

#[tokio::test]
async fn members_join_and_leave_in_order() {
    let world = World::start();
    let ana = world.connect("ana");
    let mut at_ana = ana.join("room");
    assert!(matches!(next(&mut at_ana).await, Update::Subscribed(members) if members.len() == 1));
    let rui = world.connect("rui");
    let mut at_rui = rui.join("room");
    next(&mut at_rui).await;
    assert_eq!(ids(&at_rui), ["ana", "rui"]);
    let Update::Joining(member) = next(&mut at_ana).await else { panic!("nobody joins") };
    assert_eq!((member.id.as_str(), &member.info), ("rui", &json!({ "name": "RUI" })));
    assert_eq!(ids(&at_ana), ["ana", "rui"]);
    // A later handle has the members too.
    assert_eq!(ids(&at_ana.clone()), ["ana", "rui"]);
    drop(at_rui);
    assert!(matches!(next(&mut at_ana).await, Update::Leaving(member) if member.id == "rui"));
    assert_eq!(ids(&at_ana), ["ana"]);
}

#[tokio::test]
async fn dropping_the_last_handle_unsubscribes() {
    let world = World::start();
    let ana = world.connect("ana");
    let rui = world.connect("rui");
    let mut at_ana = ana.join("room");
    subscribed(&at_ana).await;
    let first = rui.join("room");
    let second = first.clone();
    subscribed(&second).await;
    drop(first);
    let again = rui.join("room");
    drop(second);
    subscribed(&again).await;
    again.whisper("still", &json!({})).unwrap();
    drop(again);
    let mut seen = Vec::new();
    while seen.last() != Some(&"left") {
        seen.push(match next(&mut at_ana).await {
            Update::Subscribed(_) => continue,
            Update::Joining(_) => "came",
            Update::Event(_) => "said",
            Update::Leaving(_) => "left",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(seen, ["came", "said", "left"]);
}

#[tokio::test]
async fn a_reader_of_the_subscription_can_whisper() {
    let world = World::start();
    for n in 0..20 {
        let client = world.connect("ana");
        let mut room = client.join("room");
        loop {
            if let Update::Subscribed(_) = next(&mut room).await {
                break;
            }
        }
        room.whisper("typing", &n).unwrap();
        // Not while it is refused, and the error names the channel.
        let other = client.private("forbidden");
        let error = other.whisper("typing", &n).unwrap_err();
        assert!(
            matches!(&error, Error::NotSubscribed { channel } if channel == "private-forbidden")
        );
    }
}

#[tokio::test]
async fn client_events_reach_the_others_with_the_senders_id() {
    let world = World::start();
    let ana = world.connect("ana");
    let rui = world.connect("rui");
    let at_ana = ana.join("room");
    let mut at_rui = rui.join("room");
    assert!(at_ana.whisper("typing", &1).is_err(), "not subscribed yet");
    subscribed(&at_rui).await;
    subscribed(&at_ana).await;
    at_ana.whisper("typing", &json!({ "in": 3 })).unwrap();
    let typing = within(at_rui.event()).await.unwrap();
    assert_eq!((typing.name.as_str(), typing.user_id.as_deref()), ("client-typing", Some("ana")));
    assert_eq!(typing.data::<serde_json::Value>().unwrap(), json!({ "in": 3 }));
}

#[tokio::test]
async fn a_slow_handle_gets_the_number_of_lost_updates() {
    let world = World::start();
    let client = Client::connect(world.options("ana").buffer(4)).unwrap();
    let mut slow = client.join("room");
    let mut quick = client.join("room");
    subscribed(&quick).await;
    next(&mut quick).await;
    for n in 0..10 {
        world.publish("presence-room", "counted", &json!(n)).await;
        assert_eq!(event(&mut quick).await.1, json!(n));
    }
    // The subscription and ten events.
    assert!(matches!(next(&mut slow).await, Update::Missed(11)));
    assert_eq!(ids(&slow), ["ana"]);
    world.publish("presence-room", "counted", &json!(10)).await;
    assert_eq!(event(&mut slow).await.1, json!(10));
}

#[tokio::test]
async fn a_signed_in_user_gets_events_on_its_own_channel() {
    let world = World::start();
    let client = world.connect("ana");
    let mut mine = within(client.sign_in()).await.unwrap();
    assert_eq!(mine.name(), "#server-to-user-ana");
    subscribed(&mine).await;
    world.publish("#server-to-user-ana", "hello", &json!({ "to": "you" })).await;
    assert_eq!(event(&mut mine).await, ("hello".to_owned(), json!({ "to": "you" })));
}

#[tokio::test]
async fn the_number_of_waiting_client_events_is_limited() {
    let world = World::start();
    let client = world.connect("ana");
    let room = client.join("room");
    subscribed(&room).await;
    // The driver does not run in between.
    let refused = (0..5_000).filter(|n| room.whisper("flood", n).is_err()).count();
    assert_eq!(refused, 5_000 - 1024);
    assert!(matches!(room.whisper("flood", &0), Err(Error::Full { limit: 1024 })));
}

//! The fake, as an application's tests use it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use clarim::{Broadcast, Channel, Clarim, Fake};
use serde::Serialize;
use serde_json::json;

#[derive(Serialize, Broadcast)]
#[broadcast(private = "orders.{order}", queue = "high")]
struct OrderShipped {
    order: u64,
}

#[derive(Serialize, Broadcast)]
#[broadcast(encrypted = "vault", now)]
struct Opened;

/// The message with which an assertion fails.
fn failure(assertion: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).expect_err("it must fail");
    panic.downcast_ref::<String>().unwrap().clone()
}

async fn world() -> Fake {
    let (clarim, fake) = Clarim::fake();
    clarim.broadcast(OrderShipped { order: 7 }).await.unwrap();
    clarim.broadcast(OrderShipped { order: 8 }).now().await.unwrap();
    clarim.broadcast(Opened).await.unwrap();
    clarim.on("news").name("said").with(json!({ "text": "Olá" })).send().await.unwrap();
    fake
}

#[tokio::test]
async fn broadcasts_can_be_asserted() {
    let fake = world().await;
    fake.assert_broadcast::<OrderShipped>(|event| event.order == 8);
    fake.assert_not_broadcast::<OrderShipped>(|event| event.order == 9);
    fake.assert_broadcast_times::<OrderShipped>(2);
    fake.assert_broadcast_on(Channel::encrypted("vault"));
    fake.assert_broadcast_as("said", |sent| sent.data["text"] == "Olá");
    let queues: Vec<Option<String>> = fake.sent().into_iter().map(|sent| sent.queue).collect();
    assert_eq!(queues, [Some("high".to_owned()), None, None, Some("default".to_owned())]);
    fake.clear();
    fake.assert_nothing_broadcast();
}

#[tokio::test]
async fn the_queue_of_one_call_replaces_that_of_the_type() {
    let (clarim, fake) = Clarim::fake();
    clarim.broadcast(Opened).queue("low").await.unwrap();
    clarim.on("news").queue("low").rescue().await;
    let queues: Vec<Option<String>> = fake.sent().into_iter().map(|sent| sent.queue).collect();
    assert_eq!(queues, [Some("low".to_owned()), Some("low".to_owned())]);
}

#[tokio::test]
async fn a_failing_assertion_lists_all_broadcasts() {
    let fake = world().await;
    let list = [
        "all broadcasts:",
        r#"App\Events\OrderShipped on ["private-orders.7"]: {"order":7}"#,
        r#"App\Events\OrderShipped on ["private-orders.8"]: {"order":8}"#,
        r#"App\Events\Opened on ["private-encrypted-vault"]: null"#,
        r#"said on ["news"]: {"text":"Olá"}"#,
    ]
    .join("\n  ");
    for (found, expected) in [
        (
            failure(|| fake.assert_broadcast::<OrderShipped>(|event| event.order == 9)),
            "no such OrderShipped was broadcast",
        ),
        (
            failure(|| fake.assert_not_broadcast::<OrderShipped>(|_| true)),
            "2 such OrderShipped were broadcast",
        ),
        (
            failure(|| fake.assert_broadcast_times::<OrderShipped>(1)),
            "OrderShipped was broadcast 2 times, not 1",
        ),
        (failure(|| fake.assert_broadcast_on("private-x")), "nothing was broadcast on private-x"),
        (failure(|| fake.assert_broadcast_as("x", |_| true)), "no such \"x\" was broadcast"),
        (failure(|| fake.assert_nothing_broadcast()), "something was broadcast"),
    ] {
        assert_eq!(found, format!("{expected}; {list}"));
    }
    let empty = failure(|| Fake::default().assert_broadcast_on("x"));
    assert_eq!(empty, "nothing was broadcast on x; nothing was broadcast");
}

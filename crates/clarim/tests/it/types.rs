//! What the front end gets to know of the application's types.

use std::collections::BTreeMap;

use clarim::types::{Error, TS, Types};
use clarim::{Broadcast, EventName, EventType};
use serde::Serialize;
use serde_json::{Value, json};

/// Has been sent.
#[derive(Serialize, TS, Broadcast)]
#[broadcast(private = "orders.{order_id}")]
#[serde(rename_all = "camelCase")]
struct OrderShipped {
    order_id: u64,
    signed: i64,
    weight: f32,
    note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_out: Option<bool>,
    /// Not for everybody.
    #[serde(skip)]
    #[allow(dead_code, reason = "it is not to be sent")]
    secret: String,
    #[serde(rename = "class-name")]
    kind: Kind,
    items: Vec<Item>,
    by_name: BTreeMap<String, Item>,
    meta: Value,
}

#[derive(Serialize, TS, Clone)]
#[serde(rename_all = "snake_case")]
enum Kind {
    SameDay,
}

#[derive(Serialize, TS, Clone)]
struct Item {
    at: (u32, bool),
}

fn shipped() -> OrderShipped {
    OrderShipped {
        order_id: 7,
        signed: -1,
        weight: 0.5,
        note: None,
        left_out: None,
        secret: "…".to_owned(),
        kind: Kind::SameDay,
        items: vec![Item { at: (1, true) }],
        by_name: BTreeMap::from([("a".to_owned(), Item { at: (2, false) })]),
        meta: json!({ "any": [1, null] }),
    }
}

#[derive(Serialize, TS, Broadcast)]
#[broadcast(channel = "news", name = "news.published", with = "headline", payload = "Headline")]
struct Published {
    title: String,
}

#[derive(Serialize, TS)]
struct Headline {
    text: String,
}

impl Published {
    fn headline(&self) -> Headline {
        Headline { text: self.title.to_uppercase() }
    }
}

#[derive(Serialize, TS, Broadcast)]
#[broadcast(channel = "changes")]
struct Changed<T> {
    now: T,
}

#[derive(TS)]
#[allow(dead_code, reason = "only its type is wanted")]
struct RoomMember {
    name: String,
}

#[derive(TS)]
#[allow(dead_code, reason = "only its type is wanted")]
struct InvoicePaid {
    invoice: u64,
}

fn types() -> Types {
    Types::new()
        .event::<OrderShipped>()
        .event::<Published>()
        .event::<Changed<Kind>>()
        .named::<Vec<Item>>("items.counted")
        .notification::<InvoicePaid>("invoice.paid")
        .member::<RoomMember>()
}

const WRITTEN: &str = r#"// Written by clarim's Types::write from the application's types: change those instead.

export type Changed<T> = { now: T, };

export type Headline = { text: string, };

export type InvoicePaid = { invoice: number, };

export type Item = { at: [number, boolean], };

export type JsonValue = number | string | boolean | Array<JsonValue> | { [key in string]: JsonValue } | null;

export type Kind = "same_day";

/**
 * Has been sent.
 */
export type OrderShipped = { orderId: number, signed: number, weight: number, note: string | null, leftOut?: boolean | null, "class-name": Kind, items: Array<Item>, byName: { [key in string]: Item }, meta: JsonValue, };

export type RoomMember = { name: string, };

/** What is broadcast: the event's name as Echo's `listen` takes it, and what the callback gets. */
export interface Events {
  ".items.counted": Array<Item>;
  ".news.published": Headline;
  "Changed": Changed<Kind>;
  "OrderShipped": OrderShipped;
}

/** What the callback of Echo's `notification` gets, by its `type`. */
export interface Notifications {
  "invoice.paid": InvoicePaid & { id: string, type: "invoice.paid" };
}
"#;

#[test]
fn every_type_is_written_as_the_browser_sees_it() {
    assert_eq!(types().render().unwrap(), WRITTEN);
}

#[test]
fn the_type_is_that_of_what_is_sent() {
    let sent = shipped().broadcast_with().unwrap();
    let sent: Vec<&String> = sent.as_object().unwrap().keys().collect();
    assert_eq!(
        sent,
        ["byName", "class-name", "items", "meta", "note", "orderId", "signed", "weight"]
    );
    let published = Published { title: "olá".to_owned() };
    assert_eq!(published.broadcast_with().unwrap(), json!({ "text": "OLÁ" }));
}

#[test]
fn an_event_has_the_name_of_its_type() {
    assert_eq!(OrderShipped::event_name(), shipped().broadcast_as());
    assert_eq!(Published::event_name(), EventName::from("news.published"));
    let changed = Changed { now: Kind::SameDay };
    assert_eq!(Changed::<Kind>::event_name(), changed.broadcast_as());
}

mod renamed {
    use super::{Broadcast, Serialize, TS};

    #[derive(Serialize, TS, Broadcast)]
    #[broadcast(channel = "news", name = "news.published")]
    pub(super) struct Headline {
        heading: String,
    }
}

#[test]
fn a_changed_event_makes_the_file_out_of_date() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("front/end/events.ts");
    let old = Types::new().named::<Headline>("news.published");
    let new = Types::new().event::<renamed::Headline>();
    assert!(matches!(old.check(&path), Err(Error::File { .. })));
    old.write(&path).unwrap();
    old.check(&path).unwrap();
    let error = new.check(&path).unwrap_err();
    let Error::Outdated { line, found, expected, .. } = &error else { panic!("{error}") };
    assert_eq!(*line, 3);
    assert_eq!(found, "export type Headline = { text: string, };");
    assert_eq!(expected, "export type Headline = { heading: string, };");
    new.write(&path).unwrap();
    new.check(&path).unwrap();
    // One that was taken away, at the end of the file
    let error = Types::new().check(&path).unwrap_err();
    assert!(matches!(error, Error::Outdated { line: 3, .. }), "{error}");
}

#[test]
fn a_file_that_is_right_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.ts");
    types().write(&path).unwrap();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    types().write(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), long_ago);
}

#[test]
fn two_things_of_one_name_are_refused() {
    let problems = |types: Types| match types.render() {
        Err(Error::Contradiction { problems }) => problems.join("\n"),
        other => panic!("{other:?}"),
    };
    let types = Types::new().event::<Published>().event::<renamed::Headline>();
    let found = problems(types);
    assert!(found.contains("two types are called Headline"), "{found}");
    let found = problems(Types::new().named::<u8>("a").named::<String>("a"));
    assert_eq!(found, r#"the event ".a" is said to send number and string"#);
    let found = problems(Types::new().notification::<Item>("a").notification::<Kind>("a"));
    assert!(found.starts_with(r#"the notification "a" is said to be Item"#), "{found}");

    #[derive(TS)]
    struct Events;
    let found = problems(Types::new().member::<Events>());
    assert!(found.contains("a type is called Events"), "{found}");
}

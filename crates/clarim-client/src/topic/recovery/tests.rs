use proptest::prelude::*;
use serde_json::json;

use super::*;

fn at(offset: u64) -> Position {
    Position::new("a", offset)
}

fn start(position: Position, recovered: bool) -> Option<Start> {
    Some(Start { position, recovered })
}

/// The machine of a channel that has handled the events up to 7.
fn at_seven() -> Recovery {
    let mut recovery = Recovery::since(None);
    assert_eq!(recovery.started(start(at(6), false), Some("1.1".to_owned())), None);
    assert_eq!(recovery.take(7), Arrival::New);
    recovery.interrupted();
    recovery
}

#[test]
fn a_subscription_names_the_position_and_the_connection_that_reached_it() {
    let fresh = Recovery::since(None);
    assert_eq!(fresh.named(), None);
    let named = at_seven().named();
    let expected = json!({ "epoch": "a", "offset": 7, "socket_id": "1.1" });
    assert_eq!(serde_json::to_value(named).unwrap(), expected);
    let from_backend = Recovery::since(Some(at(3))).named();
    assert_eq!(serde_json::to_value(from_backend).unwrap(), json!({ "epoch": "a", "offset": 3 }));
}

#[test]
fn replayed_events_are_new_once() {
    let mut recovery = at_seven();
    assert_eq!(recovery.started(start(at(7), true), Some("2.2".to_owned())), None);
    assert_eq!(recovery.named().unwrap().socket_id.as_deref(), Some("2.2"));
    for (offset, arrival) in
        [(7, Arrival::Duplicate), (8, Arrival::New), (8, Arrival::Duplicate), (10, Arrival::New)]
    {
        assert_eq!(recovery.take(offset), arrival, "{offset}");
    }
    assert_eq!(recovery.position(), Some(&at(10)));
}

#[test]
fn events_before_the_subscription_belong_to_an_earlier_one() {
    let mut recovery = at_seven();
    assert_eq!(recovery.take(9), Arrival::Duplicate);
    assert_eq!(recovery.position(), Some(&at(7)));
    recovery.started(start(at(7), true), None);
    assert_eq!(recovery.take(8), Arrival::New);
}

#[test]
fn a_gap_is_announced_again_if_the_connection_breaks_before_it() {
    let mut recovery = at_seven();
    assert_eq!(recovery.started(start(at(50), false), Some("2.2".to_owned())), None);
    recovery.interrupted();
    assert_eq!(recovery.position(), Some(&at(7)));
    recovery.started(start(at(60), false), Some("3.3".to_owned()));
    recovery.gap(Some(at(60)), Some("3.3".to_owned()));
    let named = recovery.named().unwrap();
    assert_eq!((named.position, named.socket_id.as_deref()), (at(60), Some("3.3")));
}

#[test]
fn an_event_without_the_announced_gap_is_one() {
    let mut recovery = at_seven();
    recovery.started(start(at(50), false), None);
    assert_eq!(recovery.take(51), Arrival::AfterGap);
    assert_eq!(recovery.take(52), Arrival::New);
    assert_eq!(recovery.position(), Some(&at(52)));
}

#[test]
fn the_last_event_of_a_cache_channel_is_new_to_a_new_subscriber() {
    let mut fresh = Recovery::since(None);
    fresh.started(start(at(5), false), None);
    assert_eq!(fresh.take(5), Arrival::New);
    assert_eq!(fresh.position(), Some(&at(5)));
    assert_eq!(fresh.take(5), Arrival::Duplicate);
    let mut after_gap = at_seven();
    after_gap.started(start(at(50), false), None);
    after_gap.gap(Some(at(50)), None);
    assert_eq!(after_gap.take(50), Arrival::New);
}

#[test]
fn offsets_of_another_epoch_begin_anew() {
    let mut recovery = at_seven();
    recovery.started(start(at(7), true), None);
    recovery.gap(Some(Position::new("b", 0)), None);
    assert_eq!(recovery.take(1), Arrival::New);
    assert_eq!(recovery.position(), Some(&Position::new("b", 1)));
}

#[test]
fn an_interruption_without_history_is_a_gap() {
    let mut recovery = Recovery::since(None);
    assert_eq!(recovery.started(None, None), None);
    recovery.interrupted();
    assert_eq!(recovery.started(None, None), Some(GapReason::NoHistory));
    // The history has begun while the client was away, or has ended.
    recovery.interrupted();
    assert_eq!(recovery.started(start(at(2), false), None), Some(GapReason::NoHistory));
    recovery.interrupted();
    assert_eq!(recovery.started(None, None), Some(GapReason::NoHistory));
    assert_eq!(recovery.position(), None);
    let mut from_backend = Recovery::since(Some(at(3)));
    assert_eq!(from_backend.started(None, None), Some(GapReason::NoHistory));
}

/// An action of a publisher, a server or the network.
#[derive(Debug, Clone)]
enum Action {
    Publish,
    /// This number of messages arrives.
    Arrive(usize),
    Cut,
    Subscribe,
    /// The oldest event is dropped.
    Forget,
    /// The history begins anew.
    Restart,
}

#[derive(Debug, Clone)]
enum Sent {
    Started(Option<Start>),
    Gap(Position),
    /// The offset, and the number of the event since the beginning of time.
    Event(u64, u64),
}

/// A server with one channel, and its messages on the way to a client.
#[derive(Debug, Default)]
struct Server {
    epoch: u64,
    offset: u64,
    kept: Vec<(u64, u64)>,
    published: u64,
    is_subscribed: bool,
    way: std::collections::VecDeque<Sent>,
}

impl Server {
    fn position(&self) -> Position {
        Position::new(self.epoch.to_string(), self.offset)
    }

    fn publish(&mut self) {
        self.published += 1;
        self.offset += 1;
        self.kept.push((self.offset, self.published));
        if self.is_subscribed {
            self.way.push_back(Sent::Event(self.offset, self.published));
        }
    }

    fn restart(&mut self) {
        self.epoch += 1;
        self.offset = 0;
        self.kept.clear();
        if self.is_subscribed {
            self.way.push_back(Sent::Gap(self.position()));
        }
    }

    fn subscribe(&mut self, named: Option<Since>) {
        self.is_subscribed = true;
        let position = self.position();
        let Some(Since { position: named, .. }) = named else {
            return self.way.push_back(Sent::Started(start(position, false)));
        };
        let missed: Vec<_> = self.kept.iter().filter(|(at, _)| *at > named.offset).collect();
        let is_whole = missed.len() as u64 == self.offset.saturating_sub(named.offset);
        if named.epoch == position.epoch && named.offset <= self.offset && is_whole {
            self.way.push_back(Sent::Started(start(named, true)));
            self.way.extend(missed.into_iter().map(|(at, n)| Sent::Event(*at, *n)));
        } else {
            self.way.push_back(Sent::Started(start(position.clone(), false)));
            self.way.push_back(Sent::Gap(position));
        }
    }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => Just(Action::Publish),
        8 => (1..6usize).prop_map(Action::Arrive),
        3 => Just(Action::Cut),
        5 => Just(Action::Subscribe),
        1 => Just(Action::Forget),
        1 => Just(Action::Restart),
    ]
}

proptest! {
    #[test]
    fn each_event_is_heard_once_and_in_order_or_there_is_a_gap(
        actions in proptest::collection::vec(action(), 1..150),
    ) {
        let mut server = Server::default();
        let mut client = Recovery::since(Some(server.position()));
        // The last event that was heard; `None` after a gap.
        let mut heard = Some(0);
        let mut last = 0;
        let end = [Action::Cut, Action::Subscribe, Action::Publish, Action::Arrive(usize::MAX)];
        for action in actions.into_iter().chain(end) {
            match action {
                Action::Publish => server.publish(),
                Action::Forget => drop((!server.kept.is_empty()).then(|| server.kept.remove(0))),
                Action::Restart => server.restart(),
                Action::Cut => {
                    server.is_subscribed = false;
                    server.way.clear();
                    client.interrupted();
                }
                Action::Subscribe if !server.is_subscribed => server.subscribe(client.named()),
                Action::Subscribe => {}
                Action::Arrive(count) => {
                    for sent in server.way.drain(..count.min(server.way.len())) {
                        match sent {
                            Sent::Started(start) => prop_assert_eq!(client.started(start, None), None),
                            Sent::Gap(position) => {
                                client.gap(Some(position), None);
                                heard = None;
                            }
                            Sent::Event(offset, n) => match client.take(offset) {
                                Arrival::New => {
                                    prop_assert!(heard.is_none_or(|heard| n == heard + 1));
                                    prop_assert!(n > last, "heard twice, or out of order");
                                    heard = Some(n);
                                    last = n;
                                }
                                other => prop_assert!(false, "{:?} of {}", other, n),
                            },
                        }
                    }
                }
            }
        }
        prop_assert_eq!(last, server.published);
    }
}

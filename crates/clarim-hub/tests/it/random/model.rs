//! A model of a client: it applies the frames it gets, and panics on frames it must not get.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A published event. `id` is its data.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) id: u64,
    /// The client that must not get it.
    pub(crate) except: Option<usize>,
    /// The sender's user id, on a presence channel.
    pub(crate) user: Option<String>,
}

/// A subscription as the subscriber sees it.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The subscriber's user id, on a presence channel.
    pub(crate) user: Option<String>,
    /// Where in the channel's history the subscriber is.
    pub(crate) next: usize,
    pub(crate) succeeded: bool,
    /// On a cache channel, the expected first message: an event or a miss.
    pub(crate) cached: Option<Option<u64>>,
    /// The members when the subscription was made; then those that the client knows of.
    pub(crate) members: BTreeSet<String>,
    pub(crate) count: Option<usize>,
}

impl View {
    /// Takes a frame of this channel. Panics if it must not come now.
    pub(crate) fn hear(&mut self, client: usize, frame: &Value, history: &[Published]) {
        let event = frame["event"].as_str().unwrap();
        if event == "pusher_internal:subscription_succeeded" {
            return self.succeed(&inner(frame));
        }
        assert!(self.succeeded, "a frame before subscription_succeeded: {frame}");
        if let Some(cached) = self.cached.take() {
            match cached {
                None => assert_eq!(event, "pusher:cache_miss"),
                Some(id) => assert_eq!((event, &inner(frame)), ("E", &Value::from(id))),
            }
            return;
        }
        match event {
            "pusher_internal:member_added" => {
                let new = self.members.insert(user_of(&inner(frame)));
                assert!(new, "added twice: {frame}");
            }
            "pusher_internal:member_removed" => {
                let known = self.members.remove(&user_of(&inner(frame)));
                assert!(known, "removed who was not there: {frame}");
            }
            "pusher_internal:subscription_count" => {
                self.count = Some(inner(frame)["subscription_count"].as_u64().unwrap() as usize);
            }
            "E" | "client-e" => {
                self.skip_excluded(client, history);
                let expected = history.get(self.next).expect("an event that was never published");
                assert_eq!(inner(frame), Value::from(expected.id), "out of order");
                assert_eq!(frame["user_id"].as_str(), expected.user.as_deref());
                self.next += 1;
            }
            _ => panic!("what is this? {frame}"),
        }
    }

    /// Panics unless the client knows all there is to know.
    pub(crate) fn assert_current(&mut self, client: usize, truth: &Truth<'_>) {
        assert!(self.succeeded, "client {client} still waits for its subscription");
        assert!(self.cached.is_none(), "client {client} got neither cached event nor miss");
        self.skip_excluded(client, truth.history);
        assert_eq!(self.next, truth.history.len(), "client {client} missed an event");
        if truth.presence {
            assert_eq!(self.members, truth.users, "members as client {client} knows them");
        } else {
            assert_eq!(self.count, Some(truth.subscribers), "count as client {client} knows it");
        }
    }

    fn succeed(&mut self, data: &Value) {
        assert!(!self.succeeded, "succeeded twice");
        self.succeeded = true;
        if self.user.is_some() {
            let ids = data["presence"]["ids"].as_array().unwrap();
            let listed: BTreeSet<String> =
                ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
            assert_eq!(listed.len(), ids.len(), "a member is listed twice");
            assert_eq!(listed, self.members, "the list isn't that of the moment of joining");
            assert_eq!(data["presence"]["count"], ids.len());
            assert_eq!(data["presence"]["hash"].as_object().unwrap().len(), ids.len());
        }
    }

    fn skip_excluded(&mut self, client: usize, history: &[Published]) {
        while history.get(self.next).is_some_and(|event| event.except == Some(client)) {
            self.next += 1;
        }
    }
}

/// The state of a channel as it is.
#[derive(Debug)]
pub(crate) struct Truth<'a> {
    pub(crate) history: &'a [Published],
    pub(crate) presence: bool,
    pub(crate) users: BTreeSet<String>,
    pub(crate) subscribers: usize,
}

/// The users on a client's watchlist, and whether they are online as far as the client knows.
#[derive(Debug, Default)]
pub(crate) struct Watchlist(pub(crate) BTreeMap<String, Option<bool>>);

impl Watchlist {
    pub(crate) fn hear(&mut self, frame: &Value) {
        for event in inner(frame)["events"].as_array().unwrap() {
            let online = event["name"] == "online";
            for user in event["user_ids"].as_array().unwrap() {
                let known = self.0.get_mut(user.as_str().unwrap()).expect("not on the watchlist");
                assert_ne!(*known, Some(online), "no news: {frame}");
                *known = Some(online);
            }
        }
    }
}

/// The JSON in the string `data`; of client events, `data` itself.
fn inner(frame: &Value) -> Value {
    match &frame["data"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        data => data.clone(),
    }
}

fn user_of(data: &Value) -> String {
    data["user_id"].as_str().unwrap().to_owned()
}

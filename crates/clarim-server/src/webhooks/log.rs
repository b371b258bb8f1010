//! The last requests to each endpoint, for people to look at, and to send again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::Event;
use crate::clock::now_ms;
use crate::queue::WeakQueue;

/// Deliveries that are kept, of all endpoints, and the bytes of their events.
const KEPT: usize = 200;
const BYTES: usize = 4 << 20;

/// What has become of requests.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Deliveries>);

#[derive(Debug, Default)]
struct Deliveries {
    /// The oldest first; their numbers go up.
    all: VecDeque<Delivery>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Delivery {
    id: u64,
    app: String,
    url: String,
    began_ms: u64,
    attempts: u32,
    /// As long as it goes on there is no end.
    end: Option<&'static str>,
    /// Why the last attempt has failed.
    problem: Option<String>,
    events: Vec<Arc<Event>>,
    bytes: usize,
    /// The endpoint's queue, which ends without regard to this.
    queue: WeakQueue<Arc<Event>>,
}

/// What has become of a wish to send something again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    /// So many events.
    Queued(usize),
    /// It is not kept any more.
    Gone,
    /// The endpoint's queue has no room.
    Full,
}

impl Log {
    /// Takes note of a request with these events, of which `bytes` is the size. Its number.
    pub(super) fn begin(
        &self,
        (app, url): (&str, &str),
        (events, bytes): (Vec<Arc<Event>>, usize),
        queue: WeakQueue<Arc<Event>>,
    ) -> u64 {
        let mut log = self.lock();
        let id = log.next;
        log.next += 1;
        log.bytes += bytes;
        log.all.push_back(Delivery {
            id,
            app: app.to_owned(),
            url: url.to_owned(),
            began_ms: now_ms(),
            attempts: 0,
            end: None,
            problem: None,
            events,
            bytes,
            queue,
        });
        while log.all.len() > KEPT || log.bytes > BYTES {
            let Some(oldest) = log.all.pop_front() else { break };
            log.bytes -= oldest.bytes;
        }
        id
    }

    /// An attempt has failed, for this reason, or not.
    pub(super) fn attempt(&self, id: u64, problem: Option<&str>) {
        self.change(id, |delivery| {
            delivery.attempts += 1;
            delivery.problem = problem.map(str::to_owned);
            delivery.end = problem.is_none().then_some("sent");
        });
    }

    pub(super) fn give_up(&self, id: u64) {
        self.change(id, |delivery| delivery.end = Some("failed"));
    }

    /// All that are kept, the newest first.
    pub(crate) fn shown(&self) -> Vec<Value> {
        let log = self.lock();
        let shown = log.all.iter().rev().map(|delivery| {
            let named =
                |event: &Arc<Event>| json!({ "name": event.name, "channel": event.channel });
            json!({
                "id": delivery.id, "app": delivery.app, "url": delivery.url,
                "at": delivery.began_ms, "attempts": delivery.attempts,
                "state": delivery.end.unwrap_or("trying"), "problem": delivery.problem,
                "events": delivery.events.iter().map(named).collect::<Vec<_>>(),
            })
        });
        shown.collect()
    }

    /// Puts the events of a delivery into its endpoint's queue again.
    pub(crate) fn replay(&self, id: u64) -> Replay {
        let log = self.lock();
        let Some(delivery) = log.all.iter().find(|delivery| delivery.id == id) else {
            return Replay::Gone;
        };
        let Some(queue) = delivery.queue.upgrade() else { return Replay::Gone };
        let events = delivery.events.iter().map(|event| (event.clone(), event.weight()));
        match queue.put_all(events) {
            true => Replay::Queued(delivery.events.len()),
            false => Replay::Full,
        }
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Delivery)) {
        let mut log = self.lock();
        // Nearly always one of the last.
        if let Some(delivery) = log.all.iter_mut().rev().find(|delivery| delivery.id == id) {
            change(delivery);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Deliveries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::queue;

    fn event(name: &'static str) -> Arc<Event> {
        let body = serde_json::value::to_raw_value(&json!({ "name": name })).unwrap();
        Arc::new(Event { name, channel: "news".into(), body })
    }

    #[test]
    fn only_the_last_ones_are_kept() {
        let log = Log::default();
        let (queue, _events) = queue(1_000);
        let begin =
            |bytes| log.begin(("1", "http://x"), (vec![event("e")], bytes), queue.downgrade());
        for _ in 0..KEPT + 5 {
            begin(10);
        }
        assert_eq!(log.shown().len(), KEPT);
        assert_eq!(log.replay(0), Replay::Gone);
        begin(BYTES - 15);
        assert_eq!(log.shown().len(), 2, "and so many bytes");
        begin(BYTES + 1);
        assert_eq!((log.shown().len(), log.lock().bytes), (0, 0));
    }

    #[test]
    fn what_is_sent_again_goes_into_the_queue_whole_or_not_at_all() {
        let log = Log::default();
        let (queue, mut events) = queue(900);
        let sent = vec![event("a"), event("b")];
        let id = log.begin(("1", "http://x"), (sent, 10), queue.downgrade());
        log.attempt(id, Some("it answered 500"));
        assert_eq!(
            (&log.shown()[0]["state"], &log.shown()[0]["attempts"]),
            (&json!("trying"), &json!(1))
        );
        log.attempt(id, None);
        assert_eq!(
            (&log.shown()[0]["state"], &log.shown()[0]["attempts"]),
            (&json!("sent"), &json!(2))
        );
        assert_eq!(log.replay(id), Replay::Queued(2));
        assert_eq!(log.replay(id), Replay::Full);
        let again = [events.take_now().unwrap(), events.take_now().unwrap()];
        assert_eq!(again.map(|event| event.value.name), ["a", "b"]);
        assert!(events.take_now().is_err());
        drop(queue);
        assert_eq!(log.replay(id), Replay::Gone, "an endpoint may end in spite of what is kept");
    }
}

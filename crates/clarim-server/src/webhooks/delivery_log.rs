//! The last requests to each endpoint, for people to look at and to replay.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::WebhookEvent;
use crate::clock::now_ms;
use crate::sync::WeakByteQueue;

/// Maximum number of deliveries kept for all endpoints, and of the bytes of their events.
const MAX_DELIVERIES: usize = 200;
const MAX_BYTES: usize = 4 << 20;

/// The log of deliveries.
#[derive(Debug, Default)]
pub(crate) struct DeliveryLog(Mutex<Deliveries>);

#[derive(Debug, Default)]
struct Deliveries {
    /// The oldest first. Their ids go up.
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
    /// `None` while it is in progress.
    end: Option<&'static str>,
    /// The reason of the last failure.
    problem: Option<String>,
    events: Vec<Arc<WebhookEvent>>,
    bytes: usize,
    /// The endpoint's queue, which this does not keep open.
    queue: WeakByteQueue<Arc<WebhookEvent>>,
}

/// The result of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    /// Number of events queued.
    Queued(usize),
    /// The delivery is not kept any more.
    Gone,
    /// The endpoint's queue has no room.
    Full,
}

impl DeliveryLog {
    /// Adds a request with these events, of this size. Returns its id.
    pub(super) fn begin(
        &self,
        app: &str,
        url: &str,
        events: Vec<Arc<WebhookEvent>>,
        bytes: usize,
        queue: WeakByteQueue<Arc<WebhookEvent>>,
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
        while log.all.len() > MAX_DELIVERIES || log.bytes > MAX_BYTES {
            let Some(oldest) = log.all.pop_front() else { break };
            log.bytes -= oldest.bytes;
        }
        id
    }

    /// Records an attempt, with the reason if it failed.
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

    /// Describes all deliveries, the newest first.
    pub(crate) fn describe(&self) -> Vec<Value> {
        let log = self.lock();
        let described = log.all.iter().rev().map(|delivery| {
            let named =
                |event: &Arc<WebhookEvent>| json!({ "name": event.name, "channel": event.channel });
            json!({
                "id": delivery.id, "app": delivery.app, "url": delivery.url,
                "at": delivery.began_ms, "attempts": delivery.attempts,
                "state": delivery.end.unwrap_or("trying"), "problem": delivery.problem,
                "events": delivery.events.iter().map(named).collect::<Vec<_>>(),
            })
        });
        described.collect()
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
        // It is nearly always one of the last.
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
    use crate::sync::byte_queue;

    fn event(name: &'static str) -> Arc<WebhookEvent> {
        let body = serde_json::value::to_raw_value(&json!({ "name": name })).unwrap();
        Arc::new(WebhookEvent { name, channel: "news".into(), body })
    }

    #[test]
    fn only_the_last_deliveries_are_kept() {
        let log = DeliveryLog::default();
        let (queue, _events) = byte_queue(1_000);
        let begin = |bytes| log.begin("1", "http://x", vec![event("e")], bytes, queue.downgrade());
        for _ in 0..MAX_DELIVERIES + 5 {
            begin(10);
        }
        assert_eq!(log.describe().len(), MAX_DELIVERIES);
        assert_eq!(log.replay(0), Replay::Gone);
        begin(MAX_BYTES - 15);
        assert_eq!(log.describe().len(), 2, "the number of bytes is limited, too");
        begin(MAX_BYTES + 1);
        assert_eq!((log.describe().len(), log.lock().bytes), (0, 0));
    }

    #[test]
    fn a_replay_queues_all_events_or_none() {
        let log = DeliveryLog::default();
        let (queue, mut events) = byte_queue(900);
        let sent = vec![event("a"), event("b")];
        let id = log.begin("1", "http://x", sent, 10, queue.downgrade());
        log.attempt(id, Some("HTTP status 500"));
        assert_eq!(
            (&log.describe()[0]["state"], &log.describe()[0]["attempts"]),
            (&json!("trying"), &json!(1))
        );
        log.attempt(id, None);
        assert_eq!(
            (&log.describe()[0]["state"], &log.describe()[0]["attempts"]),
            (&json!("sent"), &json!(2))
        );
        assert_eq!(log.replay(id), Replay::Queued(2));
        assert_eq!(log.replay(id), Replay::Full);
        let again = [events.take_now().unwrap(), events.take_now().unwrap()];
        assert_eq!(again.map(|event| event.value.name), ["a", "b"]);
        assert!(events.take_now().is_none());
        drop(queue);
        assert_eq!(log.replay(id), Replay::Gone, "the log does not keep an endpoint open");
    }
}

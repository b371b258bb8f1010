//! One endpoint: its queue, and the requests to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clarim_hub::app::App;
use clarim_protocol::auth::AppKey;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::time::{Instant, sleep, timeout};

use super::{Counts, Event, Losses, payload};
use crate::client::{EgressPolicy, HttpClient, cause, client};
use crate::config::Webhook;
use crate::queue::{BYTES, Queue, Queued, Waiting, WeakQueue, queue};

/// Events of one request.
const BATCH: usize = 50;

/// Time for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// For so long a request is made again.
const GIVE_UP: Duration = Duration::from_secs(5 * 60);

/// Pauses between requests for the same events: they double, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The way to an endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    webhook: Webhook,
    events: Queue<Arc<Event>>,
    counts: Arc<Counts>,
    losses: Losses,
}

impl Endpoint {
    /// The way in, and what sends.
    pub(super) fn new(
        webhook: Webhook,
        app: &App,
        counts: Arc<Counts>,
        reach: EgressPolicy,
    ) -> io::Result<(Self, impl Future<Output = ()> + use<>)> {
        let (queue, events) = queue(BYTES);
        let client = client(webhook.url.scheme_str() == Some("https"), PATIENCE, reach)?;
        let sends = Sender {
            webhook: webhook.clone(),
            app: app.id.clone(),
            key: app.key.clone(),
            reach,
            client,
            counts: counts.clone(),
            queue: queue.downgrade(),
        };
        Ok((Self { webhook, events: queue, counts, losses: Losses::default() }, sends.run(events)))
    }

    /// Takes an event that it wants to hear of, if there is room.
    pub(super) fn take(&self, event: &Arc<Event>) {
        if !self.webhook.wants(event.name, &event.channel) {
            return;
        }
        if self.events.put(event.clone(), event.weight()) {
            return self.counts.taken.add(1);
        }
        self.counts.overflowed.add(1);
        if let Some(count) = self.losses.add() {
            self.warn(count);
        }
    }

    /// Logs what was dropped since it was last logged.
    pub(super) fn tell_losses(&self) {
        if let Some(count) = self.losses.rest() {
            self.warn(count);
        }
    }

    fn warn(&self, count: u64) {
        let url = self.webhook.redacted_url();
        tracing::warn!(
            url,
            count,
            "webhook events are dropped: the endpoint takes them too slowly or not at all, and no more may wait"
        );
    }
}

struct Sender {
    webhook: Webhook,
    app: String,
    key: AppKey,
    reach: EgressPolicy,
    client: HttpClient,
    counts: Arc<Counts>,
    queue: WeakQueue<Arc<Event>>,
}

impl Sender {
    async fn run(self, mut events: Waiting<Arc<Event>>) {
        let mut batch = Vec::new();
        while events.take_many(&mut batch, BATCH).await {
            self.deliver(&batch).await;
            batch.clear();
        }
    }

    /// Sends until it is taken, or for too long.
    async fn deliver(&self, batch: &[Queued<Arc<Event>>]) {
        let events: Vec<_> = batch.iter().map(|queued| queued.value.clone()).collect();
        let count = events.len() as u64;
        let body = Bytes::from(payload::request(events.iter().map(Arc::as_ref)));
        let (begun, mut pauses) = (Instant::now(), Pauses(FIRST_PAUSE));
        let url = self.webhook.redacted_url();
        let log = &self.counts.log;
        let id = log.begin((&self.app, &url), (events, body.len()), self.queue.clone());
        loop {
            let reason = match timeout(PATIENCE, self.send(&body)).await {
                Ok(Ok(())) => {
                    self.counts.sent.add(count);
                    log.attempt(id, None);
                    return;
                }
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
            self.counts.failed.add(1);
            log.attempt(id, Some(&reason));
            let Some(pause) = pauses.next(begun.elapsed(), fastrand::f64()) else {
                self.counts.given_up.add(count);
                log.give_up(id);
                tracing::warn!(url, reason, count, "webhook events are given up");
                return;
            };
            tracing::debug!(url, reason, "a webhook request failed; it is made again");
            sleep(pause).await;
        }
    }

    async fn send(&self, body: &Bytes) -> Result<(), String> {
        self.reach.check_host(self.webhook.url.host().unwrap_or_default())?;
        let mut request = Request::post(self.webhook.url.clone());
        for (name, value) in &self.webhook.headers {
            request = request.header(name, value);
        }
        let mut request =
            request.body(Full::new(body.clone())).map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        let ours = [
            ("x-pusher-key", self.key.key().to_owned()),
            ("x-pusher-signature", self.key.sign(&[body])),
        ];
        for (name, value) in ours {
            let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            headers.insert(name, value);
        }
        // Some SDKs compare this to the letter.
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = self.client.request(request).await.map_err(|error| cause(&error))?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    }
}

/// The pauses between requests for the same events: this is the next one at most.
#[derive(Debug)]
struct Pauses(Duration);

impl Pauses {
    /// How long to wait before it is tried again, where trying has begun so long ago; `chance` is from 0 to
    /// 1, and spreads the requests of many servers. `None`: no more.
    fn next(&mut self, elapsed: Duration, chance: f64) -> Option<Duration> {
        let longest = self.0;
        self.0 = (longest * 2).min(LONGEST_PAUSE);
        (elapsed + longest <= GIVE_UP).then(|| longest.mul_f64(0.5 + chance / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_after_five_minutes_it_is_given_up() {
        for chance in [0.0, 0.5, 1.0] {
            let mut pauses = Pauses(FIRST_PAUSE);
            let (mut elapsed, mut all) = (Duration::ZERO, Vec::new());
            while let Some(pause) = pauses.next(elapsed, chance) {
                elapsed += pause;
                all.push(pause.as_millis() as f64);
            }
            let share = 0.5 + chance / 2.0;
            let doubling = [500.0, 1e3, 2e3, 4e3, 8e3, 16e3, 32e3].map(|pause| pause * share);
            assert_eq!(all[..7], doubling);
            assert!(all[7..].iter().all(|pause| *pause == 60e3 * share), "{all:?}");
            let last = GIVE_UP - LONGEST_PAUSE;
            assert!(elapsed > last && elapsed <= GIVE_UP, "{elapsed:?}");
        }
    }
}

//! One endpoint: its queue and its requests.

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

use super::{WebhookCounters, WebhookEvent, payload};
use crate::config::Webhook;
use crate::net::client::{EgressPolicy, HttpClient, cause, client};
use crate::sync::{ByteQueue, ByteQueueReceiver, DropCounter, Queued, WeakByteQueue, byte_queue};

/// Maximum number of events in one request.
const BATCH: usize = 50;

/// Timeout for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Time after which a request is not retried any more.
const GIVE_UP: Duration = Duration::from_secs(5 * 60);

/// First and longest delay between two attempts. Delays double, with jitter.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(60);

/// The sending half of an endpoint's queue.
#[derive(Debug)]
pub(super) struct Endpoint {
    webhook: Webhook,
    queue: ByteQueue<Arc<WebhookEvent>>,
    counters: Arc<WebhookCounters>,
    drops: DropCounter,
}

impl Endpoint {
    /// Makes an endpoint, and the task that sends its requests.
    pub(super) fn new(
        webhook: Webhook,
        app: &App,
        counters: Arc<WebhookCounters>,
        policy: EgressPolicy,
    ) -> io::Result<(Self, impl Future<Output = ()> + use<>)> {
        let (queue, receiver) = byte_queue(ByteQueue::<Arc<WebhookEvent>>::DEFAULT_BYTES);
        let is_tls = webhook.url.scheme_str() == Some("https");
        let sender = Sender {
            webhook: webhook.clone(),
            app: app.id.clone(),
            key: app.key.clone(),
            policy,
            client: client(is_tls, REQUEST_TIMEOUT, policy)?,
            counters: counters.clone(),
            queue: queue.downgrade(),
        };
        let endpoint = Self { webhook, queue, counters, drops: DropCounter::default() };
        Ok((endpoint, sender.run(receiver)))
    }

    /// Queues an event that the endpoint wants, if there is room.
    pub(super) fn take(&self, event: &Arc<WebhookEvent>) {
        if !self.webhook.wants(event.name, &event.channel) {
            return;
        }
        if self.queue.put(event.clone(), event.weight()) {
            return self.counters.queued.add(1);
        }
        self.counters.overflowed.add(1);
        if let Some(count) = self.drops.add() {
            self.warn(count);
        }
    }

    /// Logs the number of events dropped since the last warning.
    pub(super) fn log_drops(&self) {
        if let Some(count) = self.drops.take_unlogged() {
            self.warn(count);
        }
    }

    fn warn(&self, count: u64) {
        let url = self.webhook.redacted_url();
        tracing::warn!(
            url,
            count,
            "webhook events dropped: the endpoint is slow or down and its queue is full"
        );
    }
}

/// Sends the requests of an endpoint.
struct Sender {
    webhook: Webhook,
    app: String,
    key: AppKey,
    policy: EgressPolicy,
    client: HttpClient,
    counters: Arc<WebhookCounters>,
    queue: WeakByteQueue<Arc<WebhookEvent>>,
}

impl Sender {
    async fn run(self, mut events: ByteQueueReceiver<Arc<WebhookEvent>>) {
        let mut batch = Vec::new();
        while events.take_many(&mut batch, BATCH).await {
            self.deliver(&batch).await;
            batch.clear();
        }
    }

    /// Sends a batch until it is accepted, or its retries are used up.
    async fn deliver(&self, batch: &[Queued<Arc<WebhookEvent>>]) {
        let events: Vec<_> = batch.iter().map(|queued| queued.value.clone()).collect();
        let count = events.len() as u64;
        let body = Bytes::from(payload::request(events.iter().map(Arc::as_ref)));
        let begun = Instant::now();
        let mut backoff = Backoff(FIRST_DELAY);
        let url = self.webhook.redacted_url();
        let log = &self.counters.log;
        let id = log.begin(&self.app, &url, events, body.len(), self.queue.clone());
        loop {
            let reason = match timeout(REQUEST_TIMEOUT, self.send(&body)).await {
                Ok(Ok(())) => {
                    self.counters.sent.add(count);
                    log.attempt(id, None);
                    return;
                }
                Ok(Err(reason)) => reason,
                Err(_) => format!("no response within {REQUEST_TIMEOUT:?}"),
            };
            self.counters.failed.add(1);
            log.attempt(id, Some(&reason));
            let Some(delay) = backoff.next(begun.elapsed(), fastrand::f64()) else {
                self.counters.given_up.add(count);
                log.give_up(id);
                tracing::warn!(url, reason, count, "webhook events dropped: all retries failed");
                return;
            };
            tracing::debug!(url, reason, "webhook request failed; retrying");
            sleep(delay).await;
        }
    }

    async fn send(&self, body: &Bytes) -> Result<(), String> {
        self.policy.check_host(self.webhook.url.host().unwrap_or_default())?;
        let mut request = Request::post(self.webhook.url.clone());
        for (name, value) in &self.webhook.headers {
            request = request.header(name, value);
        }
        let mut request =
            request.body(Full::new(body.clone())).map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        let signature = [
            ("x-pusher-key", self.key.key().to_owned()),
            ("x-pusher-signature", self.key.sign(&[body])),
        ];
        for (name, value) in signature {
            let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            headers.insert(name, value);
        }
        // Some SDKs compare this byte by byte.
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let response = self.client.request(request).await.map_err(|error| cause(&error))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("HTTP status {status}")) }
    }
}

/// The delays between the attempts of one request. Holds the upper bound of the next one.
#[derive(Debug)]
struct Backoff(Duration);

impl Backoff {
    /// Returns the next delay, or `None` if the request is not retried any more. `elapsed` is the time
    /// since the first attempt; `chance`, from 0 to 1, spreads the requests of many servers.
    fn next(&mut self, elapsed: Duration, chance: f64) -> Option<Duration> {
        let max = self.0;
        self.0 = (max * 2).min(MAX_DELAY);
        (elapsed + max <= GIVE_UP).then(|| max.mul_f64(0.5 + chance / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute_and_retries_end_after_five_minutes() {
        for chance in [0.0, 0.5, 1.0] {
            let mut backoff = Backoff(FIRST_DELAY);
            let mut elapsed = Duration::ZERO;
            let mut all = Vec::new();
            while let Some(delay) = backoff.next(elapsed, chance) {
                elapsed += delay;
                all.push(delay.as_millis() as f64);
            }
            let share = 0.5 + chance / 2.0;
            let doubling = [500.0, 1e3, 2e3, 4e3, 8e3, 16e3, 32e3].map(|delay| delay * share);
            assert_eq!(all[..7], doubling);
            assert!(all[7..].iter().all(|delay| *delay == 60e3 * share), "{all:?}");
            let last = GIVE_UP - MAX_DELAY;
            assert!(elapsed > last && elapsed <= GIVE_UP, "{elapsed:?}");
        }
    }
}

//! The requests to one endpoint.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use clarim_hub::app::App;
use clarim_protocol::auth::AppKey;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::sync::RwLock;
use tokio::time::{Instant, sleep, timeout};

use super::waiting::Waiting;
use super::{WebhookCounters, WebhookEvent, payload};
use crate::config::Webhook;
use crate::net::client::{EgressPolicy, HttpClient, cause, client, hide_credentials};
use crate::sync::WeakByteQueue;

/// Maximum number of events in one request.
pub(super) const BATCH: usize = 50;

/// Timeout for one request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Time after which a request is not retried any more.
const GIVE_UP: Duration = Duration::from_secs(5 * 60);

/// First and longest delay between two attempts, before jitter.
const FIRST_DELAY: Duration = Duration::from_millis(250);
const MAX_DELAY: Duration = Duration::from_secs(30);

/// The delays between the attempts of one request. They double, and jitter spreads the requests of many
/// servers.
pub(super) fn delays() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(MAX_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Sends the requests of an endpoint.
pub(super) struct Sender {
    pub(super) webhook: Webhook,
    /// The app's id, for the log of deliveries.
    app: String,
    key: AppKey,
    policy: EgressPolicy,
    client: HttpClient,
    pub(super) counters: Arc<WebhookCounters>,
    queue: WeakByteQueue<Arc<WebhookEvent>>,
    /// Held while something is sent that must not be sent twice.
    pub(super) sending: Arc<RwLock<()>>,
}

impl Sender {
    pub(super) fn new(
        webhook: Webhook,
        app: &App,
        counters: Arc<WebhookCounters>,
        policy: EgressPolicy,
        queue: WeakByteQueue<Arc<WebhookEvent>>,
        sending: Arc<RwLock<()>>,
    ) -> io::Result<Self> {
        let is_tls = webhook.url.scheme_str() == Some("https");
        let client = client(is_tls, REQUEST_TIMEOUT, policy)?;
        let app_id = app.id.clone();
        let key = app.key.clone();
        Ok(Self { webhook, app: app_id, key, policy, client, counters, queue, sending })
    }

    /// Sends what comes, until no further event comes.
    pub(super) async fn send_all(&self, waiting: &Waiting) {
        while waiting.take(BATCH).await {
            self.deliver(waiting).await;
        }
    }

    /// Sends a batch until it is accepted, or its retries are used up.
    async fn deliver(&self, waiting: &Waiting) {
        let events = waiting.batch();
        let count = events.len() as u64;
        let body = Bytes::from(payload::request(events.iter().map(Arc::as_ref)));
        let id = self.begin(events, body.len());
        let begun = Instant::now();
        let mut delays = delays();
        loop {
            let sending = self.sending.read().await;
            let Err(reason) = self.attempt(id, &body).await else {
                waiting.forget_batch();
                return self.counters.sent.add(count);
            };
            drop(sending);
            match delays.next() {
                Some(delay) if begun.elapsed() + delay <= GIVE_UP => sleep(delay).await,
                _ => {
                    waiting.forget_batch();
                    return self.give_up(id, count, &reason);
                }
            }
        }
    }

    /// Adds a request to the log of deliveries. Returns its id.
    pub(super) fn begin(&self, events: Vec<Arc<WebhookEvent>>, bytes: usize) -> u64 {
        let url = self.webhook.redacted_url();
        self.counters.log.begin(&self.app, &url, events, bytes, self.queue.clone())
    }

    /// Makes one attempt at a request. Returns the reason if it fails.
    pub(super) async fn attempt(&self, id: u64, body: &Bytes) -> Result<(), String> {
        let response = timeout(REQUEST_TIMEOUT, self.send(body)).await;
        let result =
            response.unwrap_or_else(|_| Err(format!("no response within {REQUEST_TIMEOUT:?}")));
        self.counters.log.attempt(id, result.as_ref().err().map(String::as_str));
        if let Err(reason) = &result {
            self.counters.failed.add(1);
            tracing::debug!(url = self.webhook.redacted_url(), reason, "webhook request failed");
        }
        result
    }

    /// Counts the events of a request as dropped.
    pub(super) fn give_up(&self, id: u64, count: u64, reason: &str) {
        self.counters.given_up.add(count);
        self.counters.log.give_up(id);
        let url = self.webhook.redacted_url();
        tracing::warn!(url, reason, count, "webhook events dropped: all retries failed");
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
        hide_credentials(&mut request);
        let response = self.client.request(request).await.map_err(|error| cause(&error))?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(format!("HTTP status {status}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_half_a_minute_with_jitter_and_never_end() {
        let delays: Vec<f64> = delays().take(1_000).map(|delay| delay.as_secs_f64()).collect();
        for (n, delay) in delays.iter().enumerate() {
            let shortest = (0.25 * 2_f64.powi(n.min(7) as i32)).min(30.0);
            assert!(
                (shortest..=2.0 * shortest).contains(delay),
                "{delay} s after attempt {}",
                n + 1
            );
        }
    }
}

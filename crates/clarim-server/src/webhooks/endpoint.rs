//! One endpoint: its queue, and the requests to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clarim_hub::app::App;
use clarim_protocol::auth::AppKey;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Uri};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::{Counts, Event, QUEUE, payload};
use crate::client::{HttpClient, Reach, cause, client};
use crate::settings::Webhook;

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
    events: mpsc::Sender<Value>,
    counts: Arc<Counts>,
}

impl Endpoint {
    /// The way in, and what sends.
    pub(super) fn new(
        webhook: Webhook,
        app: &App,
        counts: Arc<Counts>,
        reach: Reach,
    ) -> io::Result<(Self, impl Future<Output = ()> + use<>)> {
        let (sender, events) = mpsc::channel(QUEUE);
        let client = client(webhook.url.scheme_str() == Some("https"), PATIENCE, reach)?;
        let sends = Sender {
            webhook: webhook.clone(),
            app: app.id.clone(),
            key: app.key.clone(),
            reach,
            client,
            counts: counts.clone(),
            queue: sender.downgrade(),
        };
        Ok((Self { webhook, events: sender, counts }, sends.run(events)))
    }

    /// Takes an event that it wants to hear of, if there is room.
    pub(super) fn take(&self, event: &Event) {
        if self.webhook.wants(event.name, &event.channel)
            && self.events.try_send(event.body.clone()).is_err()
        {
            self.counts.dropped.add(1);
        }
    }
}

struct Sender {
    webhook: Webhook,
    app: String,
    key: AppKey,
    reach: Reach,
    client: HttpClient,
    counts: Arc<Counts>,
    queue: mpsc::WeakSender<Value>,
}

impl Sender {
    async fn run(self, mut events: mpsc::Receiver<Value>) {
        let mut batch = Vec::new();
        while events.recv_many(&mut batch, BATCH).await > 0 {
            self.deliver(&batch).await;
            batch.clear();
        }
    }

    /// Sends until it is taken, or for too long.
    async fn deliver(&self, events: &[Value]) {
        let body = Bytes::from(payload::request(events));
        let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
        let url = self.webhook.shown();
        let log = &self.counts.log;
        let id = log.begin((&self.app, &url), (events, body.len()), &self.queue);
        loop {
            let reason = match timeout(PATIENCE, self.send(&body)).await {
                Ok(Ok(())) => {
                    self.counts.sent.add(events.len() as u64);
                    log.attempt(id, None);
                    return;
                }
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
            self.counts.failed.add(1);
            log.attempt(id, Some(&reason));
            if begun.elapsed() + pause > GIVE_UP {
                self.counts.dropped.add(events.len() as u64);
                log.give_up(id);
                let count = events.len();
                tracing::warn!(url, reason, count, "webhook events are given up");
                return;
            }
            tracing::debug!(url, reason, "a webhook request failed; it is made again");
            sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
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

/// A URL without what may be a secret in it.
pub(crate) fn shown(url: &Uri) -> String {
    format!("{}://{}{}", url.scheme_str().unwrap_or("http"), url.host().unwrap_or(""), url.path())
}

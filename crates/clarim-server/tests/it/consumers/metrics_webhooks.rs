//! What `/metrics` tells of webhooks: each event is sent or dropped, and none is both or neither.

use std::collections::HashMap;

use bytes::Bytes;
use clarim_server::config::Webhook;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::metrics::{TOKEN, becomes};
use crate::support::{Harness, Setup, app};

const SENT: &str = "clarim_webhook_events_total{as=\"sent\"}";
const DROPPED: &str = "clarim_webhook_events_total{as=\"dropped\"}";
const FAILURES: &str = "clarim_webhook_failures_total";

/// An endpoint that responds with the status of the test.
struct Endpoint {
    url: String,
    status: watch::Sender<u16>,
}

impl Endpoint {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (status, says) = watch::channel(status);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let says = says.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let says = says.clone();
                    async move {
                        request.into_body().collect().await?;
                        let status = *says.borrow();
                        let answer = Response::builder().status(status);
                        Ok::<_, hyper::Error>(answer.body(Empty::<Bytes>::new()).unwrap())
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { url, status }
    }

    /// A server that sends these events to the endpoint.
    fn server(&self, events: &[&str]) -> Harness {
        let mut webhook = Webhook::new(self.url.parse().unwrap());
        webhook.events = events.iter().map(|&name| name.to_owned()).collect();
        let webhooks = HashMap::from([("123456".to_owned(), vec![webhook])]);
        Setup { metrics_token: Some(TOKEN), webhooks, ..Setup::default() }.start(vec![app()])
    }
}

#[tokio::test]
async fn failed_requests_are_counted_and_events_once_when_accepted() {
    let endpoint = Endpoint::start(500).await;
    let server = endpoint.server(&["channel_occupied"]);
    for name in [SENT, DROPPED, FAILURES] {
        becomes(&server, name, 0.0).await;
    }
    let mut client = server.connect().await;
    client.subscribe("news").await;
    becomes(&server, FAILURES, 1.0).await;
    endpoint.status.send_replace(200);
    becomes(&server, SENT, 1.0).await;
    // A second channel is a second event. The retry of the first event is not counted.
    client.subscribe("orders").await;
    becomes(&server, SENT, 2.0).await;
    becomes(&server, DROPPED, 0.0).await;
}

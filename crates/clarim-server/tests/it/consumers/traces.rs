//! The way of an event, as a collector of traces gets it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use clarim_bus::MemoryBus;
use clarim_server::config::Scaling;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::metrics::{TOKEN, becomes};
use crate::support::{Harness, Setup, app, within};

/// An OTLP receiver, which keeps what it gets.
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// It answers with this status; `None`: not at all.
    async fn start(status: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let kept = spans.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = kept.clone();
                let take = service_fn(move |request: Request<Incoming>| {
                    let kept = kept.clone();
                    async move {
                        assert_eq!(request.uri().path(), "/v1/traces");
                        let body = request.into_body().collect().await?.to_bytes();
                        let sent = ExportTraceServiceRequest::decode(body).unwrap();
                        let all = sent.resource_spans.into_iter().flat_map(|it| it.scope_spans);
                        kept.lock().unwrap().extend(all.flat_map(|it| it.spans));
                        let Some(status) = status else { return std::future::pending().await };
                        let answer = Response::builder().status(status);
                        Ok::<_, hyper::Error>(answer.body(Empty::<Bytes>::new()).unwrap())
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), take));
            }
        });
        Self { url, spans }
    }

    fn setup(&self) -> Setup {
        Setup { traces: Some(self.url.clone()), metrics_token: Some(TOKEN), ..Setup::default() }
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

/// Publishes as a backend whose own span is this one.
async fn publish(server: &Harness, parent: &str) {
    let body = json!({ "name": "e", "channel": "private-orders", "data": "{}" }).to_string();
    let target = server.api().sign("POST", "/events", &[], body.as_bytes());
    let length = body.len();
    let request = format!(
        "POST {target} HTTP/1.1\r\nhost: x\r\ntraceparent: {parent}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let mut stream = server.dial().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|it| it.key == key);
    let value = found.and_then(|it| it.value.clone()).and_then(|it| it.value);
    match value.unwrap_or_else(|| panic!("{} has no {key}", span.name)) {
        Attribute::StringValue(text) => text,
        Attribute::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The only span with this name and parent.
fn below<'a>(spans: &'a [Span], name: &str, parent: &[u8]) -> &'a Span {
    let found: Vec<_> =
        spans.iter().filter(|span| span.name == name && span.parent_span_id == parent).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

#[tokio::test]
async fn an_event_is_followed_from_the_backend_over_the_bus_to_the_clients() {
    let collector = Collector::start(Some(200)).await;
    let bus = MemoryBus::new();
    let start = || {
        let scaling = Some(Scaling::new(bus.clone().into()));
        Setup { scaling, ..collector.setup() }.start(vec![app()])
    };
    let a = start();
    let b = start();
    let mut ana = a.connect().await;
    let mut ben = b.connect().await;
    ana.subscribe("private-orders").await;
    ben.subscribe("private-orders").await;
    publish(&a, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").await;
    // The request is not sampled, so its delivery isn't either.
    publish(&a, "00-00000000000000000000000000000001-b7ad6b7169203331-00").await;
    for client in [&mut ana, &mut ben] {
        client.receive().await;
        client.receive().await;
    }
    drop((ana, ben));
    a.becomes_empty().await;
    b.becomes_empty().await;
    // The servers send the remaining spans when they stop.
    within(futures_util::future::join(a.end(), b.end())).await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    assert!(spans.iter().all(|span| span.trace_id == trace), "one trace: {spans:#?}");
    let backend = 0xb7ad_6b71_6920_3331_u64.to_be_bytes();
    let publish = below(&spans, "publish", &backend);
    let here = below(&spans, "deliver", &publish.span_id);
    let bus = below(&spans, "bus", &publish.span_id);
    let there = below(&spans, "deliver", &bus.span_id);
    assert_eq!(attribute(publish, "messaging.destination.name"), "private-orders");
    assert_eq!(attribute(publish, "messaging.batch.message_count"), "1");
    assert_eq!(attribute(publish, "clarim.app"), "123456");
    assert_eq!(attribute(there, "messaging.destination.name"), "private-orders");
    assert_eq!(attribute(publish, "clarim.node"), attribute(here, "clarim.node"));
    assert_ne!(attribute(publish, "clarim.node"), attribute(there, "clarim.node"));
    // A publish is over when it is in the outboxes here, and with the bus.
    for part in [here, bus] {
        assert!(part.start_time_unix_nano >= publish.start_time_unix_nano);
        assert!(part.end_time_unix_nano <= publish.end_time_unix_nano);
    }
    let failed =
        |span: &Span| span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
    assert!(!spans.iter().any(failed), "{spans:#?}");
}

#[tokio::test]
async fn in_process_publishing_and_batches_are_traced() {
    let collector = Collector::start(Some(200)).await;
    let server = collector.setup().start(vec![app()]);
    let event = |channel| json!({ "name": "e", "channel": channel, "data": "{}" });
    let batch = json!({ "batch": [event("a"), event("b")] });
    assert_eq!(server.api().post("/batch_events", &batch).await.status, 200);
    let publisher = server.running().publisher();
    let event = serde_json::from_str(r#"{"name":"e","channel":"c","data":"{}"}"#).unwrap();
    publisher.publish("123456", &event).await.unwrap();
    within(server.end()).await;
    let spans = collector.spans();
    let of = |channel: &str| {
        let is_of = |span: &&Span| {
            span.name == "publish" && attribute(span, "messaging.destination.name") == channel
        };
        spans.iter().find(is_of).unwrap()
    };
    assert_eq!(attribute(of("a"), "messaging.batch.message_count"), "2");
    assert!(of("a").parent_span_id.is_empty(), "nobody has asked");
    assert_ne!(of("a").trace_id, of("c").trace_id);
    // Each with its deliver, and no bus.
    assert_eq!(spans.len(), 4, "{spans:#?}");
}

#[tokio::test]
async fn refused_exports_are_counted_and_a_silent_collector_blocks_nothing() {
    let refusing = Collector::start(Some(503)).await;
    let server = refusing.setup().start(vec![app()]);
    publish(&server, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").await;
    // They are sent every five seconds.
    becomes(&server, "clarim_trace_requests_total{as=\"failed\"}", 1.0).await;
    let silent = Collector::start(None).await;
    let server = silent.setup().start(vec![app()]);
    let publisher = server.running().publisher();
    let event = serde_json::from_str(r#"{"name":"e","channel":"c","data":"{}"}"#).unwrap();
    let begun = Instant::now();
    // More than wait to be sent.
    for _ in 0..3_000 {
        publisher.publish("123456", &event).await.unwrap();
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "3,000 publishes took {took:?}");
    let begun = Instant::now();
    server.end().await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(5), "the end took {took:?}");
}

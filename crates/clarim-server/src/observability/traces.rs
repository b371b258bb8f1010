//! Traces by OpenTelemetry: an event's way from the publish request over the bus to the send queues.
//!
//! A traced request has a span `publish`, whose parent the header `traceparent` may name. Below it are
//! `deliver`, which ends once this node's workers have delivered the event, and `bus`, which ends once the
//! bus has accepted it. Below that is one `deliver` for each node that receives the event from the bus.
//! Nothing is measured without a collector, and no request waits for the export.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::{NodeId, Trace};
use clarim_hub::{Delivery, DeliveryAck};
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Request, Response};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider,
};
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use tokio::sync::{mpsc, oneshot};

use super::metrics::TraceNumbers;
use crate::net::client::{self, EgressPolicy};
use crate::runtime::{PublishSpan, TracedPublish, Tracer};
use crate::sync::{Counter, Phase, ShutdownSignal};

/// Timeout for one request to the collector.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that a server that shuts down spends on exporting the remaining spans.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum size of the collector's response, in bytes.
const MAX_RESPONSE: usize = 64 << 10;

/// The tracer of a server.
#[derive(Debug)]
pub(crate) struct Traces {
    tracer: SdkTracer,
    node: Option<NodeId>,
}

/// Numbers of requests to the collector.
#[derive(Debug, Default)]
pub(crate) struct TraceCounters {
    sent: Counter,
    failed: Counter,
}

impl TraceCounters {
    pub(crate) fn numbers(&self) -> TraceNumbers {
        TraceNumbers { sent: self.sent.get(), failed: self.failed.get() }
    }
}

impl Tracer for Traces {
    fn start_publish(
        &self,
        headers: Option<&HeaderMap>,
        publish: TracedPublish<'_>,
    ) -> Option<Box<dyn PublishSpan + '_>> {
        let parent = match headers {
            Some(headers) => TraceContextPropagator::new()
                .extract_with_context(&Context::new(), &HeaderExtractor(headers)),
            // In-process publishing: the application's current span.
            None => Context::current(),
        };
        let attributes = vec![
            KeyValue::new("messaging.system", "clarim"),
            KeyValue::new("messaging.operation.name", "publish"),
            KeyValue::new("messaging.destination.name", publish.channel.to_owned()),
            KeyValue::new("messaging.batch.message_count", publish.count as i64),
            KeyValue::new("clarim.app", publish.app.to_owned()),
        ];
        let span = self.span("publish", SpanKind::Server, attributes, &parent)?;
        Some(Box::new(TracedRequest { traces: self, context: parent.with_span(span) }))
    }

    fn start_delivery(&self, app: &str, channel: &str, trace: Trace) -> Option<DeliveryAck> {
        let parent = SpanContext::new(
            TraceId::from(trace.id),
            SpanId::from(trace.span),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        let parent = Context::new().with_remote_span_context(parent);
        let attributes = vec![
            KeyValue::new("messaging.destination.name", channel.to_owned()),
            KeyValue::new("clarim.app", app.to_owned()),
        ];
        self.deliver(attributes, &parent, |_| {})
    }
}

impl Traces {
    /// Starts a span that ends when the last copy of the acknowledgement is dropped.
    fn deliver(
        &self,
        attributes: Vec<KeyValue>,
        parent: &Context,
        then: impl FnOnce(Delivery) + Send + Sync + 'static,
    ) -> Option<DeliveryAck> {
        let mut span = self.span("deliver", SpanKind::Consumer, attributes, parent)?;
        Some(DeliveryAck::new(move |delivery| {
            span.end();
            then(delivery);
        }))
    }

    fn span(
        &self,
        name: &'static str,
        kind: SpanKind,
        mut attributes: Vec<KeyValue>,
        parent: &Context,
    ) -> Option<Span> {
        if let Some(node) = self.node {
            attributes.push(KeyValue::new("clarim.node", format!("{:016x}", node.0)));
        }
        let builder = self.tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        let span = builder.start_with_context(&self.tracer, parent);
        // Sampling is decided by OTEL_TRACES_SAMPLER, or by the parent span.
        span.span_context().is_sampled().then_some(span)
    }
}

/// A publish request that is traced.
struct TracedRequest<'a> {
    traces: &'a Traces,
    context: Context,
}

impl PublishSpan for TracedRequest<'_> {
    fn acks(&self, all: &DeliveryAck, has_bus: bool) -> (DeliveryAck, DeliveryAck) {
        let kept = all.clone();
        let here =
            self.traces.deliver(Vec::new(), &self.context, move |delivery| kept.pass_on(delivery));
        let bus = if has_bus { self.bus_ack(all.clone()) } else { None };
        (here.unwrap_or_else(|| all.clone()), bus.unwrap_or_else(|| all.clone()))
    }

    fn end(self: Box<Self>, is_complete: bool) {
        let span = self.context.span();
        if !is_complete {
            span.set_status(Status::error("the event has reached this node's clients alone"));
        }
        span.end();
    }
}

impl TracedRequest<'_> {
    fn bus_ack(&self, all: DeliveryAck) -> Option<DeliveryAck> {
        let mut span = self.traces.span("bus", SpanKind::Producer, Vec::new(), &self.context)?;
        let context = span.span_context();
        let id = u128::from_be_bytes(context.trace_id().to_bytes());
        let trace = Trace { id, span: u64::from_be_bytes(context.span_id().to_bytes()) };
        Some(DeliveryAck::traced(trace, move |delivery| {
            if !delivery.is_complete {
                span.set_status(Status::error("the bus has not taken it"));
            }
            span.end();
            all.pass_on(delivery);
        }))
    }
}

/// Exports the spans, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Export {
    provider: SdkTracerProvider,
    requests: mpsc::UnboundedReceiver<ExportRequest>,
    is_tls: bool,
    counters: Arc<TraceCounters>,
}

/// A request to the collector. The exporter has one at a time.
#[derive(Debug)]
struct ExportRequest {
    request: Request<Bytes>,
    reply: oneshot::Sender<Result<Response<Bytes>, HttpError>>,
}

/// Makes the tracer of a server that exports to the collector at `url`.
///
/// # Errors
/// If the URL or a variable `OTEL_…` can't be used.
pub(crate) fn start(url: &hyper::Uri, node: Option<NodeId>) -> io::Result<(Traces, Export)> {
    let (sender, requests) = mpsc::unbounded_channel();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Client(sender))
        .with_endpoint(url.to_string())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(REQUEST_TIMEOUT)
        .build()
        .map_err(io::Error::other)?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_batch_exporter(exporter)
        .build();
    let tracer = provider.tracer("clarim");
    let is_tls = url.scheme_str() == Some("https");
    let export = Export { provider, requests, is_tls, counters: Arc::default() };
    Ok((Traces { tracer, node }, export))
}

/// The resource of OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, named "clarim" if they give no name.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let said = Resource::builder().with_attribute(version).build();
    let is_named = said
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if is_named {
        return said;
    }
    let all = said.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty().with_attributes(all).with_service_name("clarim").build()
}

impl Export {
    pub(crate) fn counters(&self) -> Arc<TraceCounters> {
        self.counters.clone()
    }

    /// Exports until the server has closed, and then the remaining spans.
    pub(crate) async fn run(self, mut phase: ShutdownSignal) -> io::Result<()> {
        let Self { provider, requests, is_tls, counters } = self;
        let client = client::client(is_tls, REQUEST_TIMEOUT, EgressPolicy::Anywhere)?;
        let mut sending = std::pin::pin!(send_all(client, requests, counters));
        tokio::select! {
            () = &mut sending => {}
            () = phase.reached(Phase::Closed) => {}
        }
        let rest =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT));
        // A request still in progress after the timeout is dropped.
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, async {
            tokio::select! {
                () = sending => {}
                _ = rest => {}
            }
        })
        .await;
        Ok(())
    }
}

/// Sends the exporter's requests one after the other.
async fn send_all(
    client: client::HttpClient,
    mut requests: mpsc::UnboundedReceiver<ExportRequest>,
    counters: Arc<TraceCounters>,
) {
    let mut is_failing = false;
    while let Some(ExportRequest { request, reply }) = requests.recv().await {
        let sent = tokio::time::timeout(REQUEST_TIMEOUT, exchange(&client, request)).await;
        let sent =
            sent.unwrap_or_else(|_| Err(format!("no response within {REQUEST_TIMEOUT:?}").into()));
        let problem = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("HTTP status {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        let counter = if problem.is_none() { &counters.sent } else { &counters.failed };
        counter.add(1);
        if problem.is_some() != is_failing {
            is_failing = problem.is_some();
            match problem {
                Some(problem) => {
                    tracing::warn!(
                        problem,
                        "cannot export traces; their spans are lost until the collector accepts them"
                    );
                }
                None => tracing::info!("exporting traces again"),
            }
        }
        // The exporter may have given up.
        let _ = reply.send(sent);
    }
}

async fn exchange(
    client: &client::HttpClient,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let mut request = request.map(Full::new);
    client::hide_credentials(&mut request);
    let response = client.request(request).await.map_err(|e| client::cause(&e))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_RESPONSE).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// Passes requests to the thread that sends them. The exporter's own thread has no runtime.
#[derive(Debug)]
struct Client(mpsc::UnboundedSender<ExportRequest>);

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> BoxFuture<'b, Result<Response<Bytes>, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        let (reply, replied) = oneshot::channel();
        let is_sent = self.0.send(ExportRequest { request, reply }).is_ok();
        Box::pin(async move {
            match replied.await {
                Ok(response) if is_sent => response,
                _ => Err("the server has ended".into()),
            }
        })
    }
}

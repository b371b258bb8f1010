//! Traces, as OpenTelemetry has them: an event's way from the backend's request over the bus to the outboxes.
//!
//! A request that is traced is a span `publish`, whose parent the header `traceparent` may name. Below it are
//! `deliver`, until this node's workers have handed the event out, and `bus`, until the bus has taken it; and
//! below that one `deliver` of each node that gets the event from there. Nothing is measured while nobody
//! wants traces, and nobody waits for them to be sent.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clarim_hub::{Apps, ChannelKey, DeliveryAck};
use clarim_protocol::cluster::{NodeId, Trace};
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Request, Response};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span};
use tokio::sync::{mpsc, oneshot};

use crate::client::{self, EgressPolicy};
use crate::metrics::Counter;
use crate::phase::{Follow, Phase};

/// How long the collector may take for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a server that ends tries to send what is left.
const FAREWELL: Duration = Duration::from_secs(2);

/// Bytes of the collector's answer that are read.
const ANSWER: usize = 64 << 10;

/// What makes spans.
#[derive(Debug)]
pub(crate) struct Traces {
    tracer: SdkTracer,
    node: Option<NodeId>,
    pub(crate) counts: Arc<Counts>,
}

/// Requests to the collector.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: Counter,
    pub(crate) failed: Counter,
}

/// What one request publishes.
#[derive(Debug)]
pub(crate) struct What<'a> {
    pub(crate) app: &'a str,
    /// The first of its channels.
    pub(crate) channel: &'a str,
    /// How many events it is, each counted once for each channel.
    pub(crate) count: usize,
}

impl Traces {
    /// Begins the span of a request, if it is to be traced. `headers` may name its parent.
    pub(crate) fn publish(
        &self,
        headers: Option<&HeaderMap>,
        what: &What<'_>,
    ) -> Option<Publish<'_>> {
        let parent = match headers {
            Some(headers) => TraceContextPropagator::new()
                .extract_with_context(&Context::new(), &HeaderExtractor(headers)),
            // From within the process: what the application is at.
            None => Context::current(),
        };
        let attributes = vec![
            KeyValue::new("messaging.system", "clarim"),
            KeyValue::new("messaging.operation.name", "publish"),
            KeyValue::new("messaging.destination.name", what.channel.to_owned()),
            KeyValue::new("messaging.batch.message_count", what.count as i64),
            KeyValue::new("clarim.app", what.app.to_owned()),
        ];
        let span = self.span("publish", SpanKind::Server, attributes, &parent)?;
        Some(Publish { traces: self, context: parent.with_span(span) })
    }

    /// Begins the span of an event that has come over the bus: what the workers are to keep.
    pub(crate) fn arrived(
        &self,
        apps: &Apps,
        channel: &ChannelKey,
        trace: Trace,
    ) -> Option<DeliveryAck> {
        let parent = SpanContext::new(
            TraceId::from(trace.id),
            SpanId::from(trace.span),
            TraceFlags::SAMPLED,
            true,
            TraceState::default(),
        );
        let parent = Context::new().with_remote_span_context(parent);
        let attributes = vec![
            KeyValue::new("messaging.destination.name", channel.name.as_str().to_owned()),
            KeyValue::new("clarim.app", apps.get(channel.app).id.clone()),
        ];
        self.deliver(attributes, &parent, || {})
    }

    /// A span until the receipt's last copy has gone.
    fn deliver(
        &self,
        attributes: Vec<KeyValue>,
        parent: &Context,
        then: impl FnOnce() + Send + Sync + 'static,
    ) -> Option<DeliveryAck> {
        let mut span = self.span("deliver", SpanKind::Consumer, attributes, parent)?;
        Some(DeliveryAck::new(move |_| {
            span.end();
            then();
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
        // Decided by OTEL_TRACES_SAMPLER, or by who has asked.
        span.span_context().is_sampled().then_some(span)
    }
}

/// A request that is traced.
#[derive(Debug)]
pub(crate) struct Publish<'a> {
    traces: &'a Traces,
    context: Context,
}

impl Publish<'_> {
    /// Receipts for the workers and for the bus, each of which keeps `all`.
    pub(crate) fn receipts(&self, all: &DeliveryAck, has_bus: bool) -> [DeliveryAck; 2] {
        let kept = all.clone();
        let here = self.traces.deliver(Vec::new(), &self.context, move || drop(kept));
        let bus = if has_bus { self.bus(all.clone()) } else { None };
        [here, bus].map(|receipt| receipt.unwrap_or_else(|| all.clone()))
    }

    fn bus(&self, all: DeliveryAck) -> Option<DeliveryAck> {
        let mut span = self.traces.span("bus", SpanKind::Producer, Vec::new(), &self.context)?;
        let of = span.span_context();
        let (id, of_span) = (of.trace_id().to_bytes(), of.span_id().to_bytes());
        let trace = Trace { id: u128::from_be_bytes(id), span: u64::from_be_bytes(of_span) };
        Some(DeliveryAck::traced(trace, move |whole| {
            if !whole {
                span.set_status(Status::error("the bus has not taken it"));
                all.missed_the_bus();
            }
            span.end();
            drop(all);
        }))
    }

    /// The event is out; `is_whole`: to all it is for.
    pub(crate) fn end(self, is_whole: bool) {
        let span = self.context.span();
        if !is_whole {
            span.set_status(Status::error("the event has reached this node's clients alone"));
        }
        span.end();
    }
}

/// Sends what the spans say; made here, run on a thread of its own.
#[derive(Debug)]
pub(crate) struct Export {
    provider: SdkTracerProvider,
    requests: mpsc::UnboundedReceiver<Asked>,
    is_tls: bool,
    counts: Arc<Counts>,
}

/// A request to the collector. The exporter has one at a time.
type Asked = (Request<Bytes>, oneshot::Sender<Result<Response<Bytes>, HttpError>>);

/// Traces that are sent to the collector at this URL.
///
/// # Errors
/// When it is none, or a variable `OTEL_…` can't be used.
pub(crate) fn start(url: &hyper::Uri, node: Option<NodeId>) -> io::Result<(Traces, Export)> {
    let (sender, requests) = mpsc::unbounded_channel();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Client(sender))
        .with_endpoint(url.to_string())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(PATIENCE)
        .build()
        .map_err(io::Error::other)?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_batch_exporter(exporter)
        .build();
    let (tracer, counts) = (provider.tracer("clarim"), Arc::<Counts>::default());
    let is_tls = url.scheme_str() == Some("https");
    let export = Export { provider, requests, is_tls, counts: counts.clone() };
    Ok((Traces { tracer, node, counts }, export))
}

/// What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say; where they give no name, ours.
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
    /// Sends until the server has closed, and then what is left.
    pub(crate) async fn run(self, mut phase: Follow) -> io::Result<()> {
        let Self { provider, requests, is_tls, counts } = self;
        let client = client::client(is_tls, PATIENCE, EgressPolicy::Anywhere)?;
        let mut sending = std::pin::pin!(send_all(client, requests, counts));
        tokio::select! {
            () = &mut sending => {}
            () = phase.reached(Phase::Closed) => {}
        }
        let rest = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FAREWELL));
        // A request that is under way when the time is over is given up: the collector has been logged.
        let _ = tokio::time::timeout(FAREWELL, async {
            tokio::select! {
                () = sending => {}
                _ = rest => {}
            }
        })
        .await;
        Ok(())
    }
}

/// Sends what the exporter asks for, one request after the other.
async fn send_all(
    client: client::HttpClient,
    mut requests: mpsc::UnboundedReceiver<Asked>,
    counts: Arc<Counts>,
) {
    let mut is_away = false;
    while let Some((request, answer)) = requests.recv().await {
        let sent = tokio::time::timeout(PATIENCE, exchange(&client, request)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}").into()));
        let problem = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        let count = if problem.is_none() { &counts.sent } else { &counts.failed };
        count.add(1);
        if problem.is_some() != is_away {
            is_away = problem.is_some();
            match problem {
                Some(problem) => {
                    tracing::warn!(problem, "traces are lost: the collector does not take them");
                }
                None => tracing::info!("traces are taken again"),
            }
        }
        // The exporter may have given up.
        let _ = answer.send(sent);
    }
}

async fn exchange(
    client: &client::HttpClient,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let response = client.request(request.map(Full::new)).await.map_err(|e| client::cause(&e))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// The exporter's way to the thread that sends: it has one of its own, without a runtime.
#[derive(Debug)]
struct Client(mpsc::UnboundedSender<Asked>);

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> BoxFuture<'b, Result<Response<Bytes>, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        let (answer, answered) = oneshot::channel();
        let is_sent = self.0.send((request, answer)).is_ok();
        Box::pin(async move {
            match answered.await {
                Ok(answer) if is_sent => answer,
                _ => Err("the server has ended".into()),
            }
        })
    }
}

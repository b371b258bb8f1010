//! The endpoint `/metrics`, in the text format of OpenMetrics.

use std::fmt;
use std::sync::Arc;

use clarim_hub::{Recoveries, Rejected, Totals};
use clarim_protocol::{ChannelKind, GapReason};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::cluster::Cluster;
use crate::runtime::{Counters, Ended, KeyNumbers, ServerCounters};
use crate::sync::{BUCKETS, Counter, Histogram};

/// Content type of the response, which announces OpenMetrics.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is measured, at one moment.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) counters: Arc<ServerCounters>,
    /// Open connections by app id.
    pub(crate) connections: Vec<(String, u32)>,
    pub(crate) totals: Totals,
    pub(crate) recoveries: Recoveries,
    /// Size of all histories and cached events.
    pub(crate) retained_bytes: usize,
    pub(crate) keys: KeyNumbers,
    /// Bytes in the inbox of each worker.
    pub(crate) inbox_bytes: Vec<usize>,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) logs: Option<Cluster>,
    pub(crate) webhooks: WebhookNumbers,
    /// Present if there are traces.
    pub(crate) traces: Option<TraceNumbers>,
    pub(crate) dropped_log_lines: u64,
}

/// Numbers of webhook events and requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WebhookNumbers {
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    pub(crate) waiting: u64,
    /// Failed requests.
    pub(crate) failed: u64,
}

/// Numbers of requests to the collector of traces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TraceNumbers {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
}

impl Scrape {
    /// Formats it as text.
    pub(crate) fn render(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(encoder);
        self.connections(&mut sheet)?;
        self.traffic(&mut sheet)?;
        self.publishes(&mut sheet)?;
        self.histories(&mut sheet)?;
        self.workers(&mut sheet)?;
        if let Some(cluster) = &self.cluster {
            bus(cluster, &mut sheet)?;
        } else if let Some(logs) = &self.logs {
            history_file(logs, &mut sheet)?;
        }
        let webhooks = &self.webhooks;
        let events = [("sent", webhooks.sent), ("dropped", webhooks.dropped)];
        let help = "Webhook events accepted by their endpoint, or dropped since a queue was full or all retries failed";
        sheet.counters("clarim_webhook_events", help, "as", events.into_iter())?;
        let help = "Webhook events queued or being sent";
        sheet.gauge("clarim_webhook_events_waiting", help, webhooks.waiting)?;
        let help = "Failed webhook requests, before a retry or for good";
        sheet.counter("clarim_webhook_failures", help, webhooks.failed)?;
        if let Some(traces) = &self.traces {
            let requests = [("sent", traces.sent), ("failed", traces.failed)];
            let help = "Requests to the trace collector; the spans of a failed request are lost";
            sheet.counters("clarim_trace_requests", help, "as", requests.into_iter())?;
        }
        let help = "Log lines dropped since the reader of the log stalled";
        sheet.counter("clarim_log_lines_dropped", help, self.dropped_log_lines)?;
        process(&mut sheet)
    }
}

impl Scrape {
    fn connections(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let apps = self.connections.iter().map(|(app, count)| (app.as_str(), u64::from(*count)));
        sheet.gauges("clarim_connections", "Open connections", "app", apps)?;
        let opened = self.counters.sum(|counters| &counters.opened);
        sheet.counter("clarim_connections_opened", "Accepted connections", opened)?;
        let ended = Ended::ALL.into_iter().map(|(cause, by)| (by, self.counters.closed(cause)));
        let help = "Closed connections: by the client, by the server, since the client read too slowly, or lost without a close frame";
        sheet.counters("clarim_connections_closed", help, "by", ended)?;
        let refused = self.counters.refused();
        let refused = refused.iter().map(|(code, count)| (code.as_str(), *count));
        let help = "Refused connections, by close code";
        sheet.counters("clarim_connections_refused", help, "code", refused)?;
        let channels = self.totals.channels.map(|count| count as u64);
        let channels = ChannelKind::ALL.map(ChannelKind::label).into_iter().zip(channels);
        sheet.gauges("clarim_channels", "Channels with subscribers", "kind", channels)?;
        let subscriptions = self.totals.subscriptions as u64;
        sheet.gauge("clarim_subscriptions", "Subscriptions of connections", subscriptions)?;
        let members = self.totals.members as u64;
        sheet.gauge("clarim_presence_members", "Users on presence channels", members)
    }

    fn traffic(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let sum = |which: fn(&Counters) -> &Counter| self.counters.sum(which);
        let rejected = Rejected::ALL.map(|why| {
            (why.name(), self.counters.sum(|counters| &counters.rejected[why as usize]))
        });
        let help =
            "Rejected client requests, by reason: invalid signature, limit exceeded, rate limit, …";
        sheet.counters("clarim_messages_rejected", help, "why", rejected.into_iter())?;
        let received = sum(|counters| &counters.messages_received);
        sheet.counter("clarim_messages_received", "Messages received from clients", received)?;
        let help = "Bytes received on WebSockets";
        sheet.counter("clarim_received_bytes", help, sum(|counters| &counters.bytes_received))?;
        let help = "WebSocket frames written to client sockets, most of them deliveries";
        sheet.counter("clarim_frames_sent", help, sum(|counters| &counters.frames_sent))?;
        let help = "Bytes written to client sockets";
        sheet.counter("clarim_sent_bytes", help, sum(|counters| &counters.bytes_sent))?;
        let help =
            "Writes to client sockets; frames ÷ writes is the number of frames per system call";
        sheet.counter("clarim_writes", help, sum(|counters| &counters.writes))?;
        let outboxes = sum(|counters| &counters.outbox_bytes);
        let help = "Bytes in the send queues of clients, updated once a second";
        sheet.gauge("clarim_outbox_bytes", help, outboxes)?;
        let classes = [(1, "1xx"), (2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")];
        let requests = classes
            .map(|(class, name)| (name, self.counters.sum(|counters| &counters.requests[class])));
        let help = "HTTP requests answered, including handshakes";
        sheet.counters("clarim_http_requests", help, "status", requests.into_iter())?;
        let failed = self.counters.failed();
        let failed = failed.iter().map(|(status, count)| (status.as_str(), *count));
        let help = "HTTP requests answered with an error, by status: 401 invalid signature, 413 too large, …";
        sheet.counters("clarim_http_errors", help, "status", failed)
    }

    fn publishes(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let events = self.counters.sum(|counters| &counters.published_events);
        let help = "Published events, once for each channel";
        sheet.counter("clarim_events_published", help, events)?;
        let help = "Time from a checked publish request until the send queues of all subscribers have its events";
        self.histogram(sheet, "clarim_publish_seconds", help, |counters| &counters.publish_times)?;
        let help = "Time from an entry in a worker's inbox until it is written to every writable socket concerned";
        self.histogram(sheet, "clarim_delivery_lag_seconds", help, |counters| {
            &counters.delivery_times
        })
    }

    fn histories(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let Recoveries { recovered, replayed, gaps } = self.recoveries;
        let help = "Bytes of the histories and cached events of channels";
        sheet.gauge("clarim_history_bytes", help, self.retained_bytes as u64)?;
        let help = "Subscriptions that named a position in a history and missed nothing";
        sheet.counter("clarim_history_recoveries", help, recovered)?;
        let help = "Past events sent to new subscribers";
        sheet.counter("clarim_history_events_replayed", help, replayed)?;
        let gaps = GapReason::ALL.map(GapReason::as_str).into_iter().zip(gaps);
        // Gaps of a lost bus concern all subscribers, and are not counted here.
        let gaps = gaps.filter(|(reason, _)| *reason != GapReason::Bus.as_str());
        let help = "Subscriptions that got clarim:gap instead of what they missed, by reason";
        sheet.counters("clarim_history_gaps", help, "reason", gaps)?;
        let help = "Repeated publish requests, recognized by their idempotency key";
        sheet.counter("clarim_idempotency_repeats", help, self.keys.repeats)?;
        let help =
            "Idempotency keys forgotten in less than five minutes, since there were too many";
        sheet.counter("clarim_idempotency_keys_forgotten", help, self.keys.forgotten)
    }

    fn histogram(
        &self,
        sheet: &mut Sheet<'_>,
        name: &str,
        help: &str,
        which: fn(&Counters) -> &Histogram,
    ) -> fmt::Result {
        let count = |n: usize| self.counters.sum(|counters| &which(counters).buckets[n]);
        let bounds = BUCKETS.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> =
            bounds.enumerate().map(|(n, bound)| (bound, count(n))).collect();
        let total = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.counters.sum(|counters| &which(counters).microseconds) as f64 / 1e6;
        let mut metric = sheet.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(sum, total, &buckets, None)
    }

    fn workers(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let names: Vec<String> = (0..self.counters.workers.len()).map(|n| n.to_string()).collect();
        let named = |values: Vec<u64>| names.iter().map(String::as_str).zip(values);
        let inboxes = self.inbox_bytes.iter().map(|bytes| *bytes as u64).collect();
        let help = "Bytes in the inbox of a worker";
        sheet.gauges("clarim_worker_inbox_bytes", help, "worker", named(inboxes))?;
        let mut metric = sheet.0.encode_descriptor(
            "clarim_worker_cpu_seconds",
            "CPU time of a worker's thread",
            None,
            MetricType::Counter,
        )?;
        for (name, counters) in names.iter().zip(&self.counters.workers) {
            let seconds = cpu_nanoseconds(counters.thread.get()) as f64 / 1e9;
            let labels = [("worker", name.as_str())];
            count(metric.encode_family(&labels)?, &seconds)?;
        }
        Ok(())
    }
}

/// The bus between the nodes.
fn bus(cluster: &Cluster, sheet: &mut Sheet<'_>) -> fmt::Result {
    let state = cluster.state();
    let traffic = &cluster.traffic;
    sheet.gauge("clarim_bus_up", "Whether the bus is connected", u64::from(state.is_up))?;
    sheet.gauge("clarim_bus_nodes", "Other nodes that are alive", state.peers as u64)?;
    let help = "Channels this node is subscribed to on the bus";
    sheet.gauge("clarim_bus_channels", help, state.channels as u64)?;
    let help = "Round trip of this node's last message to itself over the bus";
    let mut lag =
        sheet.0.encode_descriptor("clarim_bus_lag_seconds", help, None, MetricType::Gauge)?;
    lag.encode_gauge(&state.lag.as_secs_f64())?;
    let messages = [("in", traffic.messages_in.get()), ("out", traffic.messages_out.get())];
    let help = "Messages received from the bus and sent to it";
    sheet.counters("clarim_bus_messages", help, "direction", messages.into_iter())?;
    let bytes = [("in", traffic.bytes_in.get()), ("out", traffic.bytes_out.get())];
    sheet.counters(
        "clarim_bus_bytes",
        "Bytes of those messages",
        "direction",
        bytes.into_iter(),
    )?;
    sheet.counter(
        "clarim_bus_losses",
        "Times the connection to the bus was lost",
        traffic.losses.get(),
    )?;
    let help = "Messages the bus did not accept; their content stayed on this node";
    sheet.counter("clarim_bus_messages_lost", help, state.lost)?;
    let help = "Unreadable messages on this cluster's subjects";
    sheet.counter("clarim_bus_rubbish", help, state.invalid)?;
    let help = "Skipped messages of newer cluster protocol versions";
    sheet.counter("clarim_bus_messages_skipped", help, state.skipped)?;
    let help = "Cluster protocol version in use, the newest that all nodes support";
    sheet.gauge("clarim_bus_protocol_version", help, state.version.into())
}

/// The file of the histories.
fn history_file(logs: &Cluster, sheet: &mut Sheet<'_>) -> fmt::Result {
    let state = logs.state();
    let help = "Whether the disk of the file of histories replies";
    sheet.gauge("clarim_history_file_up", help, u64::from(state.is_up))?;
    let help = "Events that the file of histories could not take; their publishers got 503";
    sheet.counter("clarim_history_file_refused", help, state.refused)
}

/// CPU time of a thread of this process; 0 where the system does not report it.
fn cpu_nanoseconds(thread: u64) -> u64 {
    let stat = format!("/proc/self/task/{thread}/schedstat");
    let stat = std::fs::read_to_string(stat).unwrap_or_default();
    stat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or_default()
}

/// Metrics of the process, under the names of Prometheus's own libraries. Left out where they are unknown.
fn process(sheet: &mut Sheet<'_>) -> fmt::Result {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix(" kB"));
    if let Some(kib) = resident.and_then(|kib| kib.trim().parse::<u64>().ok()) {
        sheet.gauge("process_resident_memory_bytes", "Resident memory", kib << 10)?;
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(limit) = limit {
        sheet.gauge("process_max_fds", "Maximum number of open files", limit)?;
    }
    let mut metric = sheet.0.encode_descriptor(
        "clarim_build",
        "Version of the server",
        None,
        MetricType::Info,
    )?;
    metric.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
}

/// The text being written.
struct Sheet<'a>(DescriptorEncoder<'a>);

impl Sheet<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        count(self.0.encode_descriptor(name, help, None, MetricType::Counter)?, &value)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, number) in values {
            count(metric.encode_family(&[(label, value)])?, &number)?;
        }
        Ok(())
    }

    fn gauges<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, number) in values {
            metric.encode_family(&[(label, value)])?.encode_gauge(&number)?;
        }
        Ok(())
    }
}

fn count(mut metric: MetricEncoder<'_>, value: &impl EncodeCounterValue) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, f64>(value, None)
}

//! How it is told: `/metrics`, in the text format that Prometheus reads.

use std::fmt;
use std::sync::Arc;

use clarim_hub::{Rejected, Totals};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::{BUCKETS, Counter, Counters, ENDS, Metrics, Times, by_number};
use crate::cluster::Cluster;
use crate::{traces, webhooks};

/// Of the answer; from which on it is one of the OpenMetrics standard.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that is told, at one moment.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) metrics: Arc<Metrics>,
    /// By the app's id.
    pub(crate) connections: Vec<(String, u32)>,
    pub(crate) totals: Totals,
    /// Of each worker.
    pub(crate) inbox_bytes: Vec<usize>,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) webhooks: Arc<webhooks::Counts>,
    pub(crate) dropped_log_lines: u64,
    /// If there are traces.
    pub(crate) traces: Option<Arc<traces::Counts>>,
}

impl Scrape {
    /// As text.
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
        self.workers(&mut sheet)?;
        if let Some(cluster) = &self.cluster {
            bus(cluster, &mut sheet)?;
        }
        let counts = &self.webhooks;
        let events = [("sent", counts.sent.get()), ("dropped", counts.dropped())];
        let help =
            "Webhook events: taken by an endpoint, or dropped: for want of room, or given up";
        sheet.counters("clarim_webhook_events", help, "as", events.into_iter())?;
        let help = "Webhook events that wait for their endpoint to take them";
        sheet.gauge("clarim_webhook_events_waiting", help, counts.waiting())?;
        let help = "Webhook requests that failed, and were made again or given up";
        sheet.counter("clarim_webhook_failures", help, counts.failed.get())?;
        if let Some(counts) = &self.traces {
            let requests = [("sent", counts.sent.get()), ("failed", counts.failed.get())];
            let help = "Requests to the collector of traces; those of one that failed are lost";
            sheet.counters("clarim_trace_requests", help, "as", requests.into_iter())?;
        }
        log(self.dropped_log_lines, &mut sheet)?;
        process(&mut sheet)
    }
}

impl Scrape {
    fn connections(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let apps = self.connections.iter().map(|(app, count)| (app.as_str(), u64::from(*count)));
        sheet.gauges("clarim_connections", "Open connections", "app", apps)?;
        let opened = self.metrics.sum(|counters| &counters.opened);
        sheet.counter("clarim_connections_opened", "Connections that were let in", opened)?;
        let ended = (0..)
            .zip(ENDS)
            .map(|(n, by)| (by, self.metrics.sum(|counters| &counters.closed[n as usize])));
        let help = "Connections that have ended: by a farewell of the client or the server, because the client read too slowly, or lost without a farewell";
        sheet.counters("clarim_connections_closed", help, "by", ended)?;
        let refused = by_number(&self.metrics.refused);
        let refused = refused.iter().map(|(code, count)| (code.as_str(), *count));
        let help = "Connections that were not let in, by close code";
        sheet.counters("clarim_connections_refused", help, "code", refused)?;
        let channels = self.totals.channels.map(|count| count as u64);
        let channels = Totals::KINDS.into_iter().zip(channels);
        sheet.gauges("clarim_channels", "Channels that have subscribers", "kind", channels)?;
        let subscriptions = self.totals.subscriptions as u64;
        sheet.gauge("clarim_subscriptions", "Subscriptions of connections", subscriptions)?;
        let members = self.totals.members as u64;
        sheet.gauge("clarim_presence_members", "Users on presence channels", members)
    }

    fn traffic(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let sum = |which: fn(&Counters) -> &Counter| self.metrics.sum(which);
        let rejected = Rejected::ALL
            .map(|why| (why.name(), self.metrics.sum(|counters| &counters.rejected[why as usize])));
        let help =
            "What clients have asked for in vain: wrong signatures, over a limit, too fast, …";
        sheet.counters("clarim_messages_rejected", help, "why", rejected.into_iter())?;
        let received = sum(|counters| &counters.messages_received);
        sheet.counter("clarim_messages_received", "Messages of clients", received)?;
        let help = "Bytes that clients have sent on WebSockets";
        sheet.counter("clarim_received_bytes", help, sum(|counters| &counters.bytes_received))?;
        let help =
            "Frames that the operating system has taken for clients; deliveries are most of them";
        sheet.counter("clarim_frames_sent", help, sum(|counters| &counters.frames_sent))?;
        let help = "Bytes that the operating system has taken for clients";
        sheet.counter("clarim_sent_bytes", help, sum(|counters| &counters.bytes_sent))?;
        let help = "Times that a socket was written to; frames ÷ writes is how many left at once";
        sheet.counter("clarim_writes", help, sum(|counters| &counters.writes))?;
        let outboxes = sum(|counters| &counters.outbox_bytes);
        let help = "What waits for clients that read slowly, looked at once a second";
        sheet.gauge("clarim_outbox_bytes", help, outboxes)?;
        let classes = [(1, "1xx"), (2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")];
        let requests = classes
            .map(|(class, name)| (name, self.metrics.sum(|counters| &counters.requests[class])));
        let help = "HTTP requests answered, handshakes among them";
        sheet.counters("clarim_http_requests", help, "status", requests.into_iter())?;
        let failed = by_number(&self.metrics.failed);
        let failed = failed.iter().map(|(status, count)| (status.as_str(), *count));
        let help = "HTTP requests answered with an error: 401 a wrong signature, 413 too large, …";
        sheet.counters("clarim_http_errors", help, "status", failed)
    }

    fn publishes(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let events = self.metrics.sum(|counters| &counters.published.events);
        let help = "Events of backends, once for each channel";
        sheet.counter("clarim_events_published", help, events)?;
        let help = "From a checked request to the outboxes of all subscribers, in seconds";
        self.times(sheet, "clarim_publish_seconds", help, |counters| &counters.published.times)?;
        let help = "From when something came for a worker to when it was written to each socket that could take it, in seconds";
        self.times(sheet, "clarim_delivery_lag_seconds", help, |counters| &counters.delivered)
    }

    fn times(
        &self,
        sheet: &mut Sheet<'_>,
        name: &str,
        help: &str,
        which: fn(&Counters) -> &Times,
    ) -> fmt::Result {
        let count = |n: usize| self.metrics.sum(|counters| &which(counters).buckets[n]);
        let ends = BUCKETS.iter().map(|end| *end as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = ends.enumerate().map(|(n, end)| (end, count(n))).collect();
        let all = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.metrics.sum(|counters| &which(counters).microseconds) as f64 / 1e6;
        let mut metric = sheet.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(sum, all, &buckets, None)
    }

    fn workers(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let names: Vec<String> = (0..self.metrics.workers.len()).map(|n| n.to_string()).collect();
        let named = |values: Vec<u64>| names.iter().map(String::as_str).zip(values);
        let inboxes = self.inbox_bytes.iter().map(|bytes| *bytes as u64).collect();
        let help = "What waits to be handed out by a worker";
        sheet.gauges("clarim_worker_inbox_bytes", help, "worker", named(inboxes))?;
        let mut metric = sheet.0.encode_descriptor(
            "clarim_worker_cpu_seconds",
            "CPU time of a worker's thread",
            None,
            MetricType::Counter,
        )?;
        for (name, counters) in names.iter().zip(&self.metrics.workers) {
            let seconds = cpu_nanoseconds(counters.thread.get()) as f64 / 1e9;
            let labels = [("worker", name.as_str())];
            count(metric.encode_family(&labels)?, &seconds)?;
        }
        Ok(())
    }
}

/// The bus between the nodes, and who is on it.
fn bus(cluster: &Cluster, sheet: &mut Sheet<'_>) -> fmt::Result {
    let (state, traffic) = (cluster.state(), &cluster.traffic);
    sheet.gauge("clarim_bus_up", "Whether the bus is connected", u64::from(state.is_up))?;
    sheet.gauge("clarim_bus_nodes", "Other nodes that are there", state.peers as u64)?;
    let help = "Channels whose subjects are listened to";
    sheet.gauge("clarim_bus_channels", help, state.channels as u64)?;
    let help = "How long the last message of this node to itself took";
    let mut lag =
        sheet.0.encode_descriptor("clarim_bus_lag_seconds", help, None, MetricType::Gauge)?;
    lag.encode_gauge(&state.lag.as_secs_f64())?;
    let messages = [("in", traffic.messages_in.get()), ("out", traffic.messages_out.get())];
    let help = "Messages that came over the bus or went";
    sheet.counters("clarim_bus_messages", help, "direction", messages.into_iter())?;
    let bytes = [("in", traffic.bytes_in.get()), ("out", traffic.bytes_out.get())];
    sheet.counters("clarim_bus_bytes", "Bytes of those", "direction", bytes.into_iter())?;
    sheet.counter("clarim_bus_losses", "Times that the bus was lost", traffic.losses.get())?;
    let help = "Messages that the bus has not taken: what they said stayed on this node";
    sheet.counter("clarim_bus_messages_lost", help, state.lost)?;
    let help = "Messages on our subjects that were none of ours";
    sheet.counter("clarim_bus_rubbish", help, state.rubbish)
}

/// CPU time of a thread of this process; 0 where the system does not tell.
fn cpu_nanoseconds(thread: u64) -> u64 {
    let stat = format!("/proc/self/task/{thread}/schedstat");
    let stat = std::fs::read_to_string(stat).unwrap_or_default();
    stat.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or_default()
}

/// Lines of the log that were dropped.
fn log(dropped: u64, sheet: &mut Sheet<'_>) -> fmt::Result {
    let help = "Lines of the log that nobody has taken in time: its reader has stalled";
    sheet.counter("clarim_log_lines_dropped", help, dropped)
}

/// Of the process, under the names that Prometheus's own libraries use. Nothing where they can't be known.
fn process(sheet: &mut Sheet<'_>) -> fmt::Result {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix(" kB"));
    if let Some(kib) = resident.and_then(|kib| kib.trim().parse::<u64>().ok()) {
        sheet.gauge("process_resident_memory_bytes", "Resident memory", kib << 10)?;
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(limit) = limit {
        sheet.gauge("process_max_fds", "Files that may be open", limit)?;
    }
    let mut metric = sheet.0.encode_descriptor(
        "clarim_build",
        "The version that runs",
        None,
        MetricType::Info,
    )?;
    metric.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
}

/// What is being written.
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

//! What is counted, and how it is told: `/metrics`, in the text format that Prometheus reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clarim_hub::{Rejected, Totals, WorkerId};
use clarim_protocol::Code;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::cluster::Cluster;
use crate::webhooks;

/// Of the answer; from which on it is one of the OpenMetrics standard.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper ends of the buckets for the time of a publish, in microseconds.
const BUCKETS: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 2_000_000];

/// What one thread counts. Nobody else writes here while it works, so it costs no more than an addition;
/// the alignment keeps the counters of two threads out of one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) opened: Counter,
    /// By what has ended them; see [`ENDS`].
    pub(crate) closed: [Counter; ENDS.len()],
    /// What clients have asked for in vain, by [`Rejected`].
    pub(crate) rejected: [Counter; Rejected::ALL.len()],
    pub(crate) messages_received: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) frames_sent: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) writes: Counter,
    /// By the first digit of the status; 0 is not used.
    pub(crate) requests: [Counter; 6],
    pub(crate) published: Publishes,
    /// Looked at once a second.
    pub(crate) outbox_bytes: Counter,
    /// The operating system's number for the thread.
    pub(crate) thread: Counter,
}

/// What ends connections, as the label says it.
const ENDS: [&str; 4] = ["client", "server", "slow", "lost"];

/// What has ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client has said farewell.
    ByClient,
    /// The server has, with a code.
    ByServer,
    /// The outbox was full.
    Slow,
    /// Without a farewell.
    Lost,
}

/// A number that goes up, or is set.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Events of backends, and how long it took until all subscribers' outboxes had them.
#[derive(Debug, Default)]
pub(crate) struct Publishes {
    events: Counter,
    buckets: [Counter; BUCKETS.len() + 1],
    microseconds: Counter,
}

impl Publishes {
    /// Takes note of one request that published so many events.
    pub(crate) fn add(&self, events: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.events.add(events as u64);
        self.microseconds.add(micros);
        self.buckets[BUCKETS.partition_point(|end| *end < micros)].add(1);
    }
}

impl Counters {
    pub(crate) fn ended(&self, how: Ended) {
        self.closed[how as usize].add(1);
    }
}

/// The counters of all threads.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    workers: Vec<Arc<Counters>>,
    /// Of all threads that are not the server's own.
    outside: Arc<Counters>,
    refused: Mutex<BTreeMap<u16, u64>>,
    /// HTTP requests that were answered with an error, by status.
    failed: Mutex<BTreeMap<u16, u64>>,
}

impl Metrics {
    pub(crate) fn new(workers: u16) -> Self {
        let workers = (0..workers).map(|_| Arc::default()).collect();
        Self { workers, ..Self::default() }
    }

    pub(crate) fn of(&self, worker: WorkerId) -> Arc<Counters> {
        self.workers[usize::from(worker.0)].clone()
    }

    pub(crate) fn outside(&self) -> Arc<Counters> {
        self.outside.clone()
    }

    /// All publishes: how many events, how many requests took up to so many microseconds, and how many all.
    pub(crate) fn publishes(&self) -> serde_json::Value {
        let buckets = (0..=BUCKETS.len())
            .map(|n| self.sum(|counters| &counters.published.buckets[n]))
            .collect::<Vec<_>>();
        serde_json::json!({
            "events": self.sum(|counters| &counters.published.events),
            "microseconds": self.sum(|counters| &counters.published.microseconds),
            "ends": BUCKETS,
            "buckets": buckets,
        })
    }

    /// Takes note of a connection that was not let in.
    pub(crate) fn refuse(&self, code: Code) {
        count_one(&self.refused, code.get());
    }

    /// Takes note of an HTTP request that was answered with an error.
    pub(crate) fn fail(&self, status: u16) {
        count_one(&self.failed, status);
    }

    pub(crate) fn sum(&self, which: impl Fn(&Counters) -> &Counter) -> u64 {
        let all = self.workers.iter().chain([&self.outside]);
        all.map(|counters| which(counters).get()).sum()
    }

    pub(crate) fn closed(&self, how: Ended) -> u64 {
        self.sum(|counters| &counters.closed[how as usize])
    }
}

fn count_one(counts: &Mutex<BTreeMap<u16, u64>>, number: u16) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(number).or_default() += 1;
}

fn by_number(counts: &Mutex<BTreeMap<u16, u64>>) -> Vec<(String, u64)> {
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    counts.iter().map(|(number, count)| (number.to_string(), *count)).collect()
}

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
        log(&mut sheet)?;
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
        let count = |n: usize| self.metrics.sum(|counters| &counters.published.buckets[n]);
        let ends = BUCKETS.iter().map(|end| *end as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = ends.enumerate().map(|(n, end)| (end, count(n))).collect();
        let all = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.metrics.sum(|counters| &counters.published.microseconds) as f64 / 1e6;
        let help = "From a checked request to the outboxes of all subscribers, in seconds";
        let mut metric = sheet.0.encode_descriptor(
            "clarim_publish_seconds",
            help,
            None,
            MetricType::Histogram,
        )?;
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
fn log(sheet: &mut Sheet<'_>) -> fmt::Result {
    let help = "Lines of the log that nobody has taken in time: its reader has stalled";
    sheet.counter("clarim_log_lines_dropped", help, crate::log::dropped())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_counts_in_the_first_bucket_that_it_fits() {
        let published = Publishes::default();
        for micros in [50, 51, 2_000_000, 2_000_001] {
            published.add(2, Duration::from_micros(micros));
        }
        let counts: Vec<u64> = published.buckets.iter().map(Counter::get).collect();
        assert_eq!(counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(published.events.get(), 8);
    }

    #[test]
    fn counters_of_two_threads_share_no_cache_line() {
        assert_eq!(align_of::<Counters>(), 128);
        assert_eq!(size_of::<Counters>() % 128, 0);
    }
}

//! `GET overview`: the counters. Summed at most once a second for all clients.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clarim_hub::Rejected;
use clarim_protocol::ChannelKind;
use serde_json::{Map, Value, json};

use super::Inspector;
use crate::cluster::Cluster;
use crate::http::Http;
use crate::http::response::{ApiResponse, json};
use crate::runtime::{Counters, Ended, ServerCounters};
use crate::sync::{BUCKETS, Counter};

/// Maximum age of a response. The page asks once a second.
const MAX_AGE: Duration = Duration::from_millis(900);

/// The last overview, and when it was made.
#[derive(Debug)]
pub(super) struct CachedOverview {
    made: Instant,
    body: Bytes,
}

pub(super) fn show(http: &Http, inspector: &Inspector) -> ApiResponse {
    let mut cached = inspector.overview.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cached) = &*cached
        && cached.made.elapsed() < MAX_AGE
    {
        return json(cached.body.clone());
    }
    let body = Bytes::from(describe(http, inspector).to_string());
    *cached = Some(CachedOverview { made: Instant::now(), body: body.clone() });
    json(body)
}

fn describe(http: &Http, inspector: &Inspector) -> Value {
    let counters = &http.server_counters;
    let sum = |which: fn(&Counters) -> &Counter| counters.sum(which);
    let apps = http.node.apps();
    let connections: Vec<Value> =
        apps.counts().map(|(app, count)| json!({ "app": app.id, "connections": count })).collect();
    let totals = http.node.totals();
    let kinds: Map<String, Value> = ChannelKind::ALL
        .map(ChannelKind::label)
        .into_iter()
        .zip(totals.channels)
        .map(|(kind, count)| (kind.to_owned(), count.into()))
        .collect();
    let rejected: Map<String, Value> = Rejected::ALL
        .map(|why| (why.name().to_owned(), sum_rejected(counters, why).into()))
        .into_iter()
        .collect();
    let refused: Map<String, Value> =
        counters.refused().into_iter().map(|(code, count)| (code, count.into())).collect();
    let webhooks = inspector.webhooks.summary();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_ms": u64::try_from(http.now().as_millis()).unwrap_or(u64::MAX),
        "apps": connections,
        "channels": kinds,
        "subscriptions": totals.subscriptions,
        "members": totals.members,
        "opened": sum(|counters| &counters.opened),
        "received": sum(|counters| &counters.messages_received),
        "frames": sum(|counters| &counters.frames_sent),
        "bytes_in": sum(|counters| &counters.bytes_received),
        "bytes_out": sum(|counters| &counters.bytes_sent),
        "outbox_bytes": sum(|counters| &counters.outbox_bytes),
        "inbox_bytes": http.node.sink().inboxes.bytes().iter().sum::<usize>(),
        "publishes": publishes(counters),
        "problems": {
            "slow": counters.closed(Ended::Slow), "refused": refused, "rejected": rejected,
        },
        "webhooks": {
            "sent": webhooks.sent, "failed": webhooks.failed, "dropped": webhooks.dropped,
        },
        "cluster": http.cluster.as_ref().map(nodes),
    })
}

fn sum_rejected(counters: &ServerCounters, why: Rejected) -> u64 {
    counters.sum(|counters| &counters.rejected[why as usize])
}

/// The histogram of publish requests.
fn publishes(counters: &ServerCounters) -> Value {
    let buckets: Vec<u64> = (0..=BUCKETS.len())
        .map(|n| counters.sum(|counters| &counters.publish_times.buckets[n]))
        .collect();
    json!({
        "events": counters.sum(|counters| &counters.published_events),
        "microseconds": counters.sum(|counters| &counters.publish_times.microseconds),
        "ends": BUCKETS,
        "buckets": buckets,
    })
}

fn nodes(cluster: &Cluster) -> Value {
    let state = cluster.state();
    json!({
        "is_up": state.is_up,
        "lag_us": u64::try_from(state.lag.as_micros()).unwrap_or(u64::MAX),
        "lost": state.lost,
        "me": format!("{:016x}", cluster.id.0),
        "nodes": cluster.nodes().iter().map(|node| format!("{:016x}", node.0)).collect::<Vec<_>>(),
    })
}

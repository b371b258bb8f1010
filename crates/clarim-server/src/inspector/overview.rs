//! `GET overview`: what is counted. Added up at most once a second, for all who watch.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clarim_protocol::ChannelKind;
use serde_json::{Map, Value, json};

use super::Inspector;
use crate::cluster::Cluster;
use crate::http::Http;
use crate::http::answer::{Answer, json};
use crate::metrics::Counters;

/// The page asks once a second: what is a little younger is new enough.
const FRESH: Duration = Duration::from_millis(900);

pub(super) fn answer(http: &Http, inspector: &Inspector) -> Answer {
    let mut last = inspector.overview.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((made, body)) = &*last
        && made.elapsed() < FRESH
    {
        return json(body.clone());
    }
    let body = Bytes::from(facts(http).to_string());
    *last = Some((Instant::now(), body.clone()));
    json(body)
}

fn facts(http: &Http) -> Value {
    let metrics = &http.metrics;
    let sum = |which: fn(&Counters) -> &crate::metrics::Counter| metrics.sum(which);
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
    let counts = &http.webhooks;
    let webhooks = json!({
        "sent": counts.sent.get(), "failed": counts.failed.get(), "dropped": counts.dropped(),
    });
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
        "inbox_bytes": http.node.sink().bytes().iter().sum::<usize>(),
        "publishes": metrics.publishes(),
        "webhooks": webhooks,
        "cluster": http.cluster.as_ref().map(nodes),
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

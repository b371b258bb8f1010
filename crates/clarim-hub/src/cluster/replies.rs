//! Replies to queries of other nodes.

use std::time::Duration;

use clarim_cluster::{ClusterMessage, Query, QueryReply};
use clarim_protocol::ChannelName;
use clarim_protocol::user::UserId;

use crate::address::ChannelKey;
use crate::node::Node;
use crate::outputs::OutputSink;

/// Replies to the query with this ticket, in as many parts as necessary.
pub(super) fn reply<S: OutputSink>(
    node: &Node<S>,
    app: &str,
    query: &Query<'_>,
    ticket: u64,
    now: Duration,
    mut send: impl FnMut(ClusterMessage<'_>),
) {
    let mut parts = 0..;
    let mut send = |answer: QueryReply<'_>, more| {
        let index = parts.next();
        send(ClusterMessage::Reply { ticket, more, answer, index });
    };
    let Some(app) = node.apps().find_by_id(app) else { return send(QueryReply::Done, false) };
    let key =
        |name: &str| ChannelName::parse(name, usize::MAX).ok().map(|name| ChannelKey { app, name });
    let part_bytes = node.config().part_bytes;
    match query {
        Query::Channels(prefix) => {
            let channels = node.channels(app, prefix);
            let channels = channels.iter().map(|(name, state)| {
                (name.as_str(), state.subscriptions as u64, state.users as u64)
            });
            in_parts(channels, |(name, ..)| name.len(), part_bytes, QueryReply::Channels, send);
        }
        Query::Channel(name) => {
            let state = key(name).map(|key| node.channel(&key, now)).unwrap_or_default();
            let known = (&**name, state.subscriptions as u64, state.users as u64);
            send(QueryReply::Channels(vec![known]), state.cached.is_some());
            if let Some((frame, ttl)) = state.cached {
                let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                send(QueryReply::Cached(frame.payload().into(), ttl), false);
            }
        }
        Query::Users(name) => {
            let users = key(name).map(|key| node.users(&key)).unwrap_or_default();
            let ids = users.iter().map(UserId::as_str);
            in_parts(ids, |id| id.len(), part_bytes, QueryReply::Users, send);
        }
        Query::Connections => {
            send(QueryReply::Connections(u64::from(node.apps().connections(app))), false);
        }
        Query::Terminate(user) => {
            node.terminate(app, user, None);
            send(QueryReply::Done, false);
        }
    }
}

fn in_parts<'a, T>(
    items: impl Iterator<Item = T>,
    bytes: impl Fn(&T) -> usize,
    part_bytes: usize,
    reply: impl Fn(Vec<T>) -> QueryReply<'a>,
    mut send: impl FnMut(QueryReply<'a>, bool),
) {
    let mut part = Vec::new();
    let mut size = 0;
    for item in items {
        if size > part_bytes {
            size = 0;
            send(reply(std::mem::take(&mut part)), true);
        }
        size += bytes(&item) + 16;
        part.push(item);
    }
    send(reply(part), false);
}

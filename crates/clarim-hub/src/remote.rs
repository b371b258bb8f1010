//! The node's side towards its cluster: what the other nodes say, and what they are told.

use std::borrow::Cow;
use std::time::Duration;

use clarim_protocol::cluster::{ClusterMessage, ExternalEvent, NodeId};
use clarim_protocol::{ChannelName, Frame, server};
use serde_json::value::RawValue;

use crate::entry::{ChannelKey, DeliveryAcks, Occupant, Outputs};
use crate::link::say;
use crate::node::{Node, SHARDS, lock};
use crate::replica::is_shared;
use crate::shard::{Keep, Publication};

impl<P: Outputs> Node<P> {
    /// The channel's subject is listened to, and the other nodes have said what they have there, or nobody
    /// waits for it any more: those who have waited are let in.
    pub fn opened(&self, channel: &ChannelKey, now: Duration) {
        let app = self.app(channel.app);
        self.channel_shard(channel).opened(channel, app, now, self.post());
    }

    /// Whether the other nodes are to be asked what they have on the channel before it is open.
    pub fn is_shared(&self, channel: &ChannelKey) -> bool {
        is_shared(channel, self.app(channel.app))
    }

    /// Tells the other nodes what this one has on the channel, and asks what they have.
    pub fn say_hello(&self, channel: &ChannelKey, now: Duration) {
        self.channel_shard(channel).say_state(channel, now, (true, self.post()));
    }

    /// Takes what another node says on a channel.
    pub fn hear(
        &self,
        channel: &ChannelKey,
        from: NodeId,
        word: &ClusterMessage<'_>,
        now: Duration,
    ) {
        if let &ClusterMessage::Event { payload, except, kept, trace } = word {
            let frame = &Frame::text(payload);
            let keep = kept.map_or(Keep::No, Keep::Numbered);
            let except = except.map(Into::into);
            let receipt = trace.and_then(|trace| self.post().arrived(self.apps(), channel, trace));
            let receipts = DeliveryAcks { here: receipt.as_ref(), bus: None };
            let publication = Publication { channel, frame, except, receipts, keep, now };
            let mut shard = self.channel_shard(channel);
            // It may have been closed just now.
            if shard.has(channel) {
                shard.deliver(publication, self.post());
            }
            return;
        }
        let app = self.app(channel.app);
        self.channel_shard(channel).hear(channel, (from, word), (app, now), self.post());
    }

    /// Takes what this node itself has said on a channel, when the bus has brought it back.
    pub fn hear_myself(&self, channel: &ChannelKey, word: &ClusterMessage<'_>, now: Duration) {
        if let ClusterMessage::StateChange { change, .. } = word {
            let app = self.app(channel.app);
            self.channel_shard(channel).hear_myself(channel, change, (app, now), self.post());
        }
    }

    /// Tells the other nodes that an app's backend is not told of somebody's leaving, who has come to one of
    /// them: see [`Migration`](crate::Migration).
    pub fn say_kept(&self, who: &Occupant) {
        let shard = self.channel_shard(&who.channel);
        if shard.has(&who.channel) {
            say(&who.channel, &ClusterMessage::LeaveSuppressed(who.user.as_deref()), self.post());
        }
    }

    /// Takes an event of a publisher that is no node. Whether it is one that may be published.
    pub fn hear_outside(
        &self,
        channel: &ChannelKey,
        event: &ExternalEvent<'_>,
        now: Duration,
    ) -> bool {
        let Some(frame) = self.check(channel, event) else { return false };
        let (except, frame) = (event.except.map(Into::into), &frame);
        let (receipts, keep) = (DeliveryAcks::default(), Keep::No);
        let publication = Publication { channel, frame, except, receipts, keep, now };
        self.channel_shard(channel).deliver(publication, self.post());
        true
    }

    /// Publishes an event of a publisher that is no node, here and elsewhere. Whether it may be published.
    pub fn relay(
        &self,
        app: &str,
        channel: &str,
        event: &ExternalEvent<'_>,
        now: Duration,
    ) -> bool {
        let Some(app) = self.apps().find_by_id(app) else { return false };
        let max = self.app(app).limits.channel_name_bytes;
        let Ok(name) = ChannelName::parse(channel, max) else { return false };
        let channel = ChannelKey { app, name };
        let Some(frame) = self.check(&channel, event) else { return false };
        self.publish(&channel, &frame, event.except.map(Into::into), DeliveryAcks::default(), now);
        true
    }

    /// The frame of an event from outside, if names and sizes are within the limits.
    fn check(&self, channel: &ChannelKey, event: &ExternalEvent<'_>) -> Option<Frame> {
        let limits = &self.app(channel.app).limits;
        let text: Cow<'_, str> = serde_json::from_str(event.data).ok()?;
        let fits = !event.name.is_empty()
            && event.name.len() <= limits.event_name_bytes
            && text.len() <= limits.event_data_bytes;
        let data: &RawValue = serde_json::from_str(event.data).ok()?;
        fits.then(|| server::event(event.name, &channel.name, data))
    }

    /// The channels are in so many parts, for [`say_all`](Self::say_all) and [`refresh`](Self::refresh).
    pub const PARTS: usize = SHARDS;

    /// Tells the other nodes what this one has on each channel of a part; with `hello`, to hear what they
    /// have.
    pub fn say_all(&self, part: usize, hello: bool, now: Duration) {
        let app = |key: &ChannelKey| self.app(key.app);
        lock(&self.channels[part % SHARDS]).say_all(now, hello, app, self.post());
    }

    /// Tells the other nodes of which number this node's states are, on each channel of a part, and forgets
    /// what has not been heard of since `since`.
    pub fn refresh(&self, part: usize, since: Duration, now: Duration) {
        let app = |key: &ChannelKey| self.app(key.app);
        lock(&self.channels[part % SHARDS]).refresh((since, now), app, self.post());
    }

    /// A node has gone: what it had is forgotten, and its members are announced as gone; to backends too if
    /// `is_told`.
    pub fn lose(&self, node: NodeId, is_told: bool, now: Duration) {
        for shard in &self.channels {
            lock(shard).lose((node, is_told), now, |key| self.app(key.app), self.post());
        }
    }

    /// Another node alone has this channel, and asks this one to have it too. Whether there can be such a
    /// channel.
    pub fn guard(&self, app: &str, channel: &str, now: Duration) -> bool {
        let Some(app) = self.apps().find_by_id(app) else { return false };
        let max = self.app(app).limits.channel_name_bytes;
        let Ok(name) = ChannelName::parse(channel, max) else { return false };
        let key = ChannelKey { app, name };
        self.channel_shard(&key).guard(&key, now, self.post());
        true
    }
}

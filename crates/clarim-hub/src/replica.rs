//! What a shard does with what other nodes say of its channels.

use std::time::Duration;

use clarim_protocol::cluster::{Change, ClusterMessage, NodeId, State};
use clarim_protocol::user::Member;
use clarim_protocol::{ChannelKind, Frame};

use crate::app::App;
use crate::channel::Channel;
use crate::entry::{ChannelEvent, ChannelKey, Migration, Occupant, Outputs};
use crate::link::say;
use crate::shard::Shard;

/// After how long it is asked again for a state of which something was missed.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// For so long after somebody has left it is told that they have come to another node: longer than backends
/// are kept waiting.
const MOVING: Duration = Duration::from_secs(5);

/// Whether nodes need to know of each other on a channel, and not only its events.
pub(crate) fn is_shared(key: &ChannelKey, app: &App) -> bool {
    let kind = key.name.kind();
    kind == ChannelKind::Presence
        || kind == ChannelKind::User
        || key.name.is_cache()
        || app.subscription_count
        || app.hooks.occupancy
}

impl Shard {
    /// What another node says of a channel; events come by [`deliver`](Self::deliver).
    pub(crate) fn hear(
        &mut self,
        key: &ChannelKey,
        (from, word): (NodeId, &ClusterMessage<'_>),
        (app, now): (&App, Duration),
        post: &impl Outputs,
    ) {
        if !self.channels.contains_key(key) {
            return;
        }
        match word {
            ClusterMessage::SyncRequest(state) => {
                self.hear_state(key, (from, state), (app, now), post);
                let link = self.channels.get_mut(key).and_then(|channel| channel.link.as_mut());
                if let Some(link) = link.filter(|link| !link.asked.contains(&from)) {
                    link.asked.push(from);
                }
                self.say_state(key, now, (false, post));
            }
            ClusterMessage::State(state) => self.hear_state(key, (from, state), (app, now), post),
            ClusterMessage::StateChange { number, change } => {
                self.hear_change(key, (from, *number, change), (app, now), post);
            }
            ClusterMessage::VersionDigest(number) => {
                let link = self.channels.get_mut(key).and_then(|channel| channel.link.as_mut());
                if let Some(link) = link
                    && link.hear(from, now).number != Some(*number)
                {
                    link.want(from, key, now, post);
                }
            }
            ClusterMessage::StateRequest(node) if post.node_id() == Some(*node) => {
                self.say_state(key, now, (false, post));
            }
            ClusterMessage::LeaveSuppressed(user) => {
                let who = Occupant { channel: key.clone(), user: user.map(Into::into) };
                let is_wanted =
                    if user.is_some() { app.hooks.members } else { app.hooks.occupancy };
                if is_wanted {
                    post.moved(Migration::Here(who));
                }
            }
            ClusterMessage::ChannelClosed => self.lose_on(key, from, (app, now), post),
            _ => {}
        }
    }

    /// Tells the other nodes what this one has on the channel; with `hello`, to hear theirs.
    pub(crate) fn say_state(
        &mut self,
        key: &ChannelKey,
        now: Duration,
        (hello, post): (bool, &impl Outputs),
    ) {
        if let Some(channel) = self.channels.get_mut(key) {
            channel.say_state(key, now, (hello, post));
        }
    }

    /// Tells the other nodes what this one has on each of its channels; with `hello`, to hear theirs.
    pub(crate) fn say_all<'a>(
        &mut self,
        now: Duration,
        hello: bool,
        app: impl Fn(&ChannelKey) -> &'a App,
        post: &impl Outputs,
    ) {
        let open = |channel: &Channel| channel.link.as_ref().is_some_and(|link| link.is_open());
        for (key, channel) in &mut self.channels {
            if is_shared(key, app(key)) && open(channel) {
                channel.say_state(key, now, (hello, post));
                channel.ask_for_guard(key, app(key), post);
            }
        }
    }

    /// Tells the other nodes the numbers of this one's states, so that who has missed something hears of it.
    /// What has not been heard of since `since` is forgotten: its node has closed the channel.
    pub(crate) fn refresh<'a>(
        &mut self,
        (since, now): (Duration, Duration),
        app: impl Fn(&ChannelKey) -> &'a App,
        post: &impl Outputs,
    ) {
        let mut silent: Vec<(ChannelKey, NodeId)> = Vec::new();
        for (key, channel) in &self.channels {
            let Some(link) = channel.link.as_ref().filter(|link| link.is_open()) else { continue };
            if is_shared(key, app(key)) {
                link.say_number(key, post);
                silent.extend(link.silent_since(since).into_iter().map(|node| (key.clone(), node)));
            }
        }
        for (key, node) in silent {
            self.lose_on(&key, node, (app(&key), now), post);
        }
    }

    /// A node is no longer there: nor is what it had. `is_told`: backends hear of it.
    pub(crate) fn lose<'a>(
        &mut self,
        (node, is_told): (NodeId, bool),
        now: Duration,
        app: impl Fn(&ChannelKey) -> &'a App,
        post: &impl Outputs,
    ) {
        let knows = |channel: &mut Channel| {
            channel.link.as_mut().is_some_and(|link| link.remote(node).is_some())
        };
        let concerned: Vec<ChannelKey> = self
            .channels
            .iter_mut()
            .filter_map(|(key, channel)| knows(channel).then(|| key.clone()))
            .collect();
        for key in concerned {
            let before = self.known(&key);
            self.lose_on(&key, node, (app(&key), now), post);
            if is_told {
                self.tell_of_loss(&key, &before, (app(&key), now), post);
            }
        }
    }

    /// Users and subscribers of a channel on all nodes, before some of them are lost.
    fn known(&self, key: &ChannelKey) -> (Vec<Box<str>>, usize) {
        let Some(channel) = self.channels.get(key) else { return Default::default() };
        let ids = channel.presence.iter().flat_map(|presence| presence.ids());
        (ids.map(|id| id.as_str().into()).collect(), channel.everywhere())
    }

    /// A node that has died can't tell the backend who has left with it: of the others, the first does.
    fn tell_of_loss(
        &mut self,
        key: &ChannelKey,
        (users, subscribers): &(Vec<Box<str>>, usize),
        (app, now): (&App, Duration),
        post: &impl Outputs,
    ) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        if !channel.link.as_ref().is_some_and(|link| link.is_first(post.node_id())) {
            return;
        }
        for id in users.iter().filter(|_| app.hooks.members) {
            if !channel.presence.as_ref().is_some_and(|there| there.has(id)) {
                channel.tell_left(ChannelEvent::MemberRemoved(key.clone(), id.clone()), now, post);
            }
        }
        if app.hooks.occupancy && *subscribers > 0 && channel.everywhere() == 0 {
            channel.tell_left(ChannelEvent::Vacated(key.clone()), now, post);
        }
    }

    /// The bus has brought back what this node has said. As all nodes hear what is said on a channel in one
    /// order, that is the moment to decide who tells the backend: who came when nobody was there, or left
    /// when nobody else was.
    pub(crate) fn hear_myself(
        &mut self,
        key: &ChannelKey,
        change: &Change<'_>,
        (app, now): (&App, Duration),
        post: &impl Outputs,
    ) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        let is_elsewhere =
            |id: &str| channel.presence.as_ref().is_some_and(|there| there.is_elsewhere(id));
        match change {
            Change::Joined(data) if app.hooks.members => {
                if let Ok(member) = Member::parse(data)
                    && !is_elsewhere(member.id.as_str())
                {
                    post.fact(ChannelEvent::MemberAdded(key.clone(), member.id.as_str().into()));
                }
            }
            Change::Left(id) if app.hooks.members && !is_elsewhere(id) => {
                channel.tell_left(
                    ChannelEvent::MemberRemoved(key.clone(), (*id).into()),
                    now,
                    post,
                );
            }
            Change::Subscriptions(count) => {
                let Some(link) = &mut channel.link else { return };
                let before = std::mem::replace(&mut link.heard, *count);
                if app.hooks.occupancy && link.subscriptions_elsewhere() == 0 {
                    match (before, count) {
                        (0, 1..) => post.fact(ChannelEvent::Occupied(key.clone())),
                        (1.., 0) => {
                            channel.tell_left(ChannelEvent::Vacated(key.clone()), now, post)
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn lose_on(
        &mut self,
        key: &ChannelKey,
        node: NodeId,
        (app, now): (&App, Duration),
        post: &impl Outputs,
    ) {
        let nothing = State::default();
        self.replace(key, (node, &nothing, &[]), (app, now), post);
        let Some(channel) = self.channels.get_mut(key) else { return };
        if let Some(link) = &mut channel.link {
            link.forget(node);
        }
        channel.ask_for_guard(key, app, post);
        self.end_guard(key, now, post);
    }

    fn hear_state(
        &mut self,
        key: &ChannelKey,
        (from, state): (NodeId, &State<'_>),
        (app, now): (&App, Duration),
        post: &impl Outputs,
    ) {
        if let Some((number, payload)) = state.cached
            && key.name.is_cache()
        {
            self.remember(key, &Frame::text(payload), (number, now), post);
        }
        let Some(link) = self.channels.get_mut(key).and_then(|channel| channel.link.as_mut())
        else {
            return;
        };
        let remote = link.hear(from, now);
        if remote.number == Some(state.number) && remote.parts.is_empty() && !state.more {
            return;
        }
        remote.parts.extend(state.members.iter().filter_map(|data| Member::parse(data).ok()));
        if !state.more {
            let members = std::mem::take(&mut remote.parts);
            self.replace(key, (from, state, &members), (app, now), post);
        }
    }

    /// From now on the node has on the channel what `state` and `members` say, and nothing else.
    fn replace(
        &mut self,
        key: &ChannelKey,
        (from, state, members): (NodeId, &State<'_>, &[Member]),
        (app, now): (&App, Duration),
        post: &impl Outputs,
    ) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        let left = channel.presence.as_ref().map(|there| there.missing_elsewhere(from, members));
        for id in left.into_iter().flatten() {
            channel.member_left_elsewhere(key, (from, &id), app, post);
        }
        for member in members {
            channel.member_joined_elsewhere(key, (from, member), (app, now), post);
        }
        let was_online = channel.is_online();
        let Some(link) = &mut channel.link else { return };
        let remote = link.hear(from, now);
        remote.number = Some(state.number);
        remote.online = state.online;
        let counted = std::mem::replace(&mut remote.subscriptions, state.subscriptions);
        channel.tell_watchers(key, was_online, post);
        if counted != state.subscriptions {
            self.counted_elsewhere(key, (counted, state.subscriptions), (app, now), post);
        }
    }

    /// The number of subscribers of another node has become `count`.
    fn counted_elsewhere(
        &mut self,
        key: &ChannelKey,
        (before, count): (u32, u32),
        (app, now): (&App, Duration),
        post: &impl Outputs,
    ) {
        if before == 0
            && count > 0
            && app.hooks.occupancy
            && let Some(channel) = self.channels.get(key)
        {
            channel.tell_moved(key, None, now, post);
        }
        self.count_changed(key, app, now, post);
        self.end_guard(key, now, post);
    }

    fn hear_change(
        &mut self,
        key: &ChannelKey,
        (from, number, change): (NodeId, u64, &Change<'_>),
        (app, now): (&App, Duration),
        post: &impl Outputs,
    ) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        let was_online = channel.is_online();
        let Some(link) = &mut channel.link else { return };
        let is_open = link.is_open();
        let remote = link.hear(from, now);
        match remote.number {
            Some(known) if known.wrapping_add(1) == number => remote.number = Some(number),
            Some(known) if known >= number => return,
            // While the channel is being opened, the whole state is on its way.
            _ if !is_open => return,
            _ => return link.want(from, key, now, post),
        }
        match change {
            Change::Joined(data) => {
                if let Ok(member) = Member::parse(data) {
                    channel.member_joined_elsewhere(key, (from, &member), (app, now), post);
                }
            }
            Change::Left(id) => channel.member_left_elsewhere(key, (from, id), app, post),
            Change::Online(online) => {
                remote.online = *online;
                channel.tell_watchers(key, was_online, post);
            }
            Change::Subscriptions(count) => {
                let before = std::mem::replace(&mut remote.subscriptions, *count);
                self.counted_elsewhere(key, (before, *count), (app, now), post);
            }
        }
    }
}

impl Channel {
    fn member_joined_elsewhere(
        &mut self,
        key: &ChannelKey,
        (node, member): (NodeId, &Member),
        (app, now): (&App, Duration),
        post: &impl Outputs,
    ) {
        if !key.name.is_presence() {
            return;
        }
        if self.presence.get_or_insert_default().joined_elsewhere(node, member.clone()) {
            self.announce(key, member, app, post);
            if app.hooks.members {
                self.tell_moved(key, Some(member.id.as_str()), now, post);
            }
        }
    }

    /// Tells the app's backend that somebody has left, and remembers when that was.
    fn tell_left(&mut self, fact: ChannelEvent, now: Duration, post: &impl Outputs) {
        post.fact(fact);
        if let Some(link) = &mut self.link {
            link.left_at = Some(now);
        }
    }

    /// Somebody has come to another node, who may have left this one a moment ago.
    fn tell_moved(&self, key: &ChannelKey, user: Option<&str>, now: Duration, post: &impl Outputs) {
        let left_at = self.link.as_ref().and_then(|link| link.left_at);
        if left_at.is_some_and(|at| now < at + MOVING) {
            let who = Occupant { channel: key.clone(), user: user.map(Into::into) };
            post.moved(Migration::Away(who));
        }
    }

    fn member_left_elsewhere(
        &mut self,
        key: &ChannelKey,
        (node, id): (NodeId, &str),
        app: &App,
        post: &impl Outputs,
    ) {
        let gone = self.presence.as_mut().and_then(|there| there.left_elsewhere(node, id));
        if let Some(member) = gone {
            self.announce_gone(key, &member.id, app, post);
        }
    }
}

impl crate::link::ClusterChannel {
    /// Asks a node for its whole state, of which something was missed.
    fn want(&mut self, node: NodeId, key: &ChannelKey, now: Duration, post: &impl Outputs) {
        let remote = self.hear(node, now);
        remote.number = None;
        if remote.wanted_at.is_none_or(|at| at + ASK_AGAIN <= now) {
            remote.wanted_at = Some(now);
            say(key, &ClusterMessage::StateRequest(node), post);
        }
    }
}

//! Reports about nodes that have gone: users who have left with them, and users who are back when they
//! return.
//!
//! Everything here runs under the lock of the channel's shard.

use std::time::Duration;

use clarim_cluster::timing::RETURN_WINDOW;
use clarim_cluster::{Change, Departure, NodeId, State};
use clarim_protocol::user::Member;

use crate::address::ChannelKey;
use crate::directory::{Channel, Loss, Shard, Step};
use crate::outputs::ChannelEvent;

/// A node that has gone.
#[derive(Debug, Clone, Copy)]
pub(in crate::cluster) struct Gone {
    pub(in crate::cluster) node: NodeId,
    /// `None` if the bus carries no messages, so that the node may be alive. Then nothing is reported.
    pub(in crate::cluster) departure: Option<Departure>,
    /// When it was last heard from.
    pub(in crate::cluster) heard_at: Duration,
}

/// The users and the number of subscribers of a channel on all nodes.
pub(super) struct Occupants {
    pub(super) users: Vec<Box<str>>,
    pub(super) subscribers: usize,
}

impl Occupants {
    pub(super) fn of(shard: &Shard, key: &ChannelKey) -> Self {
        let Some(channel) = shard.channels.get(key) else {
            return Self { users: Vec::new(), subscribers: 0 };
        };
        let ids = channel.presence.iter().flat_map(|presence| presence.ids());
        Self {
            users: ids.map(|id| id.as_str().into()).collect(),
            subscribers: channel.count_everywhere(),
        }
    }
}

/// Reports the leaves of a dead node's users, if this node is the first of those that know them.
pub(super) fn report_loss(
    shard: &mut Shard,
    key: &ChannelKey,
    gone: Gone,
    before: Occupants,
    step: &mut Step<'_>,
) {
    let Some(departure) = gone.departure else { return };
    let node = step.config.bus.id();
    let cluster = shard.channels.get(key).and_then(|channel| channel.cluster.as_ref());
    if cluster.is_some_and(|cluster| cluster.is_first_witness(node, gone.heard_at)) {
        report_absent(shard, key, gone.node, departure, before, step);
    }
}

/// Reports those users and subscribers of a node that has gone who are on no other node. The reports are
/// taken back if a lost node returns.
pub(super) fn report_absent(
    shard: &mut Shard,
    key: &ChannelKey,
    from: NodeId,
    departure: Departure,
    before: Occupants,
    step: &mut Step<'_>,
) {
    let mut loss = Loss::new(step.now + RETURN_WINDOW);
    let Some(channel) = shard.channels.get_mut(key) else { return };
    let hooks = step.app(key).hooks;
    for id in before.users.into_iter().filter(|_| hooks.members) {
        if !channel.presence.as_ref().is_some_and(|presence| presence.has(&id)) {
            report_left(channel, ChannelEvent::MemberRemoved(key.clone(), id.clone()), step);
            loss.add_user(id, from);
        }
    }
    if hooks.occupancy && before.subscribers > 0 && channel.count_everywhere() == 0 {
        report_left(channel, ChannelEvent::Vacated(key.clone()), step);
        loss.vacate(from);
    }
    if departure == Departure::Lost {
        shard.expect_return(key, loss);
    }
}

/// Reports the return of users and subscribers that had been reported as gone with this node. Those that are
/// now on another node are reported by that node.
pub(super) fn report_return(
    channel: &mut Channel,
    key: &ChannelKey,
    from: NodeId,
    state: &State<'_>,
    members: &[Member],
    step: &mut Step<'_>,
) {
    let Some(loss) = &mut channel.loss else { return };
    if state.subscriptions > 0 && loss.occupy() == Some(from) {
        step.report(ChannelEvent::Occupied(key.clone()));
    }
    for id in members.iter().map(|member| member.id.as_str()) {
        if loss.take_user(id) == Some(from) {
            step.report(ChannelEvent::MemberAdded(key.clone(), id.into()));
        }
    }
}

/// Takes a change into account that its own node reports to the backend.
pub(super) fn settle_loss(channel: &mut Channel, change: &Change<'_>) {
    let Some(loss) = &mut channel.loss else { return };
    match change {
        Change::Joined(data) => {
            if let Ok(member) = Member::parse(data) {
                loss.take_user(member.id.as_str());
            }
        }
        Change::Subscriptions(1..) => {
            loss.occupy();
        }
        _ => {}
    }
}

/// Reports a leave to the app's backend, and remembers when that was.
pub(super) fn report_left(channel: &mut Channel, event: ChannelEvent, step: &mut Step<'_>) {
    step.report(event);
    if let Some(cluster) = &mut channel.cluster {
        cluster.left_at = Some(step.now);
    }
}

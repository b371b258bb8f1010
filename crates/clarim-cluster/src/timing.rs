//! Every time window of the cluster and of the webhooks' debounce. The windows depend on each other; the
//! assertions below say how.

use std::time::Duration;

/// Shortest time between two ticks of a node.
pub const TICK: Duration = Duration::from_millis(50);

/// Time for the replies to a request for the states on a channel. After it, all nodes are asked whether they
/// have the channel, because not only nodes may be subscribed to its subject.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// Heartbeats per lease.
pub const HEARTBEATS_PER_LEASE: u32 = 5;

/// Number of leases without this node's own messages after which the other nodes are considered dead all the
/// same. A bus that does not return this node's messages gives no evidence about the others.
pub const LEASES_IN_SILENCE: u32 = 4;

/// Time after the acceptance of an event in which the bus returns it to its own node, which delivers it then.
/// A bus that returns nothing is reported as lost by its backend. This is for a single message that has not
/// come back although a heartbeat has that was sent this much later.
pub const RETURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval at which the version of each channel's state is published, in case a change was missed.
pub const REFRESH: Duration = Duration::from_secs(30);

/// Time without a version after which a node is considered to have closed a channel.
pub const FORGET: Duration = Duration::from_secs(75);

/// Time before a node requests another node's state again.
pub const REQUEST_AGAIN: Duration = Duration::from_secs(1);

/// Debounce of webhooks about leaves, as at Pusher: a page reload leaves for a moment only.
pub const LEAVE_DEBOUNCE: Duration = Duration::from_secs(3);

/// In a cluster, the debounce of webhooks about joins. Within this time, the node that the user has left can
/// tell the others that it has suppressed the leave.
pub const JOIN_DEBOUNCE: Duration = Duration::from_millis(500);

/// In a cluster, the time that a channel stays open after its last subscriber has left.
pub const LINGER: Duration = Duration::from_secs(4);

/// Time after a leave in which a join on another node counts as a migration.
pub const MIGRATION_WINDOW: Duration = Duration::from_secs(5);

/// Time in which a lost node may return. What was reported as gone with it is then reported as back.
pub const RETURN_WINDOW: Duration = Duration::from_secs(10 * 60);

/// After a crash, the debounce of webhooks about clients that have not come back. Pusher clients try about
/// once a second.
pub const RESTORED_DEBOUNCE: Duration = Duration::from_secs(15);

/// Time for which an idempotency key is remembered after its answer.
pub const KEY_RETENTION: Duration = Duration::from_secs(300);

/// Time after which an idempotency key is free again whose node has claimed it, and has neither published nor
/// gone.
pub const CLAIM_TIME: Duration = Duration::from_secs(30);

/// Time that the other nodes have to say that they keep events for a node that is about to be handed over.
pub const HAND_OVER_PATIENCE: Duration = Duration::from_secs(1);

/// Time in which a node that is handed over comes back. Until then, the other nodes keep what they publish,
/// and do not consider it dead.
pub const HAND_OVER_TIME: Duration = Duration::from_secs(10);

/// Time in which a node that is back gets what the others have kept.
pub const CATCH_UP_TIME: Duration = Duration::from_secs(2);

// While a node holds back the webhook about a leave, it must still learn of joins on other nodes. It begins
// to hold it back when the bus has returned the leave, which is later than the leave itself.
const HELD: u128 = LEAVE_DEBOUNCE.as_millis() + JOIN_DEBOUNCE.as_millis();
const _: () = assert!(LINGER.as_millis() > HELD);
const _: () = assert!(MIGRATION_WINDOW.as_millis() > HELD);
// A client has more time to come back after a crash than after it was disconnected.
const _: () = assert!(RESTORED_DEBOUNCE.as_millis() > LEAVE_DEBOUNCE.as_millis());
// Nodes may reconnect up to two leases after the first one, and hear nothing before that.
const _: () = assert!(LEASES_IN_SILENCE > 2);
// A delayed join is sent before the leave that follows it, and a message that suppresses the join has time to
// arrive.
const _: () = assert!(JOIN_DEBOUNCE.as_millis() < LEAVE_DEBOUNCE.as_millis());
const _: () = assert!(JOIN_DEBOUNCE.as_millis() >= 10 * TICK.as_millis());
// One lost version must not remove a node from a channel.
const _: () = assert!(FORGET.as_millis() > 2 * REFRESH.as_millis());
// A lost request for a state is repeated before the next version would reveal the gap again.
const _: () = assert!(REQUEST_AGAIN.as_millis() < REFRESH.as_millis());
// A node that returns publishes its states before the others have forgotten what was lost with it, also if
// its first state is lost.
const _: () = assert!(RETURN_WINDOW.as_millis() > 2 * REFRESH.as_millis());
// Keys are looked at once per retention time.
const _: () = assert!(CLAIM_TIME.as_millis() < KEY_RETENTION.as_millis());
// The other nodes keep what a node has missed while it gets ready and asks for it.
const _: () = assert!(
    HAND_OVER_TIME.as_millis() > 2 * (HAND_OVER_PATIENCE.as_millis() + CATCH_UP_TIME.as_millis())
);
// A lease survives lost heartbeats.
const _: () = assert!(HEARTBEATS_PER_LEASE >= 3);

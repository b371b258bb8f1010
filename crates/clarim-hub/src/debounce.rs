//! Debounces webhooks: a user who reloads a page leaves for a moment and comes back, maybe to another node.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use clarim_cluster::NodeId;
use clarim_cluster::timing::{JOIN_DEBOUNCE, LEAVE_DEBOUNCE, RESTORED_DEBOUNCE};
use smallvec::SmallVec;

use crate::address::ChannelKey;
use crate::app::Apps;
use crate::outputs::{ChannelEvent, Migration, Occupant};
use crate::snapshot::{SavedDelay, SavedDelayKind, SnapshotError};

/// The next action.
#[derive(Debug, PartialEq, Eq)]
pub enum DebounceAction {
    /// Nothing is to be done now.
    Nothing,
    /// Send the event to the backend.
    Send(ChannelEvent),
    /// Tell another node that the leave is suppressed:
    /// [`Node::publish_leave_suppressed`](crate::Node::publish_leave_suppressed).
    Suppress {
        /// The occupant that has left.
        occupant: Occupant,
        /// The node that it has joined.
        to: NodeId,
    },
}

/// Delays joins and leaves. Pure: the caller passes the time.
#[derive(Debug)]
pub struct Debounce {
    is_clustered: bool,
    held: HashMap<Occupant, Held>,
    /// Leaves and joins in the order in which they were delayed. Some may be held no longer.
    leaves: VecDeque<Timer>,
    joins: VecDeque<Timer>,
    /// Leaves of occupants of an earlier run.
    restored: VecDeque<Timer>,
    next_number: u64,
}

/// The delayed events of an occupant, by their numbers. A leave was reported after the joins, and is sent
/// after them.
#[derive(Debug, Default)]
struct Held {
    /// More than one if the occupant has been on another node in between. Each but the first is then dropped,
    /// when the other node suppresses its leave.
    joins: SmallVec<[u64; 1]>,
    leave: Option<u64>,
}

#[derive(Debug)]
struct Timer {
    due: Duration,
    /// The number of the delayed event.
    number: u64,
    occupant: Occupant,
}

impl Debounce {
    /// A debounce that holds nothing. On a node of a cluster, joins are delayed too.
    #[must_use]
    pub fn new(is_clustered: bool) -> Self {
        Self {
            is_clustered,
            held: HashMap::new(),
            leaves: VecDeque::new(),
            joins: VecDeque::new(),
            restored: VecDeque::new(),
            next_number: 0,
        }
    }

    /// Whether no event is delayed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes an event, and returns the one to send now. A leave is delayed, and a join after a delayed leave
    /// cancels it.
    pub fn take(&mut self, event: ChannelEvent, now: Duration) -> DebounceAction {
        let Some((occupant, is_leave)) = event.occupant() else {
            return DebounceAction::Send(event);
        };
        let is_back = !is_leave
            && self.held.get_mut(&occupant).is_some_and(|held| held.leave.take().is_some());
        if is_back {
            self.release(&occupant);
            return DebounceAction::Nothing;
        }
        if !is_leave && !self.is_clustered {
            return DebounceAction::Send(event);
        }
        let number = self.next_number();
        let (timers, delay) = match is_leave {
            true => (&mut self.leaves, LEAVE_DEBOUNCE),
            false => (&mut self.joins, JOIN_DEBOUNCE),
        };
        timers.push_back(Timer { due: now + delay, number, occupant: occupant.clone() });
        let held = self.held.entry(occupant).or_default();
        match is_leave {
            true => held.leave = Some(number),
            false => held.joins.push(number),
        }
        DebounceAction::Nothing
    }

    /// Returns the delayed events, for a snapshot.
    #[must_use]
    pub fn save(&self, apps: &Apps, now: Duration) -> Vec<SavedDelay> {
        let queues = [
            (SavedDelayKind::Join, &self.joins),
            (SavedDelayKind::Leave, &self.leaves),
            (SavedDelayKind::EarlierLeave, &self.restored),
        ];
        let timers = queues.into_iter().flat_map(|(kind, timers)| {
            timers.iter().filter(|timer| self.is_held(timer)).map(move |timer| SavedDelay {
                app: apps.get(timer.occupant.channel.app).id.clone(),
                channel: timer.occupant.channel.name.to_string(),
                user: timer.occupant.user.as_deref().map(ToOwned::to_owned),
                kind,
                due_in: timer.due.saturating_sub(now).into(),
            })
        });
        timers.collect()
    }

    /// Delays an event that was delayed when a snapshot was made. Events must come in the order in which they
    /// were saved.
    ///
    /// # Errors
    /// If the record is not valid.
    pub fn resume(
        &mut self,
        saved: &SavedDelay,
        apps: &Apps,
        now: Duration,
    ) -> Result<(), SnapshotError> {
        let SavedDelay { app, channel, user, kind, due_in } = saved;
        let Some(app) = apps.find_by_id(app) else { return Ok(()) };
        let channel = ChannelKey::restored(app, channel)?;
        let occupant = Occupant { channel, user: user.as_deref().map(Into::into) };
        let number = self.next_number();
        let held = self.held.entry(occupant.clone()).or_default();
        let timers = match kind {
            SavedDelayKind::Join => &mut self.joins,
            SavedDelayKind::Leave => &mut self.leaves,
            SavedDelayKind::EarlierLeave => &mut self.restored,
        };
        timers.push_back(Timer { due: now + due_in.get(), number, occupant });
        match kind {
            SavedDelayKind::Join => held.joins.push(number),
            SavedDelayKind::Leave | SavedDelayKind::EarlierLeave => held.leave = Some(number),
        }
        Ok(())
    }

    fn is_held(&self, timer: &Timer) -> bool {
        let number = timer.number;
        self.held
            .get(&timer.occupant)
            .is_some_and(|held| held.leave == Some(number) || held.joins.contains(&number))
    }

    /// Delays the leave of an occupant that an earlier run has reported. It is not sent if the occupant comes
    /// back in time.
    pub fn restore(&mut self, leave: &ChannelEvent, now: Duration) {
        let Some((occupant, true)) = leave.occupant() else { return };
        let number = self.next_number();
        self.held.entry(occupant.clone()).or_default().leave = Some(number);
        self.restored.push_back(Timer { due: now + RESTORED_DEBOUNCE, number, occupant });
    }

    /// Takes a migration between nodes, which cancels the delayed leave or join.
    pub fn migrated(&mut self, migration: Migration) -> DebounceAction {
        match migration {
            Migration::Away { occupant, to } => {
                let Some(held) = self.held.get_mut(&occupant) else {
                    return DebounceAction::Nothing;
                };
                let is_suppressed = held.leave.take().is_some();
                self.release(&occupant);
                match is_suppressed {
                    true => DebounceAction::Suppress { occupant, to },
                    false => DebounceAction::Nothing,
                }
            }
            Migration::Here(occupant) => {
                if let Some(held) = self.held.get_mut(&occupant) {
                    held.joins.pop();
                    self.release(&occupant);
                }
                DebounceAction::Nothing
            }
        }
    }

    /// Time of the next call of [`take_due`](Self::take_due).
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let first = |timers: &VecDeque<Timer>| timers.front().map(|timer| timer.due);
        [&self.leaves, &self.joins, &self.restored].into_iter().filter_map(first).min()
    }

    /// Takes the events whose delay is over.
    pub fn take_due(&mut self, now: Duration) -> Vec<ChannelEvent> {
        let mut events = Vec::new();
        while let Some(timer) = self.joins.pop_front_if(|timer| timer.due <= now) {
            let Some(held) = self.held.get_mut(&timer.occupant) else { continue };
            if let Some(at) = held.joins.iter().position(|number| *number == timer.number) {
                held.joins.remove(at);
                self.release(&timer.occupant);
                events.push(timer.occupant.joined());
            }
        }
        let due = |timer: &mut Timer| timer.due <= now;
        while let Some(timer) =
            self.leaves.pop_front_if(due).or_else(|| self.restored.pop_front_if(due))
        {
            let held = self.held.get_mut(&timer.occupant);
            if held.is_some_and(|held| held.leave.take_if(|it| *it == timer.number).is_some()) {
                self.release(&timer.occupant);
                events.push(timer.occupant.left());
            }
        }
        events
    }

    fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Removes the entry of an occupant once no event of it is delayed.
    fn release(&mut self, occupant: &Occupant) {
        let is_free = |held: &Held| held.joins.is_empty() && held.leave.is_none();
        if self.held.get(occupant).is_some_and(is_free) {
            self.held.remove(occupant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use clarim_protocol::ChannelName;

    const SECOND: Duration = Duration::from_secs(1);

    fn apps() -> Apps {
        Apps::new([App::new("1", "key", "secret")])
    }

    fn channel() -> ChannelKey {
        let app = apps().find_by_id("1").unwrap();
        ChannelKey { app, name: ChannelName::parse("presence-room", 200).unwrap() }
    }

    fn added(user: &str) -> ChannelEvent {
        ChannelEvent::MemberAdded(channel(), user.into())
    }

    fn removed(user: &str) -> ChannelEvent {
        ChannelEvent::MemberRemoved(channel(), user.into())
    }

    fn occupant_of(user: &str) -> Occupant {
        Occupant { channel: channel(), user: Some(user.into()) }
    }

    const THERE: NodeId = NodeId(2);

    fn away(user: &str) -> Migration {
        Migration::Away { occupant: occupant_of(user), to: THERE }
    }

    fn suppressed(user: &str) -> DebounceAction {
        DebounceAction::Suppress { occupant: occupant_of(user), to: THERE }
    }

    #[test]
    fn a_user_who_comes_back_in_time_has_not_left() {
        let mut debounce = Debounce::new(false);
        let occupied = ChannelEvent::Occupied(channel());
        let vacated = ChannelEvent::Vacated(channel());
        assert_eq!(
            debounce.take(occupied.clone(), Duration::ZERO),
            DebounceAction::Send(occupied.clone())
        );
        assert_eq!(debounce.take(vacated.clone(), SECOND), DebounceAction::Nothing);
        let back = debounce.take(occupied.clone(), SECOND * 2);
        assert_eq!(back, DebounceAction::Nothing, "the leave was not sent");
        assert_eq!(debounce.take_due(SECOND * 10), []);
        // Vacated again, and for longer.
        assert_eq!(debounce.take(vacated.clone(), SECOND * 11), DebounceAction::Nothing);
        assert_eq!(debounce.take_due(SECOND * 13), []);
        assert_eq!(debounce.take_due(SECOND * 14), [vacated]);
        assert_eq!(debounce.take(occupied.clone(), SECOND * 14), DebounceAction::Send(occupied));
    }

    #[test]
    fn users_are_delayed_separately() {
        let mut debounce = Debounce::new(false);
        assert_eq!(debounce.take(removed("ana"), Duration::ZERO), DebounceAction::Nothing);
        assert_eq!(debounce.take(removed("ben"), Duration::ZERO), DebounceAction::Nothing);
        assert_eq!(debounce.take(added("ana"), SECOND), DebounceAction::Nothing);
        assert_eq!(debounce.take_due(SECOND * 3), [removed("ben")]);
        assert!(debounce.is_empty() && debounce.leaves.is_empty());
    }

    #[test]
    fn after_a_crash_those_who_do_not_come_back_have_left() {
        let mut debounce = Debounce::new(false);
        let vacated = ChannelEvent::Vacated(channel());
        for leave in [removed("ana"), removed("ben"), vacated] {
            debounce.restore(&leave, Duration::ZERO);
        }
        let occupied = ChannelEvent::Occupied(channel());
        assert_eq!(debounce.take(occupied, SECOND), DebounceAction::Nothing, "it was reported");
        assert_eq!(debounce.take(added("ana"), SECOND), DebounceAction::Nothing);
        let new = debounce.take(added("carla"), SECOND);
        assert_eq!(new, DebounceAction::Send(added("carla")));
        // Another leave in the meantime is not delayed by the restored ones.
        debounce.take(removed("ana"), SECOND * 2);
        assert_eq!(debounce.take_due(SECOND * 5), [removed("ana")]);
        assert_eq!(debounce.next_due(), Some(RESTORED_DEBOUNCE));
        assert_eq!(debounce.take_due(RESTORED_DEBOUNCE), [removed("ben")]);
        assert!(debounce.is_empty());
    }

    #[test]
    fn neither_node_reports_a_user_who_moves_between_them() {
        let mut from = Debounce::new(true);
        let mut to = Debounce::new(true);
        assert_eq!(from.take(removed("ana"), Duration::ZERO), DebounceAction::Nothing);
        assert_eq!(to.take(added("ana"), SECOND), DebounceAction::Nothing);
        assert_eq!(from.migrated(away("ana")), suppressed("ana"));
        assert_eq!(to.migrated(Migration::Here(occupant_of("ana"))), DebounceAction::Nothing);
        for node in [&mut from, &mut to] {
            assert_eq!(node.take_due(SECOND * 10), []);
            assert!(node.is_empty());
        }
    }

    #[test]
    fn a_user_who_moves_too_late_has_left_and_joined() {
        let mut from = Debounce::new(true);
        let mut to = Debounce::new(true);
        from.take(removed("ana"), Duration::ZERO);
        assert_eq!(from.take_due(SECOND * 3), [removed("ana")]);
        assert_eq!(to.take(added("ana"), SECOND * 3), DebounceAction::Nothing);
        assert_eq!(from.migrated(away("ana")), DebounceAction::Nothing, "the leave was sent");
        assert_eq!(to.next_due(), Some(SECOND * 3 + JOIN_DEBOUNCE));
        assert_eq!(to.take_due(SECOND * 4), [added("ana")]);
    }

    #[test]
    fn a_join_is_sent_before_the_leave_that_follows() {
        let mut debounce = Debounce::new(true);
        assert_eq!(debounce.take(added("ana"), Duration::ZERO), DebounceAction::Nothing);
        assert_eq!(debounce.take(removed("ana"), SECOND / 10), DebounceAction::Nothing);
        assert_eq!(debounce.take_due(SECOND), [added("ana")]);
        assert_eq!(debounce.take_due(SECOND * 4), [removed("ana")]);
        // Also if the thread was late.
        debounce.take(added("ana"), SECOND * 5);
        debounce.take(removed("ana"), SECOND * 6);
        assert_eq!(debounce.take_due(SECOND * 10), [added("ana"), removed("ana")]);
        assert!(debounce.is_empty());
    }

    #[test]
    fn a_user_who_moves_on_at_once_is_not_reported_as_added_again() {
        let mut debounce = Debounce::new(true);
        debounce.take(added("ana"), Duration::ZERO);
        debounce.take(removed("ana"), SECOND / 10);
        // The node before this one has suppressed her leave, so the backend has never seen her leave.
        assert_eq!(debounce.migrated(Migration::Here(occupant_of("ana"))), DebounceAction::Nothing);
        assert_eq!(debounce.take_due(SECOND), []);
        assert_eq!(debounce.take_due(SECOND * 4), [removed("ana")]);
        // She comes back to this node, and moves on once more.
        debounce.take(added("ana"), SECOND * 5);
        debounce.take(removed("ana"), SECOND * 5);
        assert_eq!(debounce.take(added("ana"), SECOND * 5), DebounceAction::Nothing);
        debounce.take(removed("ana"), SECOND * 5);
        assert_eq!(debounce.migrated(away("ana")), suppressed("ana"));
        assert_eq!(debounce.take_due(SECOND * 6), [added("ana")], "the join here still counts");
        assert!(debounce.is_empty());
    }

    #[test]
    fn joins_on_one_node_with_a_leave_on_another_between_them_are_dropped_one_by_one() {
        let mut debounce = Debounce::new(true);
        // Ana is new. She goes on to another node, and comes back from there.
        debounce.take(added("ana"), Duration::ZERO);
        debounce.take(removed("ana"), Duration::ZERO);
        assert_eq!(debounce.migrated(away("ana")), suppressed("ana"));
        debounce.take(added("ana"), SECOND / 10);
        // The other node has suppressed her leave.
        assert_eq!(debounce.migrated(Migration::Here(occupant_of("ana"))), DebounceAction::Nothing);
        assert_eq!(debounce.take_due(SECOND), [added("ana")]);
        assert!(debounce.is_empty());
    }
    #[test]
    fn delayed_events_outlive_a_hand_over() {
        let mut before = Debounce::new(true);
        before.restore(&removed("dora"), Duration::ZERO);
        before.take(added("ana"), SECOND * 10);
        before.take(removed("ana"), SECOND * 10);
        before.take(removed("ben"), SECOND * 10);
        before.take(added("ben"), SECOND * 10);
        before.take(ChannelEvent::Vacated(channel()), SECOND * 11);
        // The clock of the new process begins anew.
        let mut after = Debounce::new(true);
        for saved in before.save(&apps(), SECOND * 11) {
            after.resume(&saved, &apps(), SECOND).unwrap();
        }
        assert_eq!(after.save(&apps(), SECOND), before.save(&apps(), SECOND * 11));
        assert_eq!(after.take(added("dora"), SECOND), DebounceAction::Nothing, "she is back");
        assert_eq!(after.take_due(SECOND), [added("ana")]);
        assert_eq!(after.take_due(SECOND * 3), [removed("ana")], "ben is back");
        assert_eq!(after.take_due(SECOND * 4), [ChannelEvent::Vacated(channel())]);
        assert!(after.is_empty());
        // Without the app, nobody is to be notified.
        let mut without = Debounce::new(true);
        for saved in before.save(&apps(), SECOND * 11) {
            without.resume(&saved, &Apps::new([]), SECOND).unwrap();
        }
        assert!(without.is_empty());
    }
}

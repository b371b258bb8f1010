//! Debounces leaves: a user who reloads a page leaves for a moment and comes back, maybe to another node.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use clarim_cluster::timing::{JOIN_DEBOUNCE, LEAVE_DEBOUNCE};
use clarim_hub::{ChannelEvent, Migration, Occupant};

/// Time for clients of an earlier run to reconnect. Pusher clients try about once a second.
const RESTORED_DEBOUNCE: Duration = Duration::from_secs(15);

/// The next action.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DebounceAction {
    Nothing,
    /// Send the event to the backend.
    Send(ChannelEvent),
    /// Report to the other nodes that the leave is suppressed.
    Suppress(Occupant),
}

/// Delays joins and leaves. Pure: the caller passes the time.
#[derive(Debug)]
pub(super) struct Debounce {
    is_clustered: bool,
    held: HashMap<Occupant, Held>,
    /// Leaves and joins in the order in which they were delayed. Some may be held no longer.
    leaves: VecDeque<Timer>,
    joins: VecDeque<Timer>,
    /// Leaves of occupants of an earlier run.
    restored: VecDeque<Timer>,
    next_number: u64,
}

/// A delayed event.
#[derive(Debug)]
struct Held {
    number: u64,
    event: ChannelEvent,
}

#[derive(Debug)]
struct Timer {
    due: Duration,
    /// The number of the delayed event.
    number: u64,
    occupant: Occupant,
}

impl Debounce {
    pub(super) fn new(is_clustered: bool) -> Self {
        Self {
            is_clustered,
            held: HashMap::new(),
            leaves: VecDeque::new(),
            joins: VecDeque::new(),
            restored: VecDeque::new(),
            next_number: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes an event, and returns the one to send now. A leave is delayed, and a join after a delayed leave
    /// cancels it.
    pub(super) fn take(&mut self, event: ChannelEvent, now: Duration) -> DebounceAction {
        let Some(occupant) = occupant(&event) else { return DebounceAction::Send(event) };
        let is_leave = is_leave(&event);
        let before = self.held.remove(&occupant).map(|held| held.event);
        match (before, is_leave) {
            // The user is back before the leave was sent.
            (Some(held), false) if self::is_leave(&held) => DebounceAction::Nothing,
            (Some(held), _) => {
                self.hold(occupant, event, now);
                // A leave follows a delayed join, which has to be sent first.
                let is_join_before = is_leave && !self::is_leave(&held);
                if is_join_before { DebounceAction::Send(held) } else { DebounceAction::Nothing }
            }
            (None, false) if !self.is_clustered => DebounceAction::Send(event),
            (None, _) => {
                self.hold(occupant, event, now);
                DebounceAction::Nothing
            }
        }
    }

    /// Delays the leave of an occupant that an earlier run has reported. It is not sent if the occupant comes
    /// back in time.
    pub(super) fn restore(&mut self, leave: ChannelEvent, now: Duration) {
        let Some(occupant) = occupant(&leave) else { return };
        let number = self.insert(occupant.clone(), leave);
        self.restored.push_back(Timer { due: now + RESTORED_DEBOUNCE, number, occupant });
    }

    /// Takes a migration between nodes, which cancels the delayed leave or join.
    pub(super) fn migrated(&mut self, migration: Migration) -> DebounceAction {
        let (occupant, is_leave) = match migration {
            Migration::Away(occupant) => (occupant, true),
            Migration::Here(occupant) => (occupant, false),
        };
        match self.held.get(&occupant) {
            Some(held) if self::is_leave(&held.event) == is_leave => {
                self.held.remove(&occupant);
                if is_leave { DebounceAction::Suppress(occupant) } else { DebounceAction::Nothing }
            }
            _ => DebounceAction::Nothing,
        }
    }

    /// Time of the next call of [`take_due`](Self::take_due).
    pub(super) fn next_due(&self) -> Option<Duration> {
        let first = |timers: &VecDeque<Timer>| timers.front().map(|timer| timer.due);
        [&self.leaves, &self.joins, &self.restored].into_iter().filter_map(first).min()
    }

    /// Takes the events whose delay is over.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<ChannelEvent> {
        let mut events = Vec::new();
        for timers in [&mut self.joins, &mut self.leaves, &mut self.restored] {
            while let Some(timer) = timers.pop_front_if(|timer| timer.due <= now) {
                if self.held.get(&timer.occupant).is_some_and(|held| held.number == timer.number)
                    && let Some(held) = self.held.remove(&timer.occupant)
                {
                    events.push(held.event);
                }
            }
        }
        events
    }

    fn hold(&mut self, occupant: Occupant, event: ChannelEvent, now: Duration) {
        let is_leave = is_leave(&event);
        let number = self.insert(occupant.clone(), event);
        let (timers, delay) = if is_leave {
            (&mut self.leaves, LEAVE_DEBOUNCE)
        } else {
            (&mut self.joins, JOIN_DEBOUNCE)
        };
        timers.push_back(Timer { due: now + delay, number, occupant });
    }

    /// Returns the number of the event.
    fn insert(&mut self, occupant: Occupant, event: ChannelEvent) -> u64 {
        self.next_number += 1;
        let number = self.next_number;
        self.held.insert(occupant, Held { number, event });
        number
    }
}

/// The channel or user that joins or leaves by this event.
pub(super) fn occupant(event: &ChannelEvent) -> Option<Occupant> {
    let user = match event {
        ChannelEvent::Vacated(_) | ChannelEvent::Occupied(_) => None,
        ChannelEvent::MemberRemoved(_, user) | ChannelEvent::MemberAdded(_, user) => {
            Some(user.clone())
        }
        _ => return None,
    };
    Some(Occupant { channel: event.channel().clone(), user })
}

/// Whether a channel or user leaves by this event.
pub(super) fn is_leave(event: &ChannelEvent) -> bool {
    matches!(event, ChannelEvent::Vacated(_) | ChannelEvent::MemberRemoved(..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clarim_hub::app::App;
    use clarim_hub::{Apps, ChannelKey};
    use clarim_protocol::ChannelName;

    const SECOND: Duration = Duration::from_secs(1);

    fn channel() -> ChannelKey {
        let app = Apps::new([App::new("1", "key", "secret")]).find_by_id("1").unwrap();
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
            debounce.restore(leave, Duration::ZERO);
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
        assert_eq!(
            from.migrated(Migration::Away(occupant_of("ana"))),
            DebounceAction::Suppress(occupant_of("ana"))
        );
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
        assert_eq!(
            from.migrated(Migration::Away(occupant_of("ana"))),
            DebounceAction::Nothing,
            "the leave was sent"
        );
        assert_eq!(to.next_due(), Some(SECOND * 3 + JOIN_DEBOUNCE));
        assert_eq!(to.take_due(SECOND * 4), [added("ana")]);
    }

    #[test]
    fn a_join_is_sent_before_the_leave_that_follows() {
        let mut debounce = Debounce::new(true);
        assert_eq!(debounce.take(added("ana"), Duration::ZERO), DebounceAction::Nothing);
        assert_eq!(debounce.take(removed("ana"), SECOND / 10), DebounceAction::Send(added("ana")));
        // The join is sent already.
        assert_eq!(debounce.migrated(Migration::Here(occupant_of("ana"))), DebounceAction::Nothing);
        assert_eq!(debounce.take_due(SECOND * 4), [removed("ana")]);
    }
}

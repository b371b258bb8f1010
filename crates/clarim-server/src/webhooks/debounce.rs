//! Holds back that somebody has left: who loads a page again leaves for a moment only, and may come back to
//! another node.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use clarim_hub::{ChannelEvent, Migration, Occupant};

/// As long as at Pusher.
const PAUSE: Duration = Duration::from_secs(3);

/// In a cluster it is held back, too, that somebody has come: for as long as it takes the node that they had
/// left to say that it has not told so yet.
const COMING: Duration = Duration::from_millis(500);

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// The backend is told.
    Tell(ChannelEvent),
    /// The other nodes are told that the backend is not.
    Keep(Occupant),
}

/// Pure: the time is the caller's.
#[derive(Debug)]
pub(super) struct Debounce {
    is_clustered: bool,
    held: HashMap<Occupant, (u64, ChannelEvent)>,
    /// In the order in which they were held, of those who leave and of those who come; some may be held no
    /// longer.
    leaving: VecDeque<(Duration, u64, Occupant)>,
    coming: VecDeque<(Duration, u64, Occupant)>,
    number: u64,
}

impl Debounce {
    pub(super) fn new(is_clustered: bool) -> Self {
        let (held, leaving, coming) = Default::default();
        Self { is_clustered, held, leaving, coming, number: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What is to be told now: not that somebody has left, nor that somebody has come back who was not said
    /// to have left.
    pub(super) fn take(&mut self, fact: ChannelEvent, now: Duration) -> Verdict {
        let Some(who) = who(&fact) else { return Verdict::Tell(fact) };
        let leaves = is_leaving(&fact);
        let before = self.held.remove(&who).map(|(_, held)| held);
        match (before, leaves) {
            // Back, before anybody was told.
            (Some(held), false) if is_leaving(&held) => Verdict::Nothing,
            (Some(held), _) => {
                self.hold(who, fact, now);
                // Who comes and leaves has come first.
                if leaves && !is_leaving(&held) { Verdict::Tell(held) } else { Verdict::Nothing }
            }
            (None, false) if !self.is_clustered => Verdict::Tell(fact),
            (None, _) => {
                self.hold(who, fact, now);
                Verdict::Nothing
            }
        }
    }

    /// Takes who has moved from one node to another.
    pub(super) fn moved(&mut self, moved: Migration) -> Verdict {
        let (who, leaves) = match moved {
            Migration::Away(who) => (who, true),
            Migration::Here(who) => (who, false),
        };
        match self.held.get(&who) {
            Some((_, held)) if is_leaving(held) == leaves => {
                self.held.remove(&who);
                if leaves { Verdict::Keep(who) } else { Verdict::Nothing }
            }
            _ => Verdict::Nothing,
        }
    }

    /// When [`due`](Self::due) is to be asked next.
    pub(super) fn next(&self) -> Option<Duration> {
        let first = |held: &VecDeque<(Duration, u64, Occupant)>| held.front().map(|(due, ..)| *due);
        first(&self.leaving).into_iter().chain(first(&self.coming)).min()
    }

    /// What has been held back for long enough.
    pub(super) fn due(&mut self, now: Duration) -> Vec<ChannelEvent> {
        let mut facts = Vec::new();
        for queue in [&mut self.coming, &mut self.leaving] {
            while let Some((_, number, who)) = queue.pop_front_if(|(due, ..)| *due <= now) {
                if self.held.get(&who).is_some_and(|(held, _)| *held == number)
                    && let Some((_, fact)) = self.held.remove(&who)
                {
                    facts.push(fact);
                }
            }
        }
        facts
    }

    fn hold(&mut self, who: Occupant, fact: ChannelEvent, now: Duration) {
        self.number += 1;
        let (queue, pause) =
            if is_leaving(&fact) { (&mut self.leaving, PAUSE) } else { (&mut self.coming, COMING) };
        queue.push_back((now + pause, self.number, who.clone()));
        self.held.insert(who, (self.number, fact));
    }
}

/// Who comes or leaves, by this fact.
fn who(fact: &ChannelEvent) -> Option<Occupant> {
    let user = match fact {
        ChannelEvent::Vacated(_) | ChannelEvent::Occupied(_) => None,
        ChannelEvent::MemberRemoved(_, user) | ChannelEvent::MemberAdded(_, user) => {
            Some(user.clone())
        }
        _ => return None,
    };
    Some(Occupant { channel: fact.channel().clone(), user })
}

fn is_leaving(fact: &ChannelEvent) -> bool {
    matches!(fact, ChannelEvent::Vacated(_) | ChannelEvent::MemberRemoved(..))
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

    fn who(user: &str) -> Occupant {
        Occupant { channel: channel(), user: Some(user.into()) }
    }

    #[test]
    fn who_comes_back_in_time_has_not_left() {
        let mut debounce = Debounce::new(false);
        let (occupied, vacated) =
            (ChannelEvent::Occupied(channel()), ChannelEvent::Vacated(channel()));
        assert_eq!(
            debounce.take(occupied.clone(), Duration::ZERO),
            Verdict::Tell(occupied.clone())
        );
        assert_eq!(debounce.take(vacated.clone(), SECOND), Verdict::Nothing);
        let back = debounce.take(occupied.clone(), SECOND * 2);
        assert_eq!(back, Verdict::Nothing, "nobody was told that it left");
        assert_eq!(debounce.due(SECOND * 10), []);
        // Away again, and for longer.
        assert_eq!(debounce.take(vacated.clone(), SECOND * 11), Verdict::Nothing);
        assert_eq!(debounce.due(SECOND * 13), []);
        assert_eq!(debounce.due(SECOND * 14), [vacated]);
        assert_eq!(debounce.take(occupied.clone(), SECOND * 14), Verdict::Tell(occupied));
    }

    #[test]
    fn users_are_told_apart() {
        let mut debounce = Debounce::new(false);
        assert_eq!(debounce.take(removed("ana"), Duration::ZERO), Verdict::Nothing);
        assert_eq!(debounce.take(removed("ben"), Duration::ZERO), Verdict::Nothing);
        assert_eq!(debounce.take(added("ana"), SECOND), Verdict::Nothing);
        assert_eq!(debounce.due(SECOND * 3), [removed("ben")]);
        assert!(debounce.is_empty() && debounce.leaving.is_empty());
    }

    #[test]
    fn of_who_moves_to_another_node_neither_tells() {
        let (mut from, mut to) = (Debounce::new(true), Debounce::new(true));
        assert_eq!(from.take(removed("ana"), Duration::ZERO), Verdict::Nothing);
        assert_eq!(to.take(added("ana"), SECOND), Verdict::Nothing);
        assert_eq!(from.moved(Migration::Away(who("ana"))), Verdict::Keep(who("ana")));
        assert_eq!(to.moved(Migration::Here(who("ana"))), Verdict::Nothing);
        for node in [&mut from, &mut to] {
            assert_eq!(node.due(SECOND * 10), []);
            assert!(node.is_empty());
        }
    }

    #[test]
    fn who_moves_too_late_has_left_and_come() {
        let (mut from, mut to) = (Debounce::new(true), Debounce::new(true));
        from.take(removed("ana"), Duration::ZERO);
        assert_eq!(from.due(SECOND * 3), [removed("ana")]);
        assert_eq!(to.take(added("ana"), SECOND * 3), Verdict::Nothing);
        assert_eq!(from.moved(Migration::Away(who("ana"))), Verdict::Nothing, "it has been told");
        assert_eq!(to.next(), Some(SECOND * 3 + COMING));
        assert_eq!(to.due(SECOND * 4), [added("ana")]);
    }

    #[test]
    fn who_comes_and_leaves_at_once_has_come_first() {
        let mut debounce = Debounce::new(true);
        assert_eq!(debounce.take(added("ana"), Duration::ZERO), Verdict::Nothing);
        assert_eq!(debounce.take(removed("ana"), SECOND / 10), Verdict::Tell(added("ana")));
        // That it need not have been told comes too late to undo anything.
        assert_eq!(debounce.moved(Migration::Here(who("ana"))), Verdict::Nothing);
        assert_eq!(debounce.due(SECOND * 4), [removed("ana")]);
    }
}

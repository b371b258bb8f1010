//! Holds back that somebody has left: who loads a page again leaves for a moment only.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use clarim_hub::{ChannelKey, Fact};

/// As long as at Pusher.
const PAUSE: Duration = Duration::from_secs(3);

/// What has left: a channel's last subscriber, or a user.
type Who = (ChannelKey, Option<Box<str>>);

/// Pure: the time is the caller's.
#[derive(Debug, Default)]
pub(super) struct Debounce {
    held: HashMap<Who, (u64, Fact)>,
    /// In the order in which they are due; some may be held no longer.
    due: VecDeque<(Duration, u64, Who)>,
    number: u64,
}

impl Debounce {
    /// What is to be told now: not that somebody has left, nor that somebody has come back who was not said
    /// to have left.
    pub(super) fn take(&mut self, fact: Fact, now: Duration) -> Option<Fact> {
        match &fact {
            Fact::Vacated(channel) => self.hold((channel.clone(), None), fact, now),
            Fact::MemberRemoved(channel, user) => {
                self.hold((channel.clone(), Some(user.clone())), fact, now);
            }
            Fact::Occupied(channel) => {
                return self.held.remove(&(channel.clone(), None)).is_none().then_some(fact);
            }
            Fact::MemberAdded(channel, user) => {
                let who = (channel.clone(), Some(user.clone()));
                return self.held.remove(&who).is_none().then_some(fact);
            }
            _ => return Some(fact),
        }
        None
    }

    /// When [`due`](Self::due) is to be asked next.
    pub(super) fn next(&self) -> Option<Duration> {
        self.due.front().map(|(due, ..)| *due)
    }

    /// What has been held back for long enough.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Fact> {
        let mut facts = Vec::new();
        while let Some((_, number, who)) = self.due.pop_front_if(|(due, ..)| *due <= now) {
            if self.held.get(&who).is_some_and(|(held, _)| *held == number)
                && let Some((_, fact)) = self.held.remove(&who)
            {
                facts.push(fact);
            }
        }
        facts
    }

    fn hold(&mut self, who: Who, fact: Fact, now: Duration) {
        self.number += 1;
        self.due.push_back((now + PAUSE, self.number, who.clone()));
        self.held.insert(who, (self.number, fact));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clarim_hub::Apps;
    use clarim_hub::app::App;
    use clarim_protocol::ChannelName;

    fn channel() -> ChannelKey {
        let app = Apps::new([App::new("1", "key", "secret")]).find_by_id("1").unwrap();
        ChannelKey { app, name: ChannelName::parse("presence-room", 200).unwrap() }
    }

    #[test]
    fn who_comes_back_in_time_has_not_left() {
        let mut debounce = Debounce::default();
        let second = Duration::from_secs;
        let (occupied, vacated) = (Fact::Occupied(channel()), Fact::Vacated(channel()));
        assert_eq!(debounce.take(occupied.clone(), second(0)), Some(occupied.clone()));
        assert_eq!(debounce.take(vacated.clone(), second(1)), None);
        assert_eq!(
            debounce.take(occupied.clone(), second(2)),
            None,
            "nobody was told that it left"
        );
        assert_eq!(debounce.due(second(10)), []);
        // Away again, and for longer.
        assert_eq!(debounce.take(vacated.clone(), second(11)), None);
        assert_eq!(debounce.due(second(13)), []);
        assert_eq!(debounce.due(second(14)), [vacated]);
        assert_eq!(debounce.take(occupied.clone(), second(14)), Some(occupied));
    }

    #[test]
    fn users_are_told_apart() {
        let mut debounce = Debounce::default();
        let removed = |user: &str| Fact::MemberRemoved(channel(), user.into());
        let added = Fact::MemberAdded(channel(), "ana".into());
        assert_eq!(debounce.take(removed("ana"), Duration::ZERO), None);
        assert_eq!(debounce.take(removed("ben"), Duration::ZERO), None);
        assert_eq!(debounce.take(added, Duration::from_secs(1)), None);
        assert_eq!(debounce.due(Duration::from_secs(3)), [removed("ben")]);
        assert!(debounce.held.is_empty() && debounce.due.is_empty());
    }
}

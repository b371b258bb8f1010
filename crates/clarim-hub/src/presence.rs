//! The members of one presence channel: users, each counted once whatever the number of connections.

use clarim_protocol::user::{Member, UserId};
use clarim_protocol::{ChannelName, Frame, server};
use indexmap::IndexMap;

#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// By id. The member is that of the user's first connection here.
    members: IndexMap<Box<str>, Present, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Present {
    member: Member,
    connections: u32,
}

/// What a connection's leaving means for its user.
#[derive(Debug)]
pub(crate) enum Departure {
    /// Others of the user's connections are still there.
    Remains,
    /// It was the last: the user has left.
    Last(Member),
}

/// The channel has as many members as the app allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PresenceFull {
    pub(crate) max: usize,
}

impl Presence {
    /// Counts a connection of `member`. Whether it is the user's first.
    pub(crate) fn join(&mut self, member: &Member, max: usize) -> Result<bool, PresenceFull> {
        if let Some(present) = self.members.get_mut(member.id.as_str()) {
            present.connections += 1;
            return Ok(false);
        }
        if self.members.len() >= max {
            return Err(PresenceFull { max });
        }
        let present = Present { member: member.clone(), connections: 1 };
        self.members.insert(member.id.as_str().into(), present);
        Ok(true)
    }

    pub(crate) fn leave(&mut self, id: &UserId) -> Departure {
        let Some(present) = self.members.get_mut(id.as_str()) else {
            return Departure::Remains;
        };
        present.connections -= 1;
        if present.connections > 0 {
            return Departure::Remains;
        }
        let Some(present) = self.members.swap_remove(id.as_str()) else {
            return Departure::Remains;
        };
        if self.members.len() < self.members.capacity() / 8 {
            self.members.shrink_to(self.members.len() * 2);
        }
        Departure::Last(present.member)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &UserId> {
        self.members.values().map(|present| &present.member.id)
    }

    pub(crate) fn succeeded(&self, channel: &ChannelName) -> Frame {
        server::presence_succeeded(channel, self.members.values().map(|present| &present.member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_has_gone_takes_no_memory() {
        let mut presence = Presence::default();
        let members: Vec<Member> =
            (0..1000).map(|id| Member::parse(&format!(r#"{{"user_id":{id}}}"#)).unwrap()).collect();
        for member in &members {
            assert_eq!(presence.join(member, 1000), Ok(true));
        }
        for member in &members[1..] {
            assert!(matches!(presence.leave(&member.id), Departure::Last(_)));
        }
        assert_eq!(presence.len(), 1);
        assert!(presence.members.capacity() < 50, "{}", presence.members.capacity());
    }
}

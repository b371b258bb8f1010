//! The members of a presence channel: users, each counted once however many connections and nodes they use.

use std::time::Duration;

use clarim_cluster::NodeId;
use clarim_protocol::user::{Member, UserId};
use clarim_protocol::{ChannelName, Frame, Start, server};
use hashbrown::HashSet;
use indexmap::IndexMap;
use smallvec::SmallVec;

use crate::snapshot::{SavedMember, SnapshotError};

#[derive(Debug, Default)]
pub(crate) struct Presence {
    /// By id. `user_info` is that of the user's first connection.
    members: IndexMap<Box<str>, Present, foldhash::fast::RandomState>,
    /// Number of connections that have broken and whose users are held for a grace time.
    held: u32,
}

#[derive(Debug)]
struct Present {
    member: Member,
    /// Connections to this node.
    here: u32,
    /// The times at which those of them leave that have broken, if the user is not back by then.
    held: SmallVec<[Duration; 1]>,
    /// Other nodes to which the user is connected.
    elsewhere: SmallVec<[NodeId; 1]>,
}

/// The effect of a join on its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Whether it is the user's first connection to this node.
    pub(crate) first_here: bool,
    /// Whether it is the user's first connection to any node: the user has joined.
    pub(crate) first: bool,
}

/// The effect of a join on another node on its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ArrivalElsewhere {
    /// Whether the user was on no other node.
    pub(crate) first_elsewhere: bool,
    /// Whether the user was on no node at all: the user has joined.
    pub(crate) first: bool,
}

/// The effect of a leave on its user.
#[derive(Debug)]
pub(crate) struct Leaving {
    /// Whether it was the user's last connection to this node.
    pub(crate) last_here: bool,
    /// The member, if it was the user's last connection to any node: the user has left.
    pub(crate) gone: Option<Member>,
}

/// The error of a join to a channel with the maximum number of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PresenceFull {
    pub(crate) max: usize,
}

impl Presence {
    /// Returns what a snapshot keeps of it. Live connections follow from the subscriptions.
    pub(crate) fn save(&self) -> Vec<SavedMember> {
        let members = self.members.values().map(|present| SavedMember {
            data: present.member.to_channel_data(),
            held: present.held.iter().map(|due| (*due).into()).collect(),
            elsewhere: present.elsewhere.to_vec(),
        });
        members.collect()
    }

    /// Makes the members as they were saved. Live connections follow: see
    /// [`restore_connection`](Self::restore_connection). A node that is not in a cluster any more knows no
    /// other nodes.
    pub(crate) fn restored(
        saved: Vec<SavedMember>,
        is_clustered: bool,
    ) -> Result<Self, SnapshotError> {
        let mut presence = Self::default();
        for SavedMember { data, held, elsewhere } in saved {
            let invalid = |error| SnapshotError::invalid(format!("a member: {error}"));
            let member = Member::parse(&data).map_err(invalid)?;
            // There are no more holds than there were connections.
            let here = held.len() as u32;
            presence.held += here;
            let held = held.into_iter().map(|due| due.get()).collect();
            let elsewhere = if is_clustered { elsewhere.into() } else { SmallVec::new() };
            presence.add(Present { member, here, held, elsewhere });
        }
        Ok(presence)
    }

    /// Counts a live connection of a restored member. Returns whether it is the first to this node; `None` if
    /// there is no such member.
    pub(crate) fn restore_connection(&mut self, id: &UserId) -> Option<bool> {
        let present = self.members.get_mut(id.as_str())?;
        present.here += 1;
        Some(present.here == 1)
    }

    /// Removes the restored members that have no connection to any node.
    pub(crate) fn remove_absent(&mut self) -> Vec<Member> {
        let is_absent = |present: &Present| present.here == 0 && present.elsewhere.is_empty();
        let absent: Vec<Box<str>> = self
            .members
            .iter()
            .filter(|(_, present)| is_absent(present))
            .map(|(id, _)| id.clone())
            .collect();
        absent.iter().filter_map(|id| self.remove_if_gone(id)).collect()
    }

    /// Returns the holds of connections that have broken.
    pub(crate) fn holds(&self) -> impl Iterator<Item = (Duration, &UserId)> {
        let members = self.members.values();
        members.flat_map(|present| present.held.iter().map(|due| (*due, &present.member.id)))
    }

    /// Counts a connection of `member` to this node.
    pub(crate) fn join(&mut self, member: &Member, max: usize) -> Result<Arrival, PresenceFull> {
        if let Some(present) = self.members.get_mut(member.id.as_str()) {
            if !present.held.is_empty() {
                present.held.remove(0);
                self.held -= 1;
                return Ok(Arrival { first_here: false, first: false });
            }
            present.here += 1;
            return Ok(Arrival { first_here: present.here == 1, first: false });
        }
        if self.members.len() >= max {
            return Err(PresenceFull { max });
        }
        self.add(Present {
            member: member.clone(),
            here: 1,
            held: SmallVec::new(),
            elsewhere: SmallVec::new(),
        });
        Ok(Arrival { first_here: true, first: true })
    }

    /// Undoes one `join`.
    pub(crate) fn leave(&mut self, id: &UserId) -> Leaving {
        let Some(present) = self.members.get_mut(id.as_str()) else {
            return Leaving { last_here: false, gone: None };
        };
        present.here = present.here.saturating_sub(1);
        let last_here = present.here == 0;
        Leaving { last_here, gone: self.remove_if_gone(id.as_str()) }
    }

    /// Holds the place of a connection that has broken. It counts until the user is back, or until `due`: see
    /// [`end_hold`](Self::end_hold).
    pub(crate) fn hold(&mut self, id: &UserId, due: Duration) {
        if let Some(present) = self.members.get_mut(id.as_str()) {
            present.held.push(due);
            self.held += 1;
        }
    }

    /// Ends the [`hold`](Self::hold) until `due`, unless the user is back.
    pub(crate) fn end_hold(&mut self, id: &UserId, due: Duration) -> Option<Leaving> {
        let present = self.members.get_mut(id.as_str())?;
        let at = present.held.iter().position(|other| *other == due)?;
        present.held.remove(at);
        self.held -= 1;
        Some(self.leave(id))
    }

    /// Whether a connection that has broken is held.
    pub(crate) fn is_held(&self) -> bool {
        self.held > 0
    }

    /// Adds a user of another node.
    pub(crate) fn joined_elsewhere(&mut self, node: NodeId, member: Member) -> ArrivalElsewhere {
        if let Some(present) = self.members.get_mut(member.id.as_str()) {
            let first_elsewhere = present.elsewhere.is_empty();
            if !present.elsewhere.contains(&node) {
                present.elsewhere.push(node);
            }
            return ArrivalElsewhere { first_elsewhere, first: false };
        }
        self.add(Present {
            member,
            here: 0,
            held: SmallVec::new(),
            elsewhere: SmallVec::from_slice(&[node]),
        });
        ArrivalElsewhere { first_elsewhere: true, first: true }
    }

    /// Removes a user of another node. Returns the member if the user is on no node any more.
    pub(crate) fn left_elsewhere(&mut self, node: NodeId, id: &str) -> Option<Member> {
        let present = self.members.get_mut(id)?;
        present.elsewhere.retain(|other| *other != node);
        self.remove_if_gone(id)
    }

    /// Returns the users of another node that are not in `members`.
    pub(crate) fn missing_elsewhere(&self, node: NodeId, members: &[Member]) -> Vec<Box<str>> {
        let there: HashSet<&str, foldhash::fast::RandomState> =
            members.iter().map(|member| member.id.as_str()).collect();
        let of_node = self.members.iter().filter(|(_, present)| present.elsewhere.contains(&node));
        of_node.filter(|(id, _)| !there.contains(&***id)).map(|(id, _)| id.clone()).collect()
    }

    /// Whether the user is a member.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.members.contains_key(id)
    }

    /// Whether the user is connected to another node.
    pub(crate) fn is_elsewhere(&self, id: &str) -> bool {
        self.members.get(id).is_some_and(|present| !present.elsewhere.is_empty())
    }

    /// Returns the users with a connection to this node.
    pub(crate) fn here(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|present| present.here > 0).map(|present| &present.member)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &UserId> {
        self.members.values().map(|present| &present.member.id)
    }

    pub(crate) fn succeeded(&self, channel: &ChannelName, start: Option<&Start>) -> Frame {
        let members = self.members.values().map(|present| &present.member);
        server::presence_succeeded(channel, start, members)
    }

    fn add(&mut self, present: Present) {
        self.members.insert(present.member.id.as_str().into(), present);
    }

    fn remove_if_gone(&mut self, id: &str) -> Option<Member> {
        let present = self.members.get(id)?;
        if present.here > 0 || !present.elsewhere.is_empty() {
            return None;
        }
        let present = self.members.swap_remove(id)?;
        if self.members.len() < self.members.capacity() / 8 {
            self.members.shrink_to(self.members.len() * 2);
        }
        Some(present.member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u32) -> Member {
        Member::parse(&format!(r#"{{"user_id":{id}}}"#)).unwrap()
    }

    #[test]
    fn memory_of_former_members_is_freed() {
        let mut presence = Presence::default();
        let members: Vec<Member> = (0..1000).map(member).collect();
        for member in &members {
            assert!(presence.join(member, 1000).unwrap().first);
        }
        for member in &members[1..] {
            assert!(presence.leave(&member.id).gone.is_some());
        }
        assert_eq!(presence.len(), 1);
        assert!(presence.members.capacity() < 50, "{}", presence.members.capacity());
    }

    #[test]
    fn a_user_on_several_nodes_joins_once_and_leaves_once() {
        let mut presence = Presence::default();
        let a = NodeId(1);
        let b = NodeId(2);
        assert!(presence.joined_elsewhere(a, member(7)).first);
        assert!(!presence.joined_elsewhere(a, member(7)).first);
        assert!(!presence.joined_elsewhere(b, member(7)).first_elsewhere);
        let here = presence.join(&member(7), 1).unwrap();
        assert_eq!(here, Arrival { first_here: true, first: false });
        assert!(presence.left_elsewhere(a, "7").is_none());
        let departure = presence.leave(&member(7).id);
        assert!(departure.last_here && departure.gone.is_none());
        assert!(presence.left_elsewhere(b, "7").is_some());
        assert!(presence.left_elsewhere(b, "7").is_none());
    }
}

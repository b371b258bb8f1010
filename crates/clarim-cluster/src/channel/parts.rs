//! Long states in parts: each message stays well below the limit of any bus.

use clarim_protocol::user::Member;

use crate::message::{Part, State};

/// Bytes of members or names in one part of a long message.
pub const PART_BYTES: usize = 256 << 10;

/// The parts of another node's state that have arrived so far.
#[derive(Debug, Default)]
pub struct Parts {
    /// The version of the state and the part that is expected next; `None` between two states.
    next: Option<(u64, Option<Part>)>,
    members: Vec<Member>,
}

/// The result of adding a part to the earlier ones.
#[derive(Debug)]
pub enum Assembled {
    /// The state is complete: these are its members.
    Whole(Vec<Member>),
    /// More parts follow.
    Partial,
    /// A part was lost, and the state cannot be completed.
    Broken,
}

impl Parts {
    /// Adds a part to the ones before it, if it follows them.
    pub fn add(&mut self, state: &State<'_>) -> Assembled {
        let follows = self.next.take() == Some((state.number, state.part));
        if !follows {
            self.members.clear();
            // The first release does not number its parts.
            if state.part.is_some_and(|part| part.index > 0) {
                return Assembled::Broken;
            }
        }
        self.members.extend(state.members.iter().filter_map(|data| Member::parse(data).ok()));
        if !state.more {
            return Assembled::Whole(std::mem::take(&mut self.members));
        }
        let next = state.part.map(|part| Part { index: part.index.wrapping_add(1), ..part });
        self.next = Some((state.number, next));
        Assembled::Partial
    }

    /// Forgets the parts that have arrived.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBERS: [&str; 3] = [r#"{"user_id":"a"}"#, r#"{"user_id":"b"}"#, r#"{"user_id":"c"}"#];

    fn state(number: u64, part: Option<Part>, member: usize, more: bool) -> State<'static> {
        State { number, members: vec![MEMBERS[member]], part, more, ..State::default() }
    }

    /// The part at `index` of a publication of one version, with the member of the same number.
    fn part(publication: u32, index: u32, more: bool) -> State<'static> {
        state(7, Some(Part { publication, index }), index as usize, more)
    }

    /// Adds a part. Returns the ids of a complete state.
    fn add(parts: &mut Parts, state: &State<'_>) -> Result<String, &'static str> {
        match parts.add(state) {
            Assembled::Whole(members) => Ok(members.iter().map(|m| m.id.as_str()).collect()),
            Assembled::Partial => Err("partial"),
            Assembled::Broken => Err("broken"),
        }
    }

    #[test]
    fn a_state_that_was_cut_off_is_not_part_of_the_next() {
        let mut parts = Parts::default();
        assert_eq!(add(&mut parts, &part(1, 0, true)), Err("partial"));
        assert_eq!(add(&mut parts, &part(2, 0, true)), Err("partial"));
        assert_eq!(add(&mut parts, &part(2, 1, true)), Err("partial"));
        assert_eq!(add(&mut parts, &part(2, 2, false)).unwrap(), "abc");
        // Also if the next state is short.
        assert_eq!(add(&mut parts, &part(3, 0, true)), Err("partial"));
        assert_eq!(add(&mut parts, &state(8, None, 1, false)).unwrap(), "b");
    }

    #[test]
    fn a_state_without_one_of_its_parts_is_broken() {
        let mut parts = Parts::default();
        assert_eq!(add(&mut parts, &part(1, 0, true)), Err("partial"));
        assert_eq!(add(&mut parts, &part(1, 2, false)), Err("broken"));
        assert_eq!(add(&mut parts, &part(2, 1, true)), Err("broken"));
        assert_eq!(add(&mut parts, &part(2, 2, false)), Err("broken"));
        // Its last part is lost, and so is the first of the next state.
        assert_eq!(add(&mut parts, &part(3, 0, true)), Err("partial"));
        assert_eq!(add(&mut parts, &part(4, 1, false)), Err("broken"));
    }

    #[test]
    fn parts_without_numbers_belong_together_while_their_version_is_the_same() {
        let mut parts = Parts::default();
        assert_eq!(add(&mut parts, &state(1, None, 0, true)), Err("partial"));
        assert_eq!(add(&mut parts, &state(1, None, 1, false)).unwrap(), "ab");
        assert_eq!(add(&mut parts, &state(1, None, 0, true)), Err("partial"));
        assert_eq!(add(&mut parts, &state(2, None, 2, false)).unwrap(), "c");
    }
}

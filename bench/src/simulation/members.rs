//! A presence channel's members, as one client knows them.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// A user of the load generator. User 17 is `u17` on the wire.
pub(crate) type User = u32;

/// The members of `subscription_succeeded`, changed by the member events since.
#[derive(Debug, Default)]
pub(crate) struct Members {
    present: Vec<bool>,
    count: usize,
    /// Number of `member_added` events for present members and `member_removed` events for absent ones.
    pub(crate) repeated_members: u64,
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    presence: Presence<'a>,
}

#[derive(Deserialize)]
struct Presence<'a> {
    count: usize,
    #[serde(borrow)]
    hash: HashMap<Cow<'a, str>, IgnoredAny>,
    ids: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Member<'a> {
    #[serde(borrow)]
    user_id: Cow<'a, str>,
}

impl Members {
    /// Applies the data of `subscription_succeeded`.
    pub(crate) fn take_list(&mut self, data: &str) -> Result<()> {
        let List { presence } = serde_json::from_str(data).context("invalid member list")?;
        ensure!(
            presence.count == presence.hash.len() && presence.ids.len() == presence.hash.len(),
            "invalid measurement: the member list says {}, but has {} ids and {} entries",
            presence.count,
            presence.ids.len(),
            presence.hash.len()
        );
        *self = Self { repeated_members: self.repeated_members, ..Self::default() };
        for id in presence.hash.keys() {
            self.set(id, true)?;
        }
        Ok(())
    }

    /// Applies the data of `member_added` or `member_removed`.
    pub(crate) fn take_change(&mut self, data: &str, added: bool) -> Result<()> {
        let Member { user_id } = serde_json::from_str(data).context("invalid member")?;
        self.set(&user_id, added)
    }

    fn set(&mut self, id: &str, added: bool) -> Result<()> {
        let user = id.strip_prefix('u').and_then(|n| n.parse::<User>().ok());
        let user = user.with_context(|| format!("invalid measurement: unknown member {id}"))?;
        let place = usize::try_from(user)?;
        if place >= self.present.len() {
            self.present.resize(place + 1, false);
        }
        if std::mem::replace(&mut self.present[place], added) == added {
            self.repeated_members += 1;
        } else if added {
            self.count += 1;
        } else {
            self.count -= 1;
        }
        Ok(())
    }

    pub(crate) fn are(&self, users: &[User]) -> bool {
        let has = |user: &User| self.present.get(*user as usize) == Some(&true);
        self.count == users.len() && users.iter().all(has)
    }
}

/// The `channel_data` of a user.
pub(crate) fn channel_data(user: User) -> String {
    format!(r#"{{"user_id":"u{user}","user_info":{{"name":"User {user}"}}}}"#)
}

#[cfg(test)]
mod tests {
    use super::{Members, channel_data};

    #[test]
    fn a_list_is_changed_by_member_events() {
        let mut members = Members::default();
        let list = r#"{"presence":{"count":2,"ids":["u0","u2"],"hash":{"u0":{},"u2":null}}}"#;
        members.take_list(list).unwrap();
        assert!(members.are(&[0, 2]) && !members.are(&[0]) && !members.are(&[0, 1]));
        members.take_change(&channel_data(1), true).unwrap();
        members.take_change(r#"{"user_id":"u0"}"#, false).unwrap();
        assert!(members.are(&[1, 2]));
        assert_eq!(members.repeated_members, 0);
        members.take_change(&channel_data(1), true).unwrap();
        assert_eq!((members.repeated_members, members.are(&[1, 2])), (1, true));
    }

    #[test]
    fn an_inconsistent_list_or_an_unknown_member_is_an_error() {
        let mut members = Members::default();
        let list = r#"{"presence":{"count":2,"ids":["u0"],"hash":{"u0":{}}}}"#;
        assert!(members.take_list(list).is_err());
        assert!(members.take_change(r#"{"user_id":"somebody"}"#, true).is_err());
    }
}

//! Users: members of presence channels, and signed-in users.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::write_json_string;

/// Maximum length of a user's id, as Pusher's limit for channel names.
pub const MAX_USER_ID_BYTES: usize = 200;

/// A user's id of at most [`MAX_USER_ID_BYTES`]. Backends send it as a string or as a number. Clients get it
/// in the same form; both forms of an id mean the same user.
#[derive(Debug, Clone)]
pub struct UserId {
    text: Box<str>,
    number: bool,
}

impl UserId {
    /// Parses the JSON of an id: a non-empty string or a number. Other values are the error `invalid`.
    fn from_json(raw: &RawValue, invalid: InvalidUser) -> Result<Self, InvalidUser> {
        let json = raw.get();
        let (text, number): (Box<str>, bool) = if json.starts_with('"') {
            (serde_json::from_str(json).map_err(|_| invalid)?, false)
        } else if json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            (json.into(), true)
        } else {
            return Err(invalid);
        };
        match text.len() {
            0 => Err(invalid),
            1..=MAX_USER_ID_BYTES => Ok(Self { text, number }),
            bytes => Err(InvalidUser::IdTooLong { bytes }),
        }
    }

    /// Returns the id without JSON's quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns a member with this id and no data, as `channel_data`.
    #[must_use]
    pub fn to_channel_data(&self) -> String {
        channel_data(self, None)
    }

    /// Appends the id as JSON, in its original form.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        if self.number {
            out.extend_from_slice(self.text.as_bytes());
        } else {
            write_json_string(out, &self.text);
        }
    }
}

impl PartialEq for UserId {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for UserId {}

/// A member of a presence channel: the `channel_data` of its subscription.
#[derive(Debug, Clone)]
pub struct Member {
    /// The user's id.
    pub id: UserId,
    /// Data about the user for the other members: any JSON.
    pub info: Option<Box<RawValue>>,
}

impl Member {
    /// Parses `channel_data`.
    ///
    /// # Errors
    /// If it is not a JSON object with a `user_id`.
    pub fn parse(channel_data: &str) -> Result<Self, InvalidUser> {
        #[derive(Deserialize)]
        struct Data<'a> {
            #[serde(borrow)]
            user_id: &'a RawValue,
            #[serde(default)]
            user_info: Option<Box<RawValue>>,
        }
        let data: Data<'_> =
            serde_json::from_str(channel_data).map_err(|_| InvalidUser::ChannelData)?;
        let id = UserId::from_json(data.user_id, InvalidUser::ChannelData)?;
        Ok(Self { id, info: data.user_info })
    }

    /// Returns the member as `channel_data`.
    ///
    /// ```
    /// use clarim_protocol::user::Member;
    ///
    /// let data = r#"{"user_id":7,"user_info":{"name":"Ana"}}"#;
    /// assert_eq!(Member::parse(data).unwrap().to_channel_data(), data);
    /// ```
    #[must_use]
    pub fn to_channel_data(&self) -> String {
        channel_data(&self.id, self.info.as_deref())
    }
}

fn channel_data(id: &UserId, info: Option<&RawValue>) -> String {
    let mut out = br#"{"user_id":"#.to_vec();
    id.write_json(&mut out);
    if let Some(info) = info {
        out.extend_from_slice(br#","user_info":"#);
        out.extend_from_slice(info.get().as_bytes());
    }
    out.push(b'}');
    // Everything written is UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

/// Maximum length of a watchlist. Further users are ignored.
pub const MAX_WATCHLIST: usize = 100;

/// A signed-in user: the `user_data` of `pusher:signin`.
#[derive(Debug, Clone)]
pub struct User {
    /// The user as a member of presence channels. A signed-in connection needs no `channel_data` to join
    /// them.
    pub member: Member,
    /// Ids of the users to watch: at most [`MAX_WATCHLIST`], without duplicates.
    pub watchlist: Vec<Box<str>>,
    /// Whether the list was longer than [`MAX_WATCHLIST`].
    pub watchlist_cut: bool,
}

impl User {
    /// Parses `user_data`.
    ///
    /// # Errors
    /// If it is not a JSON object with an `id` that is a string or a number.
    pub fn parse(user_data: &str) -> Result<Self, InvalidUser> {
        #[derive(Deserialize)]
        struct Data<'a> {
            #[serde(borrow)]
            id: &'a RawValue,
            #[serde(default)]
            user_info: Option<Box<RawValue>>,
            #[serde(default)]
            watchlist: Vec<Box<RawValue>>,
        }
        let data: Data<'_> = serde_json::from_str(user_data).map_err(|_| InvalidUser::UserData)?;
        let id = UserId::from_json(data.id, InvalidUser::UserData)?;
        let watchlist_cut = data.watchlist.len() > MAX_WATCHLIST;
        let mut watchlist: Vec<Box<str>> = Vec::new();
        for raw in data.watchlist.iter().take(MAX_WATCHLIST) {
            let watched = UserId::from_json(raw, InvalidUser::UserData)?.text;
            if !watchlist.contains(&watched) {
                watchlist.push(watched);
            }
        }
        Ok(Self { member: Member { id, info: data.user_info }, watchlist, watchlist_cut })
    }
}

/// The error of invalid user data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUser {
    /// `channel_data` is not a member.
    #[error(
        "channel_data of a presence channel must be a JSON object with a user_id (text or number)"
    )]
    ChannelData,
    /// `user_data` is not a user.
    #[error(
        "user_data must be a JSON object with an id (text or number), and a watchlist may contain only ids"
    )]
    UserData,
    /// The id of a user is too long.
    #[error("the user id has {bytes} bytes, the maximum is {MAX_USER_ID_BYTES}")]
    IdTooLong {
        /// The id's length.
        bytes: usize,
    },
}

impl InvalidUser {
    /// Returns a stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::ChannelData => "channel_data_invalid",
            Self::UserData => "user_data_invalid",
            Self::IdTooLong { .. } => "user_id_too_long",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChannelName;

    #[test]
    fn ids_keep_their_json_type_and_both_types_are_one_user() {
        let number = Member::parse(r#"{"user_id":7,"user_info":{"name":"Ana"}}"#).unwrap();
        let text = Member::parse(r#"{"user_id":"7"}"#).unwrap();
        assert_eq!(number.id, text.id);
        let json = |m: &Member| {
            let mut out = Vec::new();
            m.id.write_json(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!((json(&number).as_str(), json(&text).as_str()), ("7", "\"7\""));
        assert_eq!(number.info.unwrap().get(), r#"{"name":"Ana"}"#);
    }

    #[test]
    fn invalid_ids_are_rejected() {
        for data in [
            "",
            "{}",
            "[]",
            "7",
            r#"{"user_id":null}"#,
            r#"{"user_id":""}"#,
            r#"{"user_id":{}}"#,
            r#"{"user_id":true}"#,
        ] {
            assert_eq!(Member::parse(data).unwrap_err(), InvalidUser::ChannelData, "{data}");
        }
        for data in [
            "{}",
            r#"{"id":""}"#,
            r#"{"id":[1]}"#,
            r#"{"id":"1","watchlist":[{}]}"#,
            r#"{"id":"1","watchlist":1}"#,
        ] {
            assert_eq!(User::parse(data).unwrap_err(), InvalidUser::UserData, "{data}");
        }
    }

    #[test]
    fn ids_have_a_maximum_length() {
        for (bytes, is_valid) in [(MAX_USER_ID_BYTES, true), (MAX_USER_ID_BYTES + 1, false)] {
            let too_long = InvalidUser::IdTooLong { bytes };
            for id in [format!("\"{}\"", "x".repeat(bytes)), "7".repeat(bytes)] {
                let expected = if is_valid { None } else { Some(too_long) };
                assert_eq!(Member::parse(&format!(r#"{{"user_id":{id}}}"#)).err(), expected);
                assert_eq!(User::parse(&format!(r#"{{"id":{id}}}"#)).err(), expected);
                let watching = format!(r#"{{"id":1,"watchlist":[{id}]}}"#);
                assert_eq!(User::parse(&watching).err(), expected);
            }
            let name = ChannelName::of_user(&"x".repeat(bytes));
            assert_eq!(name.is_ok(), is_valid);
        }
    }

    #[test]
    fn a_long_watchlist_is_cut() {
        let ids: Vec<u32> = (0..150).collect();
        let user = User::parse(&format!(r#"{{"id":"1","watchlist":{ids:?}}}"#)).unwrap();
        assert!(user.watchlist_cut);
        assert_eq!(user.watchlist.len(), 100);
        let user = User::parse(r#"{"id":"1","watchlist":["2","2",2,"3"]}"#).unwrap();
        assert_eq!(user.watchlist, ["2".into(), "3".into()]);
    }
}

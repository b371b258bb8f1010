//! Messages of the server. Each is encoded once, into a finished WebSocket frame.
//!
//! The order of the keys is always `event`, `channel`, `data`. `data` is a *string* that contains JSON in
//! messages of the server, of backends and, by default, in client events. It is an object in `pusher:error`
//! and `pusher:signin_success`.

use std::fmt::Write;

use serde_json::value::RawValue;

use crate::channel::ChannelName;
use crate::code::Code;
use crate::json::{write_json_string, write_json_string_of_bytes};
use crate::position::{GapReason, Position, Start};
use crate::socket_id::SocketId;
use crate::user::{Member, UserId};
use crate::websocket::Frame;

/// Makes the greeting of a new connection. `activity_timeout` is in seconds.
#[must_use]
pub fn connection_established(socket_id: SocketId, activity_timeout: u64) -> Frame {
    let data = format!("{{\"socket_id\":\"{socket_id}\",\"activity_timeout\":{activity_timeout}}}");
    Frame::json(128, |out| {
        out.extend_from_slice(br#"{"event":"pusher:connection_established","data":"#);
        write_json_string(out, &data);
        out.push(b'}');
    })
}

/// Makes the reply to `pusher:ping`.
#[must_use]
pub fn pong() -> Frame {
    Frame::text(br#"{"event":"pusher:pong","data":{}}"#)
}

/// Makes the ping for a silent client.
#[must_use]
pub fn ping() -> Frame {
    Frame::text(br#"{"event":"pusher:ping","data":{}}"#)
}

/// Makes an error message. Clients do not react to an error without a code (`null`).
#[must_use]
pub fn error(code: impl Into<Option<Code>>, message: &str) -> Frame {
    let code = code.into().map_or_else(|| "null".to_owned(), |code| code.to_string());
    Frame::json(64 + message.len(), |out| {
        out.extend_from_slice(br#"{"event":"pusher:error","data":{"code":"#);
        out.extend_from_slice(code.as_bytes());
        out.extend_from_slice(br#","message":"#);
        write_json_string(out, message);
        out.extend_from_slice(b"}}");
    })
}

/// Makes the error of a rejected subscription. The event is `pusher:subscription_error`, or
/// `pusher_internal:subscription_error` for some clients. pusher-js and Echo pass `status`, an HTTP status,
/// to the application.
#[must_use]
pub fn subscription_error(
    event: &str,
    channel: &str,
    kind: &str,
    message: &str,
    status: u16,
) -> Frame {
    Frame::json(128 + channel.len() + message.len(), |out| {
        out.extend_from_slice(br#"{"event":"#);
        write_json_string(out, event);
        out.extend_from_slice(br#","channel":"#);
        write_json_string(out, channel);
        out.extend_from_slice(br#","data":{"type":"#);
        write_json_string(out, kind);
        out.extend_from_slice(br#","error":"#);
        write_json_string(out, message);
        out.extend_from_slice(br#","status":"#);
        out.extend_from_slice(status.to_string().as_bytes());
        out.extend_from_slice(b"}}");
    })
}

/// Makes the confirmation of a subscription. `start` is that of a channel with history.
#[must_use]
pub fn subscription_succeeded(channel: &ChannelName, start: Option<&Start>) -> Frame {
    let mut data = b"{".to_vec();
    if let Some(start) = start {
        write_start(&mut data, start);
    }
    data.push(b'}');
    message_of_bytes("pusher_internal:subscription_succeeded", channel.as_str(), &data)
}

/// Writes the fields that tell where a subscription starts.
fn write_start(data: &mut Vec<u8>, start: &Start) {
    let Start { position, recovered, missed } = start;
    let text = format!(
        r#""epoch":"{}","offset":{},"recovered":{recovered},"missed":{missed}"#,
        position.epoch, position.offset
    );
    data.extend_from_slice(text.as_bytes());
}

/// Makes the confirmation of a presence subscription, with all members including the new one. `start` is that
/// of a channel with history.
#[must_use]
pub fn presence_succeeded<'a>(
    channel: &ChannelName,
    start: Option<&Start>,
    members: impl ExactSizeIterator<Item = &'a Member> + Clone,
) -> Frame {
    let mut data = Vec::with_capacity(64 + members.len() * 64);
    data.extend_from_slice(br#"{"presence":{"count":"#);
    data.extend_from_slice(members.len().to_string().as_bytes());
    data.extend_from_slice(br#","ids":["#);
    separated(&mut data, members.clone(), |data, member| member.id.write_json(data));
    data.extend_from_slice(br#"],"hash":{"#);
    separated(&mut data, members, |data, member| {
        write_json_string(data, member.id.as_str());
        data.push(b':');
        write_raw(data, member.info.as_deref());
    });
    data.extend_from_slice(b"}}");
    if let Some(start) = start {
        data.push(b',');
        write_start(&mut data, start);
    }
    data.push(b'}');
    message_of_bytes("pusher_internal:subscription_succeeded", channel.as_str(), &data)
}

/// Makes the announcement of a user's first connection to a presence channel.
#[must_use]
pub fn member_added(channel: &ChannelName, member: &Member) -> Frame {
    let mut data = br#"{"user_id":"#.to_vec();
    member.id.write_json(&mut data);
    data.extend_from_slice(br#","user_info":"#);
    write_raw(&mut data, member.info.as_deref());
    data.push(b'}');
    message_of_bytes("pusher_internal:member_added", channel.as_str(), &data)
}

/// Makes the announcement that a user's last connection has left a presence channel.
#[must_use]
pub fn member_removed(channel: &ChannelName, id: &UserId) -> Frame {
    let mut data = br#"{"user_id":"#.to_vec();
    id.write_json(&mut data);
    data.push(b'}');
    message_of_bytes("pusher_internal:member_removed", channel.as_str(), &data)
}

/// Makes the message with the number of subscribers.
#[must_use]
pub fn subscription_count(channel: &ChannelName, count: usize) -> Frame {
    let data = format!("{{\"subscription_count\":{count}}}");
    message("pusher_internal:subscription_count", channel.as_str(), &data)
}

/// Makes the message for a new subscriber of a cache channel without a cached event.
#[must_use]
pub fn cache_miss(channel: &ChannelName) -> Frame {
    Frame::json(64 + channel.as_str().len(), |out| {
        out.extend_from_slice(br#"{"event":"pusher:cache_miss","channel":"#);
        write_json_string(out, channel.as_str());
        out.push(b'}');
    })
}

/// Makes Clarim's own message to subscribers that may have missed events of the channel. Clients pass it to
/// handlers of `clarim:gap`, if there are any. On channels with history, everything behind `position`
/// follows.
#[must_use]
pub fn gap(channel: &ChannelName, reason: GapReason, position: Option<Position>) -> Frame {
    let mut data = format!(r#"{{"reason":"{}""#, reason.as_str());
    if let Some(Position { epoch, offset }) = position {
        // Writing to a string can't fail.
        let _ = write!(data, r#","epoch":"{epoch}","offset":{offset}"#);
    }
    data.push('}');
    message("clarim:gap", channel.as_str(), &data)
}

/// Makes the form of an event that has a place in the history of its channel: `offset` is appended to its
/// fields.
#[must_use]
pub fn with_offset(event: &Frame, offset: u64) -> Frame {
    let payload = event.payload();
    Frame::json(payload.len() + 32, |out| {
        out.extend_from_slice(payload.strip_suffix(b"}").unwrap_or(payload));
        out.extend_from_slice(br#","offset":"#);
        out.extend_from_slice(offset.to_string().as_bytes());
        out.push(b'}');
    })
}

/// Makes the confirmation of a sign-in, which repeats `user_data`.
#[must_use]
pub fn signin_success(user_data: &str) -> Frame {
    Frame::json(96 + user_data.len(), |out| {
        out.extend_from_slice(br#"{"event":"pusher:signin_success","data":{"user_data":"#);
        write_json_string(out, user_data);
        out.extend_from_slice(b"}}");
    })
}

/// Makes the message with the users of a watchlist who are online or offline.
#[must_use]
pub fn watchlist_events<'a>(
    online: impl Iterator<Item = &'a str>,
    offline: impl Iterator<Item = &'a str>,
) -> Frame {
    let mut data = br#"{"events":["#.to_vec();
    let mut first = true;
    for (name, ids) in [
        ("online", &mut { online } as &mut dyn Iterator<Item = &str>),
        ("offline", &mut { offline }),
    ] {
        let mut ids = ids.peekable();
        if ids.peek().is_none() {
            continue;
        }
        if !std::mem::take(&mut first) {
            data.push(b',');
        }
        data.extend_from_slice(br#"{"name":""#);
        data.extend_from_slice(name.as_bytes());
        data.extend_from_slice(br#"","user_ids":["#);
        separated(&mut data, ids, write_json_string);
        data.extend_from_slice(b"]}");
    }
    data.extend_from_slice(b"]}");
    Frame::json(64 + data.len(), |out| {
        out.extend_from_slice(br#"{"event":"pusher_internal:watchlist_events","data":"#);
        write_json_string_of_bytes(out, &data);
        out.push(b'}');
    })
}

/// Makes an event of a backend. `data` is the JSON string literal that the backend sent: it is copied into
/// the frame unchanged.
#[must_use]
pub fn event(name: &str, channel: &ChannelName, data: &RawValue) -> Frame {
    let data = data.get();
    Frame::json(64 + name.len() + channel.as_str().len() + data.len(), |out| {
        begin(out, name, channel.as_str());
        out.extend_from_slice(data.as_bytes());
        out.push(b'}');
    })
}

/// The form in which the data of a client event is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientEventData {
    /// As a string, as in every other event: data that is not a string becomes JSON inside one. Pusher
    /// documents this form, and the clients for .NET and Swift read no other. pusher-js and Echo give the
    /// application what was sent.
    #[default]
    Text,
    /// As it was sent, as Reverb and Soketi do.
    Unchanged,
}

/// Makes a client event. `user_id` must be authenticated: it never comes from the event itself.
#[must_use]
pub fn client_event(
    name: &str,
    channel: &ChannelName,
    data: Option<&RawValue>,
    form: ClientEventData,
    user_id: Option<&UserId>,
) -> Frame {
    let data = data.map_or("null", RawValue::get);
    Frame::json(64 + name.len() + channel.as_str().len() + data.len() * 5 / 4, |out| {
        begin(out, name, channel.as_str());
        if form == ClientEventData::Unchanged || data.starts_with('"') {
            out.extend_from_slice(data.as_bytes());
        } else {
            write_json_string(out, data);
        }
        if let Some(id) = user_id {
            out.extend_from_slice(br#","user_id":"#);
            id.write_json(out);
        }
        out.push(b'}');
    })
}

/// Makes a message whose `data` is JSON inside a string.
fn message(event: &str, channel: &str, data: &str) -> Frame {
    message_of_bytes(event, channel, data.as_bytes())
}

fn message_of_bytes(event: &str, channel: &str, data: &[u8]) -> Frame {
    Frame::json(64 + event.len() + channel.len() + data.len() * 5 / 4, |out| {
        begin(out, event, channel);
        write_json_string_of_bytes(out, data);
        out.push(b'}');
    })
}

fn begin(out: &mut Vec<u8>, event: &str, channel: &str) {
    out.extend_from_slice(br#"{"event":"#);
    write_json_string(out, event);
    out.extend_from_slice(br#","channel":"#);
    write_json_string(out, channel);
    out.extend_from_slice(br#","data":"#);
}

fn separated<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    for (n, item) in items.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

fn write_raw(out: &mut Vec<u8>, raw: Option<&RawValue>) {
    out.extend_from_slice(raw.map_or("null", RawValue::get).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: &Frame) -> &str {
        std::str::from_utf8(frame.payload()).unwrap()
    }

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name, 200).unwrap()
    }

    #[test]
    fn greeting() {
        let frame = connection_established("1.2".parse().unwrap(), 30);
        assert_eq!(
            text(&frame),
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":30}"}"#
        );
    }

    #[test]
    fn members_keep_the_types_of_their_ids() {
        let members = [
            Member::parse(r#"{"user_id":"1","user_info":{"name":"Ana \"A\""}}"#).unwrap(),
            Member::parse(r#"{"user_id":2}"#).unwrap(),
        ];
        let frame = presence_succeeded(&channel("presence-r"), None, members.iter());
        let outer: serde_json::Value = serde_json::from_str(text(&frame)).unwrap();
        assert_eq!(
            outer["data"].as_str().unwrap(),
            r#"{"presence":{"count":2,"ids":["1",2],"hash":{"1":{"name":"Ana \"A\""},"2":null}}}"#
        );
        assert_eq!(
            text(&member_removed(&channel("presence-r"), &members[1].id)),
            r#"{"event":"pusher_internal:member_removed","channel":"presence-r","data":"{\"user_id\":2}"}"#
        );
    }

    #[test]
    fn watchlist_events_leave_out_empty_lists() {
        let frame = watchlist_events(["1", "2"].into_iter(), std::iter::empty());
        assert_eq!(
            text(&frame),
            r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"1\",\"2\"]}]}"}"#
        );
        let frame = watchlist_events(["1"].into_iter(), ["3"].into_iter());
        assert!(text(&frame).contains(r#"},{\"name\":\"offline\",\"user_ids\":[\"3\"]}"#));
    }

    #[test]
    fn published_data_is_not_changed() {
        let raw = RawValue::from_string(r#""{\"a\":\"\u00e1\/\"}""#.to_owned()).unwrap();
        assert_eq!(
            text(&event("E", &channel("c"), &raw)),
            r#"{"event":"E","channel":"c","data":"{\"a\":\"\u00e1\/\"}"}"#
        );
    }
}

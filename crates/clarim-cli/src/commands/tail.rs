//! `clarim tail`: prints the events of a channel.

use std::io::Write;

use clarim_protocol::{ChannelName, SocketId};
use serde_json::{Value, json};

use super::api;
use crate::doctor::{Client, ClientError, Target, parsed_data};
use crate::error::CommandError;
use crate::flags::ApiFlags;
use crate::printable::{now, printable, printable_json};
use crate::remote::SignedApi;

/// The member that joins a presence channel.
const MEMBER: &str = r#"{"user_id":"clarim-tail"}"#;

const SUBSCRIBED: &str = "pusher_internal:subscription_succeeded";

/// Maximum length of a channel name on servers of the protocol.
const MAX_NAME: usize = 200;

pub(crate) fn run(
    flags: &ApiFlags,
    channel: &str,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(follow(&api::of_flags(flags)?, channel, is_json, out))
}

async fn follow(
    server: &SignedApi,
    channel: &str,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let target = Target::parse(&server.url)?;
    let mut client =
        Client::connect(&target, server.key.key(), None).await.map_err(ClientError::from)?;
    let first = parsed_data(&client.first["data"]);
    let Some(socket_id) = first["socket_id"].as_str().and_then(|id| id.parse().ok()) else {
        let reason = format!("the connection was refused: {first}");
        return Err(CommandError::Subscription { channel: channel.to_owned(), reason });
    };
    client.send(&subscription(server, channel, socket_id)?).await?;
    loop {
        let message = client.receive().await?;
        let data = parsed_data(&message["data"]);
        match message["event"].as_str().unwrap_or_default() {
            "pusher:ping" => {
                client.send(&json!({ "event": "pusher:pong", "data": {} })).await?;
            }
            "pusher:error" | "pusher:subscription_error" => {
                let reason = data.to_string();
                return Err(CommandError::Subscription { channel: channel.to_owned(), reason });
            }
            event if is_json => {
                // The name under which clients know it.
                let event =
                    if event == SUBSCRIBED { "pusher:subscription_succeeded" } else { event };
                let line =
                    json!({ "time": now(), "event": event, "channel": channel, "data": data });
                writeln!(out, "{}", printable_json(&line.to_string()))?;
            }
            SUBSCRIBED => {
                writeln!(out, "{} joined {}; Ctrl+C stops", now(), printable(channel))?;
            }
            event => {
                let data = data.to_string();
                writeln!(out, "{} {} {}", now(), printable(event), printable(&data))?;
            }
        }
        // A reader of a pipe gets each line at once.
        out.flush()?;
    }
}

fn subscription(
    server: &SignedApi,
    channel: &str,
    socket_id: SocketId,
) -> Result<Value, CommandError> {
    let name = ChannelName::parse(channel, MAX_NAME)
        .map_err(|source| CommandError::ChannelName { name: channel.to_owned(), source })?;
    let mut data = json!({ "channel": channel });
    let member = name.is_presence().then_some(MEMBER);
    if name.needs_auth() {
        data["auth"] = server.key.sign_channel(socket_id, channel, member).into();
    }
    if let Some(member) = member {
        data["channel_data"] = member.into();
    }
    Ok(json!({ "event": "pusher:subscribe", "data": data }))
}

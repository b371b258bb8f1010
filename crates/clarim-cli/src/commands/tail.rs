//! `clarim tail`: what comes on a channel, a line each.

use std::io::Write;

use clarim_protocol::{ChannelName, SocketId};
use serde_json::{Value, json};

use super::{ApiFlags, CommandError, api};
use crate::doctor::{Client, Finding, Target, opened};

/// Who it is on a presence channel.
const MEMBER: &str = r#"{"user_id":"clarim-tail"}"#;

/// As long as any server's.
const MAX_NAME: usize = 200;

pub(super) fn run(
    flags: &ApiFlags,
    (channel, is_json): (&str, bool),
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(follow(&api::Server::of(flags)?, channel, is_json, out))
}

async fn follow(
    server: &api::Server,
    channel: &str,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let target = Target::parse(&server.url).map_err(CommandError::Usage)?;
    let told = |Finding { what, cure, .. }| CommandError::Api(format!("{what} → {cure}"));
    let mut client = Client::connect(&target, server.key.key(), None).await.map_err(told)?;
    let first = opened(&client.first["data"]);
    let Some(socket_id) = first["socket_id"].as_str().and_then(|id| id.parse().ok()) else {
        return Err(CommandError::Api(format!("the connection is refused: {first}")));
    };
    client.say(&subscription(server, channel, socket_id)?).await.map_err(CommandError::Api)?;
    loop {
        let message = client.hear().await.map_err(CommandError::Api)?;
        let data = opened(&message["data"]);
        match message["event"].as_str().unwrap_or_default() {
            "pusher:ping" => {
                let pong = json!({ "event": "pusher:pong", "data": {} });
                client.say(&pong).await.map_err(CommandError::Api)?;
            }
            "pusher:error" | "pusher:subscription_error" => {
                return Err(CommandError::Api(format!("{channel}: {data}")));
            }
            "pusher_internal:subscription_succeeded" => tracing::debug!(channel, "subscribed"),
            event => {
                if is_json {
                    let line = json!({ "event": event, "channel": channel, "data": data });
                    writeln!(out, "{line}")?;
                } else {
                    writeln!(out, "{event} {data}")?;
                }
                // Whoever reads this waits for each line.
                out.flush()?;
            }
        }
    }
}

fn subscription(
    server: &api::Server,
    channel: &str,
    socket_id: SocketId,
) -> Result<Value, CommandError> {
    let name = ChannelName::parse(channel, MAX_NAME)
        .map_err(|error| CommandError::Usage(format!("{channel:?}: {error}")))?;
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

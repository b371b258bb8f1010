//! Checks that the events of channels with history are kept, and that page ids reach the server.

use clarim_bus::LogSupport;
use clarim_config::Config;
use clarim_protocol::auth::AppKey;
use clarim_protocol::{ChannelName, SocketId};
use clarim_server::{HistoryRule, Server};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::connection::client::{Client, ClientError, parsed_data};
use super::connection::target::Target;
use super::finding::{Finding, SLOW};

/// Checks whether the bus of a cluster keeps what the history rules say. `None` if it need not, or does not
/// reply.
pub(crate) async fn store(settings: &Config) -> Option<Finding> {
    let kind = settings.server.scaling.as_ref()?.bus.kind();
    let support = Server::history_support(&settings.server, &settings.apps).await?;
    Some(match support {
        LogSupport::Missing(error) => Finding::problem(
            "history",
            format!("{kind} keeps no events of channels with history: {error}"),
            "mend it, or remove the history rules (APP_HISTORY)",
        ),
        LogSupport::Evicted { policy } => Finding::warning(
            "history",
            format!("{kind} drops histories when its memory is full (maxmemory-policy {policy})"),
            "set maxmemory-policy noeviction; publishers then get 503 while the memory is full",
        ),
        _ => Finding::ok("history", format!("{kind} keeps the events of channels with history")),
    })
}

/// Checks that the page id in a path reaches the server, with a channel that this rule matches. `None` if the
/// channel has no history on that server.
pub(super) async fn page_ids(
    target: &Target,
    origin: Option<&str>,
    key: &AppKey,
    rule: &HistoryRule,
) -> Option<Finding> {
    let id = fastrand::u64(..);
    // The second connection of a page that no server knows: it gets a gap on each channel with history.
    let path = format!("{}/app/~doctor{id:016x}.2", target.path);
    let of_page = Target { path, ..target.clone() };
    // Without an asterisk it is the application's channel.
    let pattern = rule.pattern();
    let channel =
        pattern.contains('*').then(|| pattern.replace('*', &format!("doctor-{id:016x}")))?;
    let channel = ChannelName::parse(&channel, 200).ok()?;
    let gap = match Client::connect(&of_page, key.key(), origin).await {
        Ok(client) => gap_of(client, key, &channel).await,
        Err(finding) => Err(ClientError::Refused(finding)),
    };
    let warning = |what: String| {
        let remedy = "a proxy must forward paths that begin with /app/ unchanged, as in the files of deploy/; only \
                      pages with a page id (wsPath, pagePaths) are affected";
        Some(Finding::warning("page ids", what, remedy))
    };
    match gap {
        Ok(Gap::Received) => {
            Some(Finding::ok("page ids", "the id in a page's path reaches the server"))
        }
        Ok(Gap::None) => warning("the id in a page's path does not reach the server".to_owned()),
        Ok(Gap::NoHistory) => None,
        Err(error) => warning(format!("a page with an id in its path cannot subscribe: {error}")),
    }
}

enum Gap {
    Received,
    None,
    /// The channel has no history.
    NoHistory,
}

/// Whether a client gets a gap when it subscribes to a channel.
async fn gap_of(
    mut client: Client,
    key: &AppKey,
    channel: &ChannelName,
) -> Result<Gap, ClientError> {
    let socket_id = parsed_data(&client.first["data"])["socket_id"].clone();
    let socket_id: SocketId = serde_json::from_value(socket_id)?;
    let member = channel.is_presence().then(|| json!({ "user_id": "doctor" }).to_string());
    let auth = key.sign_channel(socket_id, channel.as_str(), member.as_deref());
    let data = json!({ "channel": channel.as_str(), "auth": auth, "channel_data": member });
    client.send(&json!({ "event": "pusher:subscribe", "data": data })).await?;
    let succeeded = client.receive_soon().await?;
    if parsed_data(&succeeded["data"])["epoch"] == Value::Null {
        return Ok(Gap::NoHistory);
    }
    let Ok(message) = timeout(SLOW, client.receive()).await else { return Ok(Gap::None) };
    Ok(if message?["event"] == "clarim:gap" { Gap::Received } else { Gap::None })
}

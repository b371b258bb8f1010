//! A client of one node.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

use super::node::key;

/// Timeout for a message.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    id: String,
}

impl Client {
    pub(crate) async fn connect(port: u16) -> Result<Self> {
        let url = format!("ws://127.0.0.1:{port}/app/key?protocol=7");
        let (ws, _) = ClientBuilder::new().uri(&url)?.connect().await?;
        let mut client = Self { ws, id: String::new() };
        let greeting = client.receive().await?;
        let data: Value = serde_json::from_str(
            greeting["data"].as_str().context("invalid connection_established")?,
        )?;
        client.id = data["socket_id"].as_str().context("no socket ID")?.to_owned();
        Ok(client)
    }

    /// Subscribes, as this member on a presence channel, and returns the members.
    pub(crate) async fn subscribe(
        &mut self,
        channel: &str,
        member: Option<usize>,
    ) -> Result<BTreeSet<String>> {
        let member = member.map(|n| json!({ "user_id": format!("u{n}") }).to_string());
        let auth = key().sign_channel(self.id.parse()?, channel, member.as_deref());
        let data = json!({ "channel": channel, "auth": auth, "channel_data": member });
        let message = json!({ "event": "pusher:subscribe", "data": data }).to_string();
        self.ws.send(Message::text(message)).await?;
        let answer = self.receive().await?;
        if answer["event"] != "pusher_internal:subscription_succeeded" {
            bail!("the subscription failed: {answer}");
        }
        let data: Value =
            serde_json::from_str(answer["data"].as_str().context("message without data")?)?;
        let ids = data["presence"]["ids"].as_array().cloned().unwrap_or_default();
        Ok(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect())
    }

    /// Waits for the next event.
    pub(crate) async fn event(&mut self) -> Result<()> {
        self.next().await.map(|_| ())
    }

    /// The user of the next `member_added`.
    pub(crate) async fn member_added(&mut self) -> Result<String> {
        let message = self.receive().await?;
        let data: Value =
            serde_json::from_str(message["data"].as_str().context("message without data")?)?;
        Ok(data["user_id"].as_str().context("member event without a user")?.to_owned())
    }

    /// Number of events before the one whose data is `last`.
    pub(crate) async fn count(&mut self, last: &str) -> Result<usize> {
        let end = format!("\"data\":\"{last}\"");
        let mut count = 0;
        while !self.next().await?.contains(&end) {
            count += 1;
        }
        Ok(count)
    }

    async fn receive(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.next().await?)?)
    }

    async fn next(&mut self) -> Result<String> {
        let message = timeout(PATIENCE, self.ws.next())
            .await?
            .context("the node closed the connection")??;
        Ok(message.as_text().context("not a text frame")?.to_owned())
    }
}

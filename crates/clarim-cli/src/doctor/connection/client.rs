//! A WebSocket client of the Pusher protocol.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clarim_protocol::rest::encode_segment;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::header::{CONNECTION, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use super::exchange::{Response, request, send};
use super::target::Target;
use crate::doctor::finding::{Finding, TIMEOUT};

const UPGRADE_REMEDY: &str = "nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
     proxy_set_header Connection \"upgrade\"; see deploy/nginx/clarim.conf";

/// A connection after its first message.
pub(crate) struct Client {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    pub(crate) first: Value,
    /// Name of the server that has answered.
    pub(crate) server: String,
}

/// A connection that could not be opened, or has ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("{0}")]
    Refused(Finding),
    #[error("closed with {code}: {reason}")]
    Closed { code: u16, reason: String },
    #[error("the connection was cut")]
    Cut,
    #[error("nothing within {TIMEOUT:?}")]
    Timeout,
    #[error("unexpected message: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    WebSocket(#[from] tokio_websockets::Error),
}

impl From<Finding> for ClientError {
    fn from(finding: Finding) -> Self {
        Self::Refused(finding)
    }
}

impl Client {
    pub(crate) async fn connect(
        target: &Target,
        key: &str,
        origin: Option<&str>,
    ) -> Result<Self, Finding> {
        let nonce = BASE64.encode(fastrand::u128(..).to_be_bytes());
        let key = encode_segment(key);
        let path = format!("{}/app/{key}?protocol=7&client=clarim-doctor&version=1", target.path);
        let mut request = request("GET", &path)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, nonce);
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        let request = request.body(Full::default()).map_err(|error| {
            let what = format!("the request is not valid: {error}");
            Finding::problem("connection", what, "check the key and the origin")
        })?;
        let response = send(target, "connection", request).await?;
        let refusal = refused(&response);
        // Laravel Reverb and Clarim name themselves here; Server is a proxy's.
        let server = match response.header("x-powered-by") {
            "" => response.server().to_owned(),
            name => name.to_owned(),
        };
        let stream = response.upgraded.ok_or(refusal)?;
        let socket = ClientBuilder::new().take_over(stream);
        let mut client = Self { socket, first: Value::Null, server };
        client.first = client.receive_soon().await.map_err(|why| {
            let what = format!("nothing arrives after the handshake: {why}");
            let remedy = "a proxy buffers WebSockets: disable its buffering for /app/";
            Finding::problem("connection", what, remedy)
        })?;
        Ok(client)
    }

    pub(crate) async fn send(&mut self, message: &Value) -> Result<(), ClientError> {
        Ok(self.socket.send(Message::text(message.to_string())).await?)
    }

    /// Waits for the next message.
    pub(crate) async fn receive(&mut self) -> Result<Value, ClientError> {
        loop {
            let message = self.socket.next().await.ok_or(ClientError::Cut)??;
            if let Some(text) = message.as_text() {
                return Ok(serde_json::from_str(text)?);
            }
            if let Some((code, reason)) = message.as_close() {
                let code = u16::from(code);
                return Err(ClientError::Closed { code, reason: reason.to_owned() });
            }
        }
    }

    /// Waits for the next message, for a limited time.
    pub(crate) async fn receive_soon(&mut self) -> Result<Value, ClientError> {
        timeout(TIMEOUT, self.receive()).await.unwrap_or(Err(ClientError::Timeout))
    }
}

/// The data of a message, which usually is JSON in a text.
pub(crate) fn parsed_data(data: &Value) -> Value {
    match data {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| data.clone()),
        data => data.clone(),
    }
}

/// Why a handshake was not answered with 101.
fn refused(response: &Response) -> Finding {
    let status = response.status;
    let who = response.server();
    let problem = |what: String, remedy: &str| Finding::problem("connection", what, remedy);
    match status.as_u16() {
        426 => problem(
            "the request for a WebSocket did not reach the server: a proxy drops the headers \
             Upgrade and Connection"
                .to_owned(),
            UPGRADE_REMEDY,
        ),
        502..=504 => problem(
            format!("{who} answered {status}"),
            "the proxy's location for /app/ cannot reach the server: compare its port with SERVER_PORT",
        ),
        404 => problem(
            format!("{who} answered 404 for /app/"),
            "the proxy has no location for /app/, or the path is different (wsPath, REVERB_SERVER_PATH)",
        ),
        _ => problem(format!("{who} answered the handshake with {status}"), UPGRADE_REMEDY),
    }
}

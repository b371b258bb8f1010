//! The bodies of webhook requests: see <https://pusher.com/docs/channels/server_api/webhooks/>.

use std::sync::Arc;

use clarim_hub::ChannelEvent;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::WebhookEvent;
use crate::clock::now_ms;
use crate::config::Webhook;

/// Makes the webhook event of a channel event.
pub(super) fn event(event: ChannelEvent) -> WebhookEvent {
    let channel = event.channel().name.as_str().to_owned();
    let (name, mut body) = match event {
        ChannelEvent::Occupied(_) => ("channel_occupied", json!({})),
        ChannelEvent::Vacated(_) => ("channel_vacated", json!({})),
        ChannelEvent::MemberAdded(_, user) => ("member_added", json!({ "user_id": user })),
        ChannelEvent::MemberRemoved(_, user) => ("member_removed", json!({ "user_id": user })),
        ChannelEvent::CacheMiss(_) => ("cache_miss", json!({})),
        ChannelEvent::Count(_, count) => {
            ("subscription_count", json!({ "subscription_count": count }))
        }
        ChannelEvent::ClientEvent { event, data, socket_id, user, .. } => {
            let mut body = json!({ "event": event, "data": data, "socket_id": socket_id });
            if let Some(user) = user {
                body["user_id"] = user.as_str().into();
            }
            ("client_event", body)
        }
    };
    body["name"] = name.into();
    body["channel"] = channel.as_str().into();
    let body = to_raw_value(&body).expect("a map with string keys is JSON");
    WebhookEvent { name, channel, body }
}

/// Makes the body of a request.
pub(super) fn request<'a>(events: impl Iterator<Item = &'a WebhookEvent>) -> String {
    #[derive(Serialize)]
    struct Request<'a> {
        time_ms: u64,
        events: Vec<&'a RawValue>,
    }
    let events = events.map(|event| &*event.body).collect();
    let request = Request { time_ms: now_ms(), events };
    serde_json::to_string(&request).expect("numbers and raw JSON are JSON")
}

/// A request that was read from a store.
#[cfg_attr(not(feature = "durable-webhooks"), expect(dead_code, reason = "for webhooks on disk"))]
pub(super) struct StoredRequest {
    /// When it was made.
    pub(super) time_ms: u64,
    pub(super) events: Vec<Arc<WebhookEvent>>,
}

impl StoredRequest {
    /// Parses the body of a request.
    #[cfg_attr(
        not(feature = "durable-webhooks"),
        expect(dead_code, reason = "for webhooks on disk")
    )]
    pub(super) fn parse(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Request {
            time_ms: u64,
            events: Vec<Box<RawValue>>,
        }
        #[derive(Deserialize)]
        struct Event {
            name: String,
            channel: String,
        }
        let Request { time_ms, events } = serde_json::from_str(text).ok()?;
        let events = events.into_iter().map(|body| {
            let Event { name, channel } = serde_json::from_str(body.get()).ok()?;
            let name = Webhook::EVENTS.into_iter().find(|known| *known == name)?;
            Some(Arc::new(WebhookEvent { name, channel, body }))
        });
        Some(Self { time_ms, events: events.collect::<Option<_>>()? })
    }
}

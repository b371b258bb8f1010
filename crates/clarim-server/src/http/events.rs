//! Publishing: `POST /apps/{id}/events`, `batch_events`, `users/{user}/events`.

use std::time::{Duration, Instant};

use clarim_hub::app::App;
use clarim_hub::{AppIndex, ChannelKey, Node, Receipt};
use clarim_protocol::rest::{Batch, Event, Info, UserEvent};
use clarim_protocol::{ChannelName, SocketId, server};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::answer::{Answer, Refused, json, json_value};
use super::channels::attributes;
use super::signed::{Signed, parse};
use crate::inbox::Inboxes;
use crate::metrics::Counters;
use crate::traffic;

/// What publishing needs of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publisher<'a> {
    pub(crate) node: &'a Node<Inboxes>,
    pub(crate) now: Duration,
    pub(crate) counters: &'a Counters,
}

/// An event that has passed every check.
#[derive(Debug)]
pub(crate) struct Valid<'a> {
    name: &'a str,
    data: &'a RawValue,
    channels: Vec<ChannelKey>,
    except: Option<SocketId>,
    info: Option<Info>,
}

impl Publisher<'_> {
    /// One event, to one or many channels.
    pub(crate) async fn event(&self, request: &Signed) -> Result<Answer, Refused> {
        let event: Event<'_> = parse(&request.body)?;
        let event = self.publish(request.app, &event).await?;
        let Some(info) = event.info else {
            return Ok(json("{}"));
        };
        let channels: Map<String, Value> = event
            .channels
            .iter()
            .map(|key| (key.name.as_str().to_owned(), self.info(key, info)))
            .collect();
        Ok(json_value(&json!({ "channels": channels })))
    }

    /// Checks one event and hands it out.
    pub(crate) async fn publish<'a>(
        &self,
        app: AppIndex,
        event: &'a Event<'_>,
    ) -> Result<Valid<'a>, Refused> {
        let event = self.check(app, event)?;
        self.publish_all(std::slice::from_ref(&event)).await?;
        Ok(event)
    }

    /// Several events, each to its own channel. All are checked before the first goes out.
    pub(crate) async fn batch(&self, request: &Signed) -> Result<Answer, Refused> {
        let Batch { batch } = parse(&request.body)?;
        let max = self.app(request.app).limits.events_per_batch;
        if batch.len() > max {
            let sentence = format!("batch has {} events, the maximum is {max}.", batch.len());
            return Err(Refused::invalid(sentence));
        }
        let mut events = Vec::with_capacity(batch.len());
        for (n, event) in batch.iter().enumerate() {
            let named = |refused: Refused| {
                Refused::new(refused.status, format!("batch[{n}]: {}", refused.sentence))
            };
            events.push(self.check(request.app, event).map_err(named)?);
        }
        self.publish_all(&events).await?;
        if events.iter().all(|event| event.info.is_none()) {
            return Ok(json("{}"));
        }
        let infos: Vec<Value> = events
            .iter()
            .map(|event| match (event.info, event.channels.first()) {
                (Some(info), Some(key)) => self.info(key, info),
                _ => json!({}),
            })
            .collect();
        Ok(json_value(&json!({ "batch": infos })))
    }

    /// An event for the connections that signed in as a user.
    pub(crate) async fn user_event(&self, request: &Signed, user: &str) -> Result<Answer, Refused> {
        let event: UserEvent<'_> = parse(&request.body)?;
        let name = ChannelName::of_user(user).map_err(|e| Refused::invalid(e.to_string()))?;
        self.check_content(request.app, &event.name, event.data)?;
        let valid = Valid {
            name: &event.name,
            data: event.data,
            channels: vec![ChannelKey { app: request.app, name }],
            except: None,
            info: None,
        };
        self.publish_all(std::slice::from_ref(&valid)).await?;
        Ok(json("{}"))
    }

    fn app(&self, index: AppIndex) -> &App {
        self.node.apps().get(index)
    }

    fn check<'a>(&self, app: AppIndex, event: &'a Event<'_>) -> Result<Valid<'a>, Refused> {
        self.check_content(app, &event.name, event.data)?;
        let except = match event.socket_id.as_deref() {
            None | Some("") => None,
            Some(id) => Some(
                id.parse().map_err(|e| Refused::invalid(format!("socket_id is invalid: {e}.")))?,
            ),
        };
        Ok(Valid {
            name: &event.name,
            data: event.data,
            channels: self.check_channels(app, event)?,
            except,
            info: event.info.as_deref().map(Info::parse),
        })
    }

    fn check_content(&self, app: AppIndex, name: &str, data: &RawValue) -> Result<(), Refused> {
        let limits = &self.app(app).limits;
        if name.is_empty() {
            return Err(Refused::invalid("name is empty; an event needs a name."));
        }
        if name.len() > limits.event_name_bytes {
            let (bytes, max) = (name.len(), limits.event_name_bytes);
            return Err(Refused::invalid(format!("name has {bytes} bytes, the maximum is {max}.")));
        }
        if !data.get().starts_with('"') {
            return Err(Refused::invalid("data must be a string; encode objects as JSON text."));
        }
        let max = limits.event_data_bytes;
        // The text itself is never longer than its literal, so only long ones are looked at closely.
        if data.get().len() - 2 > max {
            let bytes =
                serde_json::from_str::<String>(data.get()).map_or(usize::MAX, |text| text.len());
            if bytes > max {
                return Err(Refused::too_large(format!(
                    "The data content of this event has {bytes} bytes and exceeds the allowed maximum ({max} bytes)."
                )));
            }
        }
        Ok(())
    }

    fn check_channels(&self, app: AppIndex, event: &Event<'_>) -> Result<Vec<ChannelKey>, Refused> {
        let limits = &self.app(app).limits;
        let named = match (&event.channels, &event.channel) {
            (Some(channels), _) if channels.is_empty() => {
                return Err(Refused::invalid("channels is empty; name at least one channel."));
            }
            (Some(channels), _) => channels.as_slice(),
            (None, Some(channel)) => std::slice::from_ref(channel),
            (None, None) => {
                return Err(Refused::invalid(
                    "Neither channels nor channel says where the event goes.",
                ));
            }
        };
        if named.len() > limits.channels_per_event {
            let (count, max) = (named.len(), limits.channels_per_event);
            return Err(Refused::invalid(format!(
                "channels has {count} names, the maximum is {max}."
            )));
        }
        let mut keys: Vec<ChannelKey> = Vec::with_capacity(named.len());
        for text in named {
            let name = ChannelName::parse(text, limits.channel_name_bytes).map_err(|error| {
                let shown: String = text.chars().take(64).collect();
                Refused::invalid(format!("channel {shown:?} is invalid: {error}."))
            })?;
            let key = ChannelKey { app, name };
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// Hands the events out. When this returns, every subscriber's outbox has got them.
    async fn publish_all(&self, events: &[Valid<'_>]) -> Result<(), Refused> {
        let begun = Instant::now();
        if !self.node.post().room().await {
            return Err(Refused::busy(
                "The server is over capacity; nothing was published. Try again.",
            ));
        }
        let (handed_out, all_handed_out) = oneshot::channel::<()>();
        let receipt = Receipt::new(handed_out);
        for event in events {
            for key in &event.channels {
                traffic::broadcasting(key.name.as_str(), event.name, event.data.get());
                let frame = server::event(event.name, &key.name, event.data);
                self.node.publish(key, &frame, event.except, Some(&receipt), self.now);
            }
        }
        drop(receipt);
        // The receipt is never sent: its end is the message.
        let _ = all_handed_out.await;
        let count = events.iter().map(|event| event.channels.len()).sum();
        self.counters.published.add(count, begun.elapsed());
        Ok(())
    }

    fn info(&self, key: &ChannelKey, info: Info) -> Value {
        attributes(key, &self.node.channel(key, self.now), info)
    }
}

//! Publishing: `POST /apps/{id}/events`, `batch_events`, `users/{user}/events`.

use std::time::{Duration, Instant};

use clarim_hub::app::App;
use clarim_hub::{AppIndex, ChannelKey, DeliveryAck, DeliveryAcks, Node};
use clarim_protocol::rest::{Batch, Event, Info, UserEvent};
use clarim_protocol::{ChannelName, SocketId, server};
use futures_util::future::join_all;
use hyper::HeaderMap;
use hyper::header::HeaderValue;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::answer::{Answer, Refused, json, json_value};
use super::channels::{Directory, attributes, partial};
use super::signed::{Signed, parse};
use crate::cluster::Cluster;
use crate::inbox::Inboxes;
use crate::metrics::Counters;
use crate::traces::{Publish as Traced, What};
use crate::traffic;

/// What publishing needs of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publisher<'a> {
    pub(crate) node: &'a Node<Inboxes>,
    pub(crate) now: Duration,
    pub(crate) counters: &'a Counters,
    pub(crate) cluster: Option<&'a Cluster>,
}

/// How far an event has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EgressPolicy {
    /// To all it is for.
    Whole,
    /// To the clients of this node alone: the bus has not taken it.
    Here,
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
        let event = self.check(request.app, &event)?;
        let reach = self.publish_all(std::slice::from_ref(&event), Some(&request.headers)).await?;
        let Some(info) = event.info else {
            return Ok(reach.told_in(json("{}")));
        };
        let directory = self.directory();
        // All at once, for a silent node would otherwise be waited for as often as there are channels.
        let seen = join_all(event.channels.iter().map(|key| directory.channel(key))).await;
        let is_partial = seen.iter().any(|seen| seen.is_partial);
        let named = event.channels.iter().zip(&seen);
        let channels: Map<String, Value> = named
            .map(|(key, seen)| (key.name.as_str().to_owned(), attributes(key, &seen.what, info)))
            .collect();
        let answer = json_value(&json!({ "channels": channels }));
        Ok(reach.told_in(partial(answer, is_partial)))
    }

    /// Checks one event and hands it out.
    pub(crate) async fn publish(
        &self,
        app: AppIndex,
        event: &Event<'_>,
    ) -> Result<EgressPolicy, Refused> {
        let event = self.check(app, event)?;
        self.publish_all(std::slice::from_ref(&event), None).await
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
        let reach = self.publish_all(&events, Some(&request.headers)).await?;
        if events.iter().all(|event| event.info.is_none()) {
            return Ok(reach.told_in(json("{}")));
        }
        let directory = self.directory();
        let asked = events.iter().map(async |event| match (event.info, event.channels.first()) {
            (Some(info), Some(key)) => {
                let seen = directory.channel(key).await;
                (attributes(key, &seen.what, info), seen.is_partial)
            }
            _ => (json!({}), false),
        });
        let (infos, partial_ones): (Vec<Value>, Vec<bool>) =
            join_all(asked).await.into_iter().unzip();
        let is_partial = partial_ones.contains(&true);
        Ok(reach.told_in(partial(json_value(&json!({ "batch": infos })), is_partial)))
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
        let reach = self.publish_all(std::slice::from_ref(&valid), Some(&request.headers)).await?;
        Ok(reach.told_in(json("{}")))
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

    /// Hands the events out. When this returns, every subscriber's outbox has got them, and the bus. The
    /// headers are those of the request, if it is one.
    async fn publish_all(
        &self,
        events: &[Valid<'_>],
        headers: Option<&HeaderMap>,
    ) -> Result<EgressPolicy, Refused> {
        let begun = Instant::now();
        let away = self.cluster.filter(|cluster| cluster.is_strict).and_then(Cluster::away_for);
        if let Some(away) = away {
            let seconds = away.as_secs();
            return Err(Refused::busy(format!(
                "The bus to the other nodes has been lost for {seconds} s; nothing was published. Try again."
            )));
        }
        if !self.node.post().room().await {
            return Err(Refused::busy(
                "The server is over capacity; nothing was published. Try again.",
            ));
        }
        let (handed_out, all_handed_out) = oneshot::channel::<bool>();
        let receipt = DeliveryAck::new(move |whole| {
            // Who has published may have gone.
            let _ = handed_out.send(whole);
        });
        let count = events.iter().map(|event| event.channels.len()).sum();
        let traced = self.traced(events, count, headers);
        let has_bus = self.cluster.is_some();
        let of_both = traced.as_ref().map(|traced| traced.receipts(&receipt, has_bus));
        let receipts = match &of_both {
            Some([here, bus]) => DeliveryAcks { here: Some(here), bus: Some(bus) },
            None => DeliveryAcks::of(&receipt),
        };
        for event in events {
            for key in &event.channels {
                self.show(key, event);
                let frame = server::event(event.name, &key.name, event.data);
                self.node.publish(key, &frame, event.except, receipts, self.now);
            }
        }
        drop((receipt, of_both));
        let is_whole = all_handed_out.await.unwrap_or(true);
        if let Some(traced) = traced {
            traced.end(is_whole);
        }
        self.counters.published.add(count, begun.elapsed());
        match self.cluster {
            Some(cluster) if !is_whole && cluster.is_strict => Err(Refused::busy(
                "The bus was lost while this was published; clients of other nodes may not have got it.",
            )),
            _ => Ok(if is_whole { EgressPolicy::Whole } else { EgressPolicy::Here }),
        }
    }

    /// To whoever looks on.
    fn show(&self, key: &ChannelKey, event: &Valid<'_>) {
        let (app, data) = (self.app(key.app), event.data.get());
        traffic::broadcasting(key.name.as_str(), event.name, data);
        let post = self.node.post();
        if post.tap.is_on() {
            post.tap.published(&app.id, key.name.as_str(), event.name, data);
        }
        if let Some(audience) = &post.audience {
            audience.published(app, &key.name, event.name, data);
        }
    }

    fn traced(
        &self,
        events: &[Valid<'_>],
        count: usize,
        headers: Option<&HeaderMap>,
    ) -> Option<Traced<'_>> {
        let traces = self.node.post().traces.as_ref()?;
        let first = events.first()?.channels.first()?;
        let (app, channel) = (&self.app(first.app).id, first.name.as_str());
        traces.publish(headers, &What { app, channel, count })
    }

    fn directory(&self) -> Directory<'_> {
        Directory { node: self.node, now: self.now, cluster: self.cluster }
    }
}

impl EgressPolicy {
    /// The answer, with a warning if the event has not gone all the way.
    fn told_in(self, mut answer: Answer) -> Answer {
        if self == Self::Here {
            let warning = "local only: the bus to the other nodes is lost";
            answer.headers_mut().insert("clarim-warning", HeaderValue::from_static(warning));
        }
        answer
    }
}

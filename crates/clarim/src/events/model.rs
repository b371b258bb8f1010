//! Events about changes of a model.

use std::fmt;

use serde::ser::{Error as _, SerializeStruct as _};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::event::Broadcast;
use super::name::EventName;
use crate::channel::{Channel, InvalidChannel};

/// A model whose changes are broadcast to the pages that show it. [The derive](macro@crate::BroadcastModel)
/// implements it.
///
/// Each change is an event on the private channel of the model: `App.Models.Post.7` for the post 7. In the
/// page, `useEchoModel` of `@laravel/echo-vue` and `@laravel/echo-react` listens to it:
/// `useEchoModel('App.Models.Post', 7, ['PostUpdated'], ({ model }) => …)`.
///
/// ```
/// use clarim::{BroadcastModel, Clarim};
/// use serde::Serialize;
///
/// #[derive(Serialize, BroadcastModel)]
/// struct Post {
///     id: i64,
///     title: String,
/// }
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # let (clarim, fake) = Clarim::fake();
/// let post = Post { id: 7, title: "Bugles".to_owned() };
/// clarim.broadcast(post.updated()).await?;
/// # let sent = &fake.sent()[0];
/// # assert_eq!((sent.channels[0].as_str(), sent.name.as_str()), ("private-App.Models.Post.7", "PostUpdated"));
/// # Ok::<(), clarim::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Authorize the subscribers like those of any private channel:
/// `channels.private("App.Models.Post.{id}", …)`.
pub trait BroadcastModel: Serialize {
    /// The model's name in the page, such as `App.Models.Post`.
    const NAME: &'static str;

    /// The key that identifies the model, the last part of its channel.
    fn key(&self) -> impl fmt::Display;

    /// The event that this model was created: `PostCreated`.
    fn created(&self) -> ModelEvent {
        ModelEvent::new(self, "Created")
    }

    /// The event that this model was changed: `PostUpdated`.
    fn updated(&self) -> ModelEvent {
        ModelEvent::new(self, "Updated")
    }

    /// The event that this model was moved to the trash: `PostTrashed`.
    fn trashed(&self) -> ModelEvent {
        ModelEvent::new(self, "Trashed")
    }

    /// The event that this model was taken out of the trash: `PostRestored`.
    fn restored(&self) -> ModelEvent {
        ModelEvent::new(self, "Restored")
    }

    /// The event that this model was deleted: `PostDeleted`.
    fn deleted(&self) -> ModelEvent {
        ModelEvent::new(self, "Deleted")
    }
}

/// A change of a [`BroadcastModel`]. Its payload is `{ "model": … }`, with the model as it was when the event
/// was made.
#[derive(Debug, Clone)]
pub struct ModelEvent {
    channel: String,
    name: String,
    /// The model, or the error of its serialization.
    model: Result<Value, String>,
}

impl ModelEvent {
    fn new<M: BroadcastModel + ?Sized>(model: &M, change: &str) -> Self {
        let class = M::NAME.rsplit('.').next().unwrap_or(M::NAME);
        Self {
            channel: format!("{}.{}", M::NAME, model.key()),
            name: format!("{class}{change}"),
            model: serde_json::to_value(model).map_err(|error| error.to_string()),
        }
    }
}

impl Serialize for ModelEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let model = self.model.as_ref().map_err(S::Error::custom)?;
        let mut payload = serializer.serialize_struct("ModelEvent", 1)?;
        payload.serialize_field("model", model)?;
        payload.end()
    }
}

impl Broadcast for ModelEvent {
    fn broadcast_on(&self) -> Result<Vec<Channel>, InvalidChannel> {
        Ok(vec![Channel::private(&self.channel)?])
    }

    fn broadcast_as(&self) -> EventName {
        EventName::from(self.name.clone())
    }
}

//! Sending of notifications.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use clarim_queue::BoxFuture;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::message::Notification;
use crate::broadcasting::broadcaster::Broadcaster;
use crate::broadcasting::outgoing::{Options, Outgoing};
use crate::error::{Error, NotificationFailure};
use crate::events::delivery::Delivery;
use crate::jobs::job::Job;
use crate::jobs::target::Target;
use crate::notices::channel::Via;
use crate::notices::notifiable::{Notifiable, Recipient};
use crate::publisher::publication::Notice;

/// A notification that is sent when it is awaited.
#[must_use = "nobody is notified before this is awaited"]
pub struct PendingNotification {
    broadcaster: Arc<Broadcaster>,
    name: String,
    notification: Arc<dyn Any + Send + Sync>,
    /// Prepared at once, so that the future does not borrow the users.
    prepared: Vec<Prepared>,
}

impl PendingNotification {
    pub(crate) fn new<'a, N, T>(
        broadcaster: Arc<Broadcaster>,
        to: impl IntoIterator<Item = &'a N>,
        notification: T,
    ) -> Self
    where
        N: Notifiable + ?Sized + 'a,
        T: Notification<N>,
    {
        let prepared = to.into_iter().map(|one| Prepared::new(one, &notification)).collect();
        let name = notification.notification_type().into_owned();
        Self { broadcaster, name, notification: Arc::new(notification), prepared }
    }

    /// Queues the notification in a transaction of the application: it is sent exactly if the transaction
    /// commits. Await the result before the commit. All of it is queued, as with a
    /// [delay](Notification::delay): the worker writes the row too. See
    /// [broadcasts in a transaction](crate::queue#broadcasts-in-a-transaction).
    ///
    /// # Errors
    /// Returns an error if the queue is not in the database of the transaction, or
    /// [`Error::Notification`] if something can't be queued.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub fn in_tx<'t>(
        mut self,
        transaction: impl Into<clarim_queue::SqlTransaction<'t>>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        let transaction = transaction.into();
        self.prepared.iter_mut().for_each(Prepared::queue_all);
        Box::pin(async move {
            let broadcaster = self.broadcaster.clone();
            let mut target = broadcaster.transaction(transaction)?;
            self.send(&mut target).await
        })
    }

    async fn send(self, target: &mut Target<'_>) -> Result<(), Error> {
        let Self { broadcaster, name, notification, prepared } = self;
        let mut failures = Vec::new();
        for one in prepared {
            if let Some(fake) = &broadcaster.fake {
                fake.record_notified(one.to.clone(), notification.clone());
            }
            one.send(&broadcaster, target, &mut failures).await;
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(Error::Notification { notification: name, failures })
        }
    }
}

impl IntoFuture for PendingNotification {
    type Output = Result<(), Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let broadcaster = self.broadcaster.clone();
            self.send(&mut broadcaster.queue()).await
        })
    }
}

impl fmt::Debug for PendingNotification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to: Vec<String> = self.prepared.iter().map(|one| one.to.to_string()).collect();
        f.debug_struct("PendingNotification")
            .field("notification", &self.name)
            .field("to", &to)
            .finish_non_exhaustive()
    }
}

/// A notification for one user, ready to be sent.
struct Prepared {
    to: Recipient,
    steps: Vec<Step>,
    /// With a delay, all steps are queued.
    delivery: Delivery,
}

struct Step {
    /// The channel's name, for errors.
    via: String,
    action: Result<Action, Error>,
}

enum Action {
    Notice(Notice),
    Broadcast(Box<Outgoing>),
}

impl Prepared {
    fn new<N, T>(to: &N, notification: &T) -> Self
    where
        N: Notifiable + ?Sized,
        T: Notification<N>,
    {
        let recipient = Recipient::of(to);
        let mut delivery = notification.delivery();
        if let Some(delay) = notification.delay(to) {
            delivery = delivery.delay(delay);
        }
        let mut channels = notification.via(to);
        // The row must be there when a page gets the broadcast.
        channels.sort_by_key(|via| *via != Via::Database);
        let job = NotificationJob { id: Uuid::now_v7(), to, recipient: &recipient, notification };
        let mut steps: Vec<Step> = Vec::with_capacity(channels.len());
        for via in channels {
            let action = match &via {
                Via::Broadcast => job.broadcast(delivery.clone()),
                Via::Database => job.notice(&via, notification.to_array(to)),
                Via::Channel(name) => job.notice(&via, notification.to_channel(name, to)),
            };
            steps.push(Step { via: via.name().to_owned(), action });
        }
        let is_delayed = delivery.delay.is_some();
        let mut prepared = Self { to: recipient, steps, delivery };
        if is_delayed {
            prepared.queue_all();
        }
        prepared
    }

    /// Queues everything, not the broadcast alone.
    fn queue_all(&mut self) {
        self.delivery.now = false;
        self.delivery.delay.get_or_insert_default();
        for step in &mut self.steps {
            if let Ok(Action::Broadcast(outgoing)) = &mut step.action {
                outgoing.delivery = self.delivery.clone();
            }
        }
        join_row_and_broadcast(&mut self.steps);
    }

    async fn send(
        self,
        broadcaster: &Broadcaster,
        target: &mut Target<'_>,
        failures: &mut Vec<NotificationFailure>,
    ) {
        for Step { via, action } in self.steps {
            let sent = match action {
                Ok(Action::Broadcast(outgoing)) => {
                    outgoing.send(broadcaster, target, || None).await
                }
                Ok(Action::Notice(_)) if broadcaster.fake.is_some() => Ok(()),
                Ok(Action::Notice(notice)) => {
                    let mut job = Job::of_notice(notice, self.delivery.clone());
                    match self.delivery.delay {
                        None => job.attempt(&*broadcaster.publisher).await,
                        Some(_) => target.push(job).await,
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                let source = Box::new(error);
                failures.push(NotificationFailure { to: self.to.to_string(), via, source });
            }
        }
    }
}

/// A notification and one of its users.
struct NotificationJob<'a, N: ?Sized, T> {
    id: Uuid,
    to: &'a N,
    recipient: &'a Recipient,
    notification: &'a T,
}

impl<N: Notifiable + ?Sized, T: Notification<N>> NotificationJob<'_, N, T> {
    fn notice(&self, via: &Via, data: serde_json::Result<Value>) -> Result<Action, Error> {
        let notification_type = self.notification.notification_type().into_owned();
        let Recipient { notifiable_type, notifiable_id } = self.recipient.clone();
        Ok(Action::Notice(Notice {
            id: self.id,
            via: via.name().to_owned(),
            address: self.to.address_for(via.name()),
            data: data.map_err(|source| not_serializable(&notification_type, source))?,
            notification_type,
            notifiable_type,
            notifiable_id,
        }))
    }

    fn broadcast(&self, delivery: Delivery) -> Result<Action, Error> {
        let name = self.notification.notification_type();
        let data = self.notification.to_broadcast(self.to);
        let data = data.and_then(|data| with_identity(data, self.id, &name));
        Ok(Action::Broadcast(Box::new(Outgoing {
            channels: self.notification.broadcast_on(self.to),
            name: self.notification.broadcast_as(),
            data: Ok(data.map_err(|source| not_serializable(&name, source))?),
            delivery,
            options: Options::default(),
            notice: None,
        })))
    }
}

/// Joins the row and the broadcast into one job. As two jobs, workers could run them in either order.
fn join_row_and_broadcast(steps: &mut Vec<Step>) {
    let row = match steps.first() {
        Some(Step { via, action: Ok(Action::Notice(row)) }) if via == Via::Database.name() => {
            row.clone()
        }
        _ => return,
    };
    for step in steps.iter_mut() {
        if let Ok(Action::Broadcast(outgoing)) = &mut step.action
            && outgoing.channels.as_ref().is_ok_and(|channels| !channels.is_empty())
        {
            outgoing.notice = Some(row);
            step.via = "database and broadcast".to_owned();
            steps.remove(0);
            return;
        }
    }
}

/// Adds id and type to the payload, where Echo's `notification(…)` expects them.
fn with_identity(data: Value, id: Uuid, notification_type: &str) -> serde_json::Result<Value> {
    let mut object = match data {
        Value::Object(object) => object,
        Value::Null => Map::new(),
        _ => {
            let problem = "the broadcast of a notification must be an object";
            return Err(serde::ser::Error::custom(problem));
        }
    };
    object.insert("id".to_owned(), id.to_string().into());
    object.insert("type".to_owned(), notification_type.into());
    Ok(Value::Object(object))
}

fn not_serializable(notification_type: &str, source: serde_json::Error) -> Error {
    Error::Payload { event: notification_type.to_owned(), source }
}

//! From a notification to what is done for each user.

use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::notifiable::Recipient;
use super::{Notice, Notifiable, Notification, Notified, Via};
use crate::handle::Inner;
use crate::pending::{Options, Outgoing};
use crate::publisher::BoxFuture;
use crate::queue::Job;
use crate::{Clarim, Delivery, Error, NotificationFailure};

impl Clarim {
    /// Tells a user something, when the result is awaited; see [`notification`](crate::notification).
    ///
    /// ```
    /// use clarim::Clarim;
    /// use clarim::notification::{Notifiable, Notification};
    /// use serde::Serialize;
    ///
    /// struct User(u64);
    ///
    /// impl Notifiable for User {
    ///     fn notifiable_id(&self) -> String {
    ///         self.0.to_string()
    ///     }
    /// }
    ///
    /// #[derive(Serialize)]
    /// struct Welcome {
    ///     name: String,
    /// }
    ///
    /// impl Notification<User> for Welcome {}
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let (clarim, fake) = Clarim::fake();
    /// clarim.notify(&User(7), Welcome { name: "Ana".to_owned() }).await?;
    /// fake.assert_notified::<Welcome>(&User(7), |told| told.name == "Ana");
    /// # Ok::<(), clarim::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Notification`], with what failed. What is not in its list went well.
    pub fn notify<N, T>(&self, to: &N, notification: T) -> BoxFuture<'static, Result<(), Error>>
    where
        N: Notifiable + ?Sized,
        T: Notification<N>,
    {
        self.notify_all([to], notification)
    }

    /// Tells several users the same; each gets an id of its own.
    ///
    /// ```
    /// # use clarim::Clarim;
    /// # use clarim::notification::{Notifiable, Notification};
    /// # struct User(u64);
    /// # impl Notifiable for User {
    /// #     fn notifiable_id(&self) -> String { self.0.to_string() }
    /// # }
    /// # #[derive(serde::Serialize)]
    /// # struct Maintenance { at: String }
    /// # impl Notification<User> for Maintenance {}
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let (clarim, fake) = Clarim::fake();
    /// let users = vec![User(7), User(8)];
    /// clarim.notify_all(&users, Maintenance { at: "22:00".to_owned() }).await?;
    /// # fake.assert_notified::<Maintenance>(&User(8), |_| true);
    /// # Ok::<(), clarim::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Notification`], with what failed, and for whom. What is not in its list went well.
    pub fn notify_all<'a, N, T>(
        &self,
        to: impl IntoIterator<Item = &'a N>,
        notification: T,
    ) -> BoxFuture<'static, Result<(), Error>>
    where
        N: Notifiable + ?Sized + 'a,
        T: Notification<N>,
    {
        let clarim = self.clone();
        // Everything is decided here, so that nothing needs the users later.
        let plans: Vec<Plan> = to.into_iter().map(|one| Plan::new(one, &notification)).collect();
        let name = notification.notification_type().into_owned();
        let notification = Arc::new(notification);
        Box::pin(async move {
            let mut failures = Vec::new();
            for plan in plans {
                if let Some(fake) = &clarim.inner.fake {
                    fake.record_notified(Notified {
                        to: plan.to.clone(),
                        notification: notification.clone(),
                    });
                }
                plan.carry_out(&clarim.inner, &mut failures).await;
            }
            let notification = name;
            if failures.is_empty() {
                Ok(())
            } else {
                Err(Error::Notification { notification, failures })
            }
        })
    }
}

/// What is to be done for one user.
struct Plan {
    to: Recipient,
    steps: Vec<Step>,
    /// With a delay in it, all steps go through the queue.
    delivery: Delivery,
}

struct Step {
    /// For people.
    via: String,
    what: Result<What, Error>,
}

enum What {
    Notice(Notice),
    Broadcast(Box<Outgoing>),
}

impl Plan {
    fn new<N, T>(to: &N, notification: &T) -> Self
    where
        N: Notifiable + ?Sized,
        T: Notification<N>,
    {
        let recipient = Recipient::of(to);
        let mut delivery = notification.delivery();
        if let Some(delay) = notification.delay(to) {
            delivery = Delivery { now: false, ..delivery.delay(delay) };
        }
        let mut ways = notification.via(to);
        // Whoever hears the broadcast finds the row.
        ways.sort_by_key(|via| *via != Via::Database);
        let letter = Letter { id: Uuid::now_v7(), to, recipient: &recipient, notification };
        let mut steps: Vec<Step> = Vec::with_capacity(ways.len());
        for via in ways {
            let what = match &via {
                Via::Broadcast => letter.broadcast(delivery.clone()),
                Via::Database => letter.notice(&via, notification.to_array(to)),
                Via::Channel(name) => letter.notice(&via, notification.to_channel(name, to)),
            };
            steps.push(Step { via: via.name().to_owned(), what });
        }
        if delivery.delay.is_some() {
            join(&mut steps);
        }
        Self { to: recipient, steps, delivery }
    }

    async fn carry_out(self, on: &Inner, failures: &mut Vec<NotificationFailure>) {
        for Step { via, what } in self.steps {
            let done = match what {
                Ok(What::Broadcast(outgoing)) => outgoing.send(on, || None).await,
                // The fake sends nothing.
                Ok(What::Notice(_)) if on.fake.is_some() => Ok(()),
                Ok(What::Notice(notice)) => {
                    let mut job = Job::of_notice(notice, self.delivery.clone());
                    match self.delivery.delay {
                        None => job.attempt(&*on.publisher).await,
                        Some(_) => on.queue.push(job).await,
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                failures.push(NotificationFailure { to: self.to.to_string(), via, error });
            }
        }
    }
}

/// A notification and one user.
struct Letter<'a, N: ?Sized, T> {
    id: Uuid,
    to: &'a N,
    recipient: &'a Recipient,
    notification: &'a T,
}

impl<N: Notifiable + ?Sized, T: Notification<N>> Letter<'_, N, T> {
    fn notice(&self, via: &Via, data: serde_json::Result<Value>) -> Result<What, Error> {
        let notification_type = self.notification.notification_type().into_owned();
        let Recipient { notifiable_type, notifiable_id } = self.recipient.clone();
        Ok(What::Notice(Notice {
            id: self.id,
            via: via.name().to_owned(),
            address: self.to.address_for(via.name()),
            data: data.map_err(|cause| unserializable(&notification_type, cause))?,
            notification_type,
            notifiable_type,
            notifiable_id,
        }))
    }

    fn broadcast(&self, delivery: Delivery) -> Result<What, Error> {
        let name = self.notification.notification_type();
        let data = self.notification.to_broadcast(self.to);
        let data = data.and_then(|data| with_identity(data, self.id, &name));
        Ok(What::Broadcast(Box::new(Outgoing {
            channels: self.notification.broadcast_on(self.to),
            name: self.notification.broadcast_as(),
            data: Ok(data.map_err(|cause| unserializable(&name, cause))?),
            delivery,
            options: Options::default(),
            notice: None,
        })))
    }
}

/// In a queue the row and the broadcast are one job: on their own, two workers could run them in either
/// order.
fn join(steps: &mut Vec<Step>) {
    let row = match steps.first() {
        Some(Step { via, what: Ok(What::Notice(row)) }) if via == Via::Database.name() => {
            row.clone()
        }
        _ => return,
    };
    for step in steps.iter_mut() {
        if let Ok(What::Broadcast(outgoing)) = &mut step.what
            && !outgoing.channels.is_empty()
        {
            outgoing.notice = Some(row);
            step.via = "database and broadcast".to_owned();
            steps.remove(0);
            return;
        }
    }
}

/// The payload as Echo's `notification(…)` gets it.
fn with_identity(data: Value, id: Uuid, notification_type: &str) -> serde_json::Result<Value> {
    let mut object = match data {
        Value::Object(object) => object,
        Value::Null => Map::new(),
        _ => {
            let what = "what is broadcast of a notification is an object, beside its id and type";
            return Err(serde::ser::Error::custom(what));
        }
    };
    object.insert("id".to_owned(), id.to_string().into());
    object.insert("type".to_owned(), notification_type.into());
    Ok(Value::Object(object))
}

fn unserializable(notification_type: &str, cause: serde_json::Error) -> Error {
    Error::Payload { event: notification_type.to_owned(), cause }
}

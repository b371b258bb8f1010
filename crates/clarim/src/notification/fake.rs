//! What tests ask about notifications.

use std::any::Any;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::Notifiable;
use super::notifiable::Recipient;
use crate::Fake;
use crate::event::type_name;

/// A user, and what it was told.
pub(crate) struct Notified {
    pub(crate) to: Recipient,
    pub(crate) notification: Arc<dyn Any + Send + Sync>,
}

/// Notifications. Their broadcasts are among what was [sent](Fake::sent) too; no row is written, and no
/// channel of the application's own is asked.
impl Fake {
    pub(crate) fn record_notified(&self, notified: Notified) {
        self.lock_notified().push(notified);
    }

    pub(crate) fn forget_notified(&self) {
        self.lock_notified().clear();
    }

    /// This user got a notification of this type, for which this is true.
    ///
    /// ```
    /// # use clarim::Clarim;
    /// # use clarim::notification::{Notifiable, Notification};
    /// # struct User(u64);
    /// # impl Notifiable for User {
    /// #     fn notifiable_id(&self) -> String { self.0.to_string() }
    /// # }
    /// # #[derive(serde::Serialize)]
    /// # struct InvoicePaid { amount: u64 }
    /// # impl Notification<User> for InvoicePaid {}
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let (clarim, fake) = Clarim::fake();
    /// clarim.notify(&User(7), InvoicePaid { amount: 4200 }).await?;
    ///
    /// fake.assert_notified::<InvoicePaid>(&User(7), |told| told.amount == 4200);
    /// fake.assert_not_notified::<InvoicePaid>(&User(8), |_| true);
    /// # Ok::<(), clarim::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// If not; with who got how many of this type.
    #[track_caller]
    pub fn assert_notified<T: 'static>(
        &self,
        to: &(impl Notifiable + ?Sized),
        is_it: impl Fn(&T) -> bool,
    ) {
        let (to, (found, all)) = (Recipient::of(to), self.notified(to, is_it));
        assert!(found > 0, "{to} got no such {}; {all}", type_name::<T>());
    }

    /// This user got no notification of this type, for which this is true.
    ///
    /// # Panics
    /// If it did; with who got how many of this type.
    #[track_caller]
    pub fn assert_not_notified<T: 'static>(
        &self,
        to: &(impl Notifiable + ?Sized),
        is_it: impl Fn(&T) -> bool,
    ) {
        let (to, (found, all)) = (Recipient::of(to), self.notified(to, is_it));
        assert!(found == 0, "{to} got {found} such {}; {all}", type_name::<T>());
    }

    /// Nobody got anything.
    ///
    /// # Panics
    /// If somebody did; with who it was.
    #[track_caller]
    pub fn assert_nothing_notified(&self) {
        let got: Vec<String> = self.lock_notified().iter().map(|one| one.to.to_string()).collect();
        assert!(got.is_empty(), "these were notified: {}", got.join(", "));
    }

    /// How many fit, and who got one of this type at all, for people.
    fn notified<T: 'static>(
        &self,
        to: &(impl Notifiable + ?Sized),
        is_it: impl Fn(&T) -> bool,
    ) -> (usize, String) {
        let to = Recipient::of(to);
        let (mut found, mut who) = (0, Vec::new());
        for one in self.lock_notified().iter() {
            let Some(notification) = one.notification.downcast_ref() else { continue };
            found += usize::from(one.to == to && is_it(notification));
            who.push(one.to.to_string());
        }
        let who = if who.is_empty() { "nobody".to_owned() } else { who.join(", ") };
        (found, format!("got one of this type: {who}"))
    }

    /// What is remembered is whole at any time, even when an assertion has panicked over it.
    fn lock_notified(&self) -> MutexGuard<'_, Vec<Notified>> {
        self.notified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

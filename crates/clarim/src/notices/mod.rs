//! Users that can be notified, and the channels through which notices reach them.

pub(crate) mod channel;
pub(crate) mod notifiable;
pub(crate) mod router;

//! Loads whose clients disturb the server: they do not read, come and go, or come back at once.

pub(crate) mod recovery;
pub(crate) mod slow;
pub(crate) mod tail;

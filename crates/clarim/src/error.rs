//! What can go wrong with a broadcast.

use std::time::Duration;

use clarim_protocol::InvalidChannelName;

/// Why something was not broadcast.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is missing, or means nothing.
    #[error("{name}: {what}")]
    Setting {
        /// Its name, as it was typed.
        name: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A channel's name is not one.
    #[error("channel {channel:?}: {cause}")]
    Channel {
        /// The name.
        channel: String,
        /// What is wrong with it.
        cause: InvalidChannelName,
    },
    /// The event's payload could not be serialized.
    #[error("the payload of {event} cannot be serialized: {cause}")]
    Payload {
        /// The event's name.
        event: String,
        /// Serde's complaint.
        cause: serde_json::Error,
    },
    /// The data of the event is over the limit. Nothing was sent.
    #[error("the data of {event} has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// The event's name.
        event: String,
        /// Its size as JSON; for an encrypted channel, encrypted.
        bytes: usize,
        /// The limit of the settings.
        limit: usize,
    },
    /// An encrypted channel, and no master key in the settings.
    #[error(
        "{channel} is encrypted, and there is no master key: set PUSHER_ENCRYPTION_MASTER_KEY_BASE64 to 32 random bytes in base64 (openssl rand -base64 32)"
    )]
    NoEncryptionKey {
        /// The channel.
        channel: String,
    },
    /// The operating system gave no random bytes.
    #[error("cannot encrypt: {0}")]
    Encryption(String),
    /// The server could not be reached, or broke off.
    #[error("cannot publish to {host}:{port}: {cause}")]
    Unreachable {
        /// The server's host.
        host: String,
        /// And its port.
        port: u16,
        /// What the operating system says.
        cause: String,
    },
    /// The server did not answer in time.
    #[error("cannot publish to {host}:{port}: no answer within {after:?}")]
    TimedOut {
        /// The server's host.
        host: String,
        /// And its port.
        port: u16,
        /// The timeout.
        after: Duration,
    },
    /// The server's answer was not 200.
    #[error("{host}:{port} answered {status}: {answer}")]
    Refused {
        /// The server's host.
        host: String,
        /// And its port.
        port: u16,
        /// The status.
        status: u16,
        /// The body, cut when long.
        answer: String,
    },
    /// The server in this process could not be started, or did not take the event.
    #[error("the embedded server: {cause}")]
    Embedded {
        /// What it says.
        cause: String,
        /// Whether trying again may help.
        temporary: bool,
    },
    /// The bus of the cluster did not take the event.
    #[error("the bus ({bus}): {cause}")]
    Bus {
        /// What kind of bus it is.
        bus: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// The queue did not take the job.
    #[error("queue {queue:?}: {cause}")]
    Queue {
        /// The queue's name.
        queue: String,
        /// What it says.
        cause: String,
        /// Whether trying again may help.
        temporary: bool,
    },
    /// The store in which a queue keeps its jobs did not do what it was asked for.
    #[error("{store}: {cause}")]
    Store {
        /// `sqlite`, `postgres`, `redis`.
        store: &'static str,
        /// What it says.
        cause: String,
    },
    /// The channels of the application contradict each other, or can't be signed for.
    #[error("channels: {}", problems.join("; "))]
    Authorization {
        /// Everything that is wrong.
        problems: Vec<String>,
    },
    /// The tasks of the schedule can't be meant so.
    #[error("schedule: {}", problems.join("; "))]
    Schedule {
        /// Everything that is wrong.
        problems: Vec<String>,
    },
    /// A notification did not go through everything it was to go through. What isn't named here has it.
    #[error("{notification}: {}", list(failures))]
    Notification {
        /// The notification's type.
        notification: String,
        /// What failed, for whom.
        failures: Vec<NotificationFailure>,
    },
    /// A channel of the application's own could not deliver a notification.
    #[error("{via}: {cause}")]
    Undelivered {
        /// The channel's name.
        via: String,
        /// What it says.
        cause: String,
        /// Whether trying again may help.
        temporary: bool,
    },
    /// The database of notifications could not be asked.
    #[error("the database: {cause}")]
    Database {
        /// What it says.
        cause: String,
        /// Whether trying again may help.
        temporary: bool,
    },
    /// A job is of a version that this code doesn't know.
    #[error("a job of version {found}; this code knows versions up to {known}")]
    JobVersion {
        /// That of the job.
        found: u32,
        /// The newest that is known.
        known: u32,
    },
}

impl Error {
    /// Whether the same may succeed later: the server was down, busy or too slow. Anything else fails
    /// again however often it is tried.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Encryption(_)
            | Self::Bus { .. }
            | Self::Store { .. } => true,
            Self::Refused { status, .. } => is_temporary_status(*status),
            Self::Embedded { temporary, .. }
            | Self::Queue { temporary, .. }
            | Self::Undelivered { temporary, .. }
            | Self::Database { temporary, .. } => *temporary,
            Self::Notification { failures, .. } => {
                failures.iter().all(|failure| failure.error.is_temporary())
            }
            _ => false,
        }
    }

    pub(crate) fn no_notification_channel(via: &str) -> Self {
        let cause = if via == "database" {
            "this process has no table for notifications: Clarim::with_notifications"
        } else {
            "this process has no such channel: Clarim::with_notification_channel"
        };
        Self::Undelivered { via: via.to_owned(), cause: cause.to_owned(), temporary: false }
    }
}

/// One way in which a notification did not reach one user.
#[derive(Debug)]
#[non_exhaustive]
pub struct NotificationFailure {
    /// Who: the type and the id.
    pub to: String,
    /// Through what.
    pub via: String,
    /// Why not.
    pub error: Error,
}

fn list(failures: &[NotificationFailure]) -> String {
    let line = |one: &NotificationFailure| format!("to {} via {}: {}", one.to, one.via, one.error);
    failures.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Answers about the server, and not about the request.
fn is_temporary_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_request_stays_wrong() {
        let refused = |status| Error::Refused {
            host: "h".to_owned(),
            port: 1,
            status,
            answer: String::new(),
        };
        for status in [400, 401, 403, 404, 413, 422] {
            assert!(!refused(status).is_temporary(), "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(refused(status).is_temporary(), "{status}");
        }
    }
}

//! Errors of broadcasts.

pub(crate) mod problems;

use std::fmt;
use std::time::Duration;

use crate::channel::InvalidChannel;
use problems::ChannelsProblem;
#[cfg(feature = "schedule")]
use problems::ScheduleProblem;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The reason why something was not broadcast. The debug output is the message too, so that an error that
/// `main` returns is printed as a sentence.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is missing or invalid.
    #[error("{name}: {problem}")]
    Setting {
        /// The setting's name, as it was written.
        name: String,
        /// The problem, and what is expected.
        problem: String,
    },
    /// A channel's name is invalid.
    #[error(transparent)]
    Channel(#[from] InvalidChannel),
    /// The event's payload can't be serialized.
    #[error("cannot serialize the payload of {event}: {source}")]
    Payload {
        /// The event's name.
        event: String,
        /// The serializer's error.
        source: serde_json::Error,
    },
    /// A stored job can't be read.
    #[error("cannot read a stored job: {source}")]
    Job {
        /// The deserializer's error.
        source: serde_json::Error,
    },
    /// A stored job was written by a newer version.
    #[error(
        "a stored job has version {found}, this version of clarim reads up to {known}; update the worker"
    )]
    JobVersion {
        /// The job's version.
        found: u32,
        /// The newest version that can be read.
        known: u32,
    },
    /// The event's data is over the limit. Nothing was sent.
    #[error(
        "the data of {event} has {bytes} bytes, the limit is {limit}; send less, or raise Settings::max_data_bytes and the server's limit"
    )]
    TooLarge {
        /// The event's name.
        event: String,
        /// Size of the data as JSON, after encryption.
        bytes: usize,
        /// The limit in the settings.
        limit: usize,
    },
    /// The channel is encrypted, and the settings have no master key.
    #[error(
        "{channel} is encrypted and there is no master key; set PUSHER_ENCRYPTION_MASTER_KEY_BASE64 to the output of: openssl rand -base64 32"
    )]
    NoEncryptionKey {
        /// The channel.
        channel: String,
    },
    /// The event could not be encrypted, for example because the operating system had no random bytes.
    #[error("cannot encrypt the event: {source}")]
    Encryption {
        /// The cause.
        source: BoxError,
    },
    /// The server could not be reached, or closed the connection.
    #[error("cannot publish to {host}:{port}: {source}")]
    Unreachable {
        /// The server's host.
        host: String,
        /// The server's port.
        port: u16,
        /// The operating system's error.
        source: BoxError,
    },
    /// The server did not answer in time.
    #[error("cannot publish to {host}:{port}: no answer within {after:?}")]
    TimedOut {
        /// The server's host.
        host: String,
        /// The server's port.
        port: u16,
        /// The timeout.
        after: Duration,
    },
    /// The server answered with another status than 200.
    #[error("{host}:{port} answered {status}: {answer}")]
    Refused {
        /// The server's host.
        host: String,
        /// The server's port.
        port: u16,
        /// The HTTP status.
        status: u16,
        /// The start of the answer's body.
        answer: String,
    },
    /// The embedded server could not be started, or refused the event.
    #[error("embedded server: {source}")]
    Embedded {
        /// The server's error.
        source: BoxError,
        /// Whether trying again may help.
        temporary: bool,
    },
    /// The cluster's bus did not take the event.
    #[error("cannot publish to the bus ({bus}): {source}")]
    Bus {
        /// The kind of bus: `redis`, `nats`.
        bus: &'static str,
        /// The cause.
        source: BoxError,
    },
    /// The queue did not take the job.
    #[error(transparent)]
    Queue(#[from] clarim_queue::Error),
    /// An attempt at a queued job took too long.
    #[error("the attempt took longer than {limit:?}")]
    AttemptTimedOut {
        /// The timeout of the [`Delivery`](crate::Delivery).
        limit: Duration,
    },
    /// Queued broadcasts were not delivered before the process had to end. They are lost with it.
    #[error(
        "{jobs} queued broadcasts were not delivered within {limit:?} and are lost with this process; a stored queue keeps them (QUEUE_CONNECTION=sqlite)"
    )]
    NotIdle {
        /// Number of broadcasts.
        jobs: usize,
        /// The time that was waited.
        limit: Duration,
    },
    /// The rules for channels are invalid or contradict each other.
    #[error("channels: {}", joined(problems))]
    Authorization {
        /// All problems.
        problems: Vec<ChannelsProblem>,
    },
    /// The schedule is invalid.
    #[cfg(feature = "schedule")]
    #[error("schedule: {}", joined(problems))]
    Schedule {
        /// All problems.
        problems: Vec<ScheduleProblem>,
    },
    /// Parts of a notification were not delivered. Everything that is not listed was.
    #[error("{notification}: {}", joined(failures))]
    Notification {
        /// The notification's type.
        notification: String,
        /// The failed deliveries.
        failures: Vec<NotificationFailure>,
    },
    /// A notification channel could not deliver a notification.
    #[error("{via}: {source}")]
    Undelivered {
        /// The channel's name.
        via: String,
        /// The channel's error.
        source: BoxError,
        /// Whether trying again may help.
        temporary: bool,
    },
    /// The database of notifications failed.
    #[error("the database of notifications: {source}{hint}")]
    Database {
        /// The database driver's error.
        source: BoxError,
        /// A hint at the solution, appended to the message; may be empty.
        hint: &'static str,
        /// Whether trying again may help.
        temporary: bool,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    pub(crate) fn setting(name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Setting { name: name.into(), problem: problem.into() }
    }

    /// The failure of a notification channel.
    ///
    /// ```
    /// use clarim::Error;
    ///
    /// let error = Error::undelivered("mail", "the user has no address", false);
    /// assert_eq!(error.to_string(), "mail: the user has no address");
    /// ```
    pub fn undelivered(
        via: impl Into<String>,
        cause: impl Into<BoxError>,
        temporary: bool,
    ) -> Self {
        Self::Undelivered { via: via.into(), source: cause.into(), temporary }
    }

    /// Whether trying again later may help: the server was down, busy or too slow. All other errors would
    /// happen again.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Encryption { .. }
            | Self::Bus { .. }
            | Self::AttemptTimedOut { .. } => true,
            Self::Queue(error) => error.is_temporary(),
            Self::Refused { status, answer, .. } => is_temporary_refusal(*status, answer),
            Self::Embedded { temporary, .. }
            | Self::Undelivered { temporary, .. }
            | Self::Database { temporary, .. } => *temporary,
            Self::Notification { failures, .. } => {
                failures.iter().all(|failure| failure.source.is_temporary())
            }
            _ => false,
        }
    }

    /// A stable identifier for programs, such as `unreachable` or `invalid_channel`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Setting { .. } => "invalid_setting",
            Self::Channel(error) => error.code(),
            Self::Payload { .. } => "payload_not_serializable",
            Self::Job { .. } => "job_unreadable",
            Self::JobVersion { .. } => "job_version_unknown",
            Self::TooLarge { .. } => "payload_too_large",
            Self::NoEncryptionKey { .. } => "encryption_key_missing",
            Self::Encryption { .. } => "encryption_failed",
            Self::Unreachable { .. } => "unreachable",
            Self::TimedOut { .. } => "timed_out",
            Self::Refused { .. } => "refused",
            Self::Embedded { .. } => "embedded_server",
            Self::Bus { .. } => "bus_unavailable",
            Self::Queue(error) => error.code(),
            Self::AttemptTimedOut { .. } => "attempt_timed_out",
            Self::NotIdle { .. } => "queue_not_idle",
            Self::Authorization { .. } => "invalid_channel_rules",
            #[cfg(feature = "schedule")]
            Self::Schedule { .. } => "invalid_schedule",
            Self::Notification { .. } => "notification_failed",
            Self::Undelivered { .. } => "notification_undelivered",
            Self::Database { .. } => "notification_database",
        }
    }
}

/// The failed delivery of a notification to one user through one channel.
#[derive(Debug, thiserror::Error)]
#[error("to {to} via {via}: {source}")]
#[non_exhaustive]
pub struct NotificationFailure {
    /// Type and id of the user.
    pub to: String,
    /// The notification channel.
    pub via: String,
    /// The cause.
    pub source: Box<Error>,
}

impl NotificationFailure {
    /// A stable identifier for programs: that of the cause.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.source.code()
    }
}

fn joined(parts: &[impl ToString]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Whether a later request may succeed without a change of the request.
fn is_temporary_refusal(status: u16, answer: &str) -> bool {
    match status {
        408 | 425 | 429 | 500..=599 => true,
        // This machine's clock or the server's is wrong until an operator corrects it. Each attempt is signed
        // with its own time. All servers of the protocol copy this text from Pusher.
        401 => answer.contains("Timestamp expired"),
        // The app is just being added, or the server has been started without it.
        404 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_server_are_temporary_and_those_of_the_request_are_not() {
        let refused = |status, answer: &str| Error::Refused {
            host: "h".to_owned(),
            port: 1,
            status,
            answer: answer.to_owned(),
        };
        for status in [400, 401, 403, 413, 422] {
            assert!(!refused(status, "Invalid signature").is_temporary(), "{status}");
        }
        for status in [404, 408, 429, 500, 502, 503, 504] {
            assert!(refused(status, "").is_temporary(), "{status}");
        }
        let expired =
            "Timestamp expired: Given timestamp (1) not within 600s of server time (2000)";
        assert!(refused(401, expired).is_temporary());
    }
}

//! Problems in the rules for channels and in schedules, all of which are reported together.

use clarim_protocol::InvalidChannelName;

/// A problem in the rules for channels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelsProblem {
    /// A `{` in a pattern is not closed.
    #[error("{pattern:?}: a {{ has no }}")]
    UnclosedBrace {
        /// The pattern.
        pattern: String,
    },
    /// A placeholder of a pattern has no name.
    #[error("{pattern:?}: a placeholder is a name in braces, like {{order}}")]
    InvalidPlaceholder {
        /// The pattern.
        pattern: String,
    },
    /// Two placeholders stand side by side.
    #[error("{pattern:?}: two placeholders need text between them")]
    AdjacentPlaceholders {
        /// The pattern.
        pattern: String,
    },
    /// No channel can match the pattern.
    #[error("{pattern:?}: {source}")]
    InvalidName {
        /// The pattern.
        pattern: String,
        /// The rule that its channel names break.
        source: InvalidChannelName,
    },
    /// The pattern begins with a channel prefix.
    #[error("{pattern:?}: write the name without prefix; the method sets the kind of channel")]
    Prefixed {
        /// The pattern.
        pattern: String,
    },
    /// The closure does not take as many parameters as the pattern has placeholders.
    #[error(
        "{pattern:?} has {placeholders} placeholders, and its closure takes {takes} parameters after the user"
    )]
    ParameterCount {
        /// The pattern.
        pattern: String,
        /// Number of placeholders.
        placeholders: usize,
        /// Number of parameters.
        takes: usize,
    },
    /// An earlier pattern matches everything that this one does.
    #[error("{pattern} can never match: {earlier} comes first and matches all of its channels")]
    Unreachable {
        /// The pattern.
        pattern: String,
        /// The earlier one.
        earlier: String,
    },
    /// A guard that no [`authenticate_as`](crate::authorization::Channels::authenticate_as) defines.
    #[error("{pattern}: unknown guard {guard:?}; define it with authenticate_as")]
    UnknownGuard {
        /// The pattern.
        pattern: String,
        /// The guard's name.
        guard: String,
    },
    /// A guard without a pattern before it.
    #[error("guard {guard:?} has no pattern before it")]
    MisplacedGuard {
        /// The guard's name.
        guard: String,
    },
    /// The closure of [`sign_in`](crate::authorization::Channels::sign_in) takes parameters.
    #[error("sign_in: its closure takes the user and State only, there are no placeholders")]
    SignInParameters,
    /// A setting that signing needs is missing.
    #[error("{message}")]
    Setting {
        /// The problem, and what is expected.
        message: String,
    },
}

impl ChannelsProblem {
    /// A stable identifier for programs: `invalid_channel_rule`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "invalid_channel_rule"
    }
}

/// A problem in a schedule.
#[cfg(feature = "schedule")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleProblem {
    /// The time zone is unknown.
    #[error("unknown time zone {name:?}; expected a name like \"America/Sao_Paulo\"")]
    TimeZone {
        /// The name.
        name: String,
    },
    /// Two tasks have the same name.
    #[error("two tasks have the name {name:?}")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A method that follows a task has no task before it.
    #[error("{what} has no task before it")]
    NoTask {
        /// The method or the time.
        what: String,
    },
    /// A task has two times.
    #[error("{task:?} has two times: {first} and {second}")]
    TwoTimes {
        /// The task.
        task: String,
        /// The first time.
        first: String,
        /// The second time.
        second: String,
    },
    /// A task has no time.
    #[error("{task:?} has no time; add for example .hourly()")]
    NoTime {
        /// The task.
        task: String,
    },
    /// A task is never due, for example because all its times are outside of its hours.
    #[error("{task:?} is never due: {times}")]
    NeverDue {
        /// The task.
        task: String,
        /// Its times, and the days and hours within which it runs.
        times: String,
    },
    /// A task runs on one node, and the schedule has no lock.
    #[error("{task:?} runs on one node, and the schedule has no lock; add Schedule::lock")]
    NoLock {
        /// The task.
        task: String,
    },
    /// A task runs on one node, and the lock of the schedule is not shared with other nodes.
    #[error(
        "{task:?} runs on one node, but the locks of a queue in memory are not shared; use a stored queue (QUEUE_CONNECTION=sqlite, postgres or redis)"
    )]
    LocalLock {
        /// The task.
        task: String,
    },
    /// A period is too short, too long, or not in whole seconds.
    #[error("{period:?}: a period is whole seconds, from one second to a century")]
    Period {
        /// The period.
        period: std::time::Duration,
    },
    /// A cron expression is invalid.
    #[error("{expression:?}: {problem}")]
    Cron {
        /// The expression.
        expression: String,
        /// The parser's message.
        problem: String,
    },
    /// A time of day is invalid.
    #[error("{text:?} is not a time of day like \"13:00\"")]
    TimeOfDay {
        /// The text.
        text: String,
    },
}

#[cfg(feature = "schedule")]
impl ScheduleProblem {
    /// A stable identifier for programs: `invalid_schedule_entry`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "invalid_schedule_entry"
    }
}

//! An app: one tenant of the server, with its credentials, rules and limits.

use std::time::Duration;

use clarim_protocol::ChannelName;
use clarim_protocol::auth::AppKey;
use clarim_protocol::server::ClientEventData;

use super::history::HistoryRule;
use super::origins::Origins;

/// One tenant of the server. Apps share a process and nothing else: channels, users, counts and limits of one
/// are invisible to another.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct App {
    /// The id in the HTTP API's paths (`/apps/{id}/events`).
    pub id: String,
    /// The public key that clients connect with, and the signing secret.
    pub key: AppKey,
    /// Allowed origins.
    pub origins: Origins,
    /// Whether clients without an `Origin` header are refused. Only browsers send one.
    pub requires_origin: bool,
    /// Time in which a connection must sign in, or join a channel that needs a signature. Otherwise it is
    /// closed with 4009. `None`: no limit.
    pub authorization_timeout: Option<Duration>,
    /// Time of silence after which a connection is pinged.
    pub ping_interval: Duration,
    /// Time that a pinged connection has to reply before it is closed with 4201. Clients get it in
    /// `connection_established` and send a ping themselves after the same time of silence.
    pub activity_timeout: Duration,
    /// Which clients may send client events (whispers).
    pub client_events: ClientEvents,
    /// Whether client events are allowed on public channels too. Pusher rejects them there.
    pub client_events_on_public: bool,
    /// The form in which the data of client events is forwarded.
    pub client_event_data: ClientEventData,
    /// Whether subscribers get the number of subscribers (`pusher_internal:subscription_count`).
    pub subscription_count: bool,
    /// The lifecycle events that are reported.
    pub hooks: Hooks,
    /// The rate limit of messages per connection, if any.
    pub rate_limit: Option<RateLimit>,
    /// The channels whose events are kept. The first matching rule counts.
    pub history: Vec<HistoryRule>,
    /// All other limits.
    pub limits: Limits,
}

/// The clients that may send client events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientEvents {
    /// Subscribers of the event's channel.
    #[default]
    Members,
    /// Every connection of the app.
    All,
    /// None: an attempt is answered with error 4301.
    None,
}

/// The [channel events](crate::ChannelEvent) and [connection events](crate::ConnectionEvent) that are
/// reported for an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set of named flags")]
#[non_exhaustive]
pub struct Hooks {
    /// A channel has got its first subscriber or lost its last.
    pub occupancy: bool,
    /// A user has joined or left a presence channel.
    pub members: bool,
    /// A client event was sent.
    pub client_events: bool,
    /// A new subscriber of a cache channel found no event.
    pub cache_misses: bool,
    /// The number of subscribers has changed, on channels that send it to their subscribers.
    pub counts: bool,
    /// A connection has signed in, subscribed or unsubscribed.
    pub connections: bool,
}

impl Hooks {
    /// All hooks.
    pub const ALL: Self = Self {
        occupancy: true,
        members: true,
        client_events: true,
        cache_misses: true,
        counts: true,
        connections: true,
    };

    /// Whether joins and leaves of the channel are reported.
    pub(crate) fn report_occupants(self, name: &ChannelName) -> bool {
        self.occupancy || (self.members && name.is_presence())
    }
}

/// A limit of `max_attempts` messages of any kind per connection in each window of `decay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Messages allowed in a window.
    pub max_attempts: u32,
    /// Length of a window.
    pub decay: Duration,
    /// Whether a connection over the limit is closed instead of only getting error 4301.
    pub terminate: bool,
}

impl RateLimit {
    /// Makes a limit over which messages are answered with error 4301.
    #[must_use]
    pub const fn new(max_attempts: u32, decay: Duration) -> Self {
        Self { max_attempts, decay, terminate: false }
    }
}

/// The limits of an app. Sizes are in bytes, lengths in bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Open connections of the app on this node; `None` for as many as the process can hold.
    pub connections: Option<u32>,
    /// One WebSocket message from a client.
    pub message_bytes: usize,
    /// Subscriptions of one connection.
    pub channels_per_connection: usize,
    /// A channel's name, prefix included.
    pub channel_name_bytes: usize,
    /// An event's name.
    pub event_name_bytes: usize,
    /// An event's data, in published events and client events.
    pub event_data_bytes: usize,
    /// Users on one presence channel.
    pub presence_members: usize,
    /// One member's `channel_data`.
    pub presence_member_bytes: usize,
    /// Channels named by one published event.
    pub channels_per_event: usize,
    /// Events in one batch.
    pub events_per_batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            message_bytes: 100_000,
            channels_per_connection: 1_000,
            channel_name_bytes: 200,
            event_name_bytes: 200,
            event_data_bytes: 100_000,
            presence_members: 10_000,
            presence_member_bytes: 10_000,
            channels_per_event: 100,
            events_per_batch: 100,
        }
    }
}

impl App {
    /// Makes an app with default settings.
    ///
    /// ```
    /// # use clarim_hub::app::App;
    /// let mut app = App::new("1", "key", "secret");
    /// app.limits.presence_members = 500;
    /// ```
    #[must_use]
    pub fn new(id: impl Into<String>, key: impl Into<String>, secret: impl AsRef<str>) -> Self {
        Self {
            id: id.into(),
            key: AppKey::new(key, secret),
            origins: Origins::any(),
            requires_origin: false,
            authorization_timeout: None,
            ping_interval: Duration::from_secs(60),
            activity_timeout: Duration::from_secs(30),
            client_events: ClientEvents::default(),
            client_events_on_public: false,
            client_event_data: ClientEventData::default(),
            subscription_count: false,
            hooks: Hooks::default(),
            rate_limit: None,
            history: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// Returns the history rule of a channel; `None` if its events are not kept.
    #[must_use]
    pub fn history_of(&self, channel: &ChannelName) -> Option<&HistoryRule> {
        self.history.iter().find(|rule| rule.matches(channel.as_str()))
    }
}

//! An application: one tenant of the server, with its credentials, rules and bounds.

use std::fmt;
use std::time::Duration;

use crate::entry::ChannelKey;
use clarim_protocol::auth::AppKey;

/// One tenant. Apps share a process and nothing else: channels, users, counts and limits of one are
/// invisible to another.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// The id in the HTTP API's paths (`/apps/{id}/events`).
    pub id: String,
    /// The public key that clients connect with, and the secret that signs.
    pub key: AppKey,
    /// Origins whose pages may connect.
    pub origins: Origins,
    /// A connection silent for so long is pinged.
    pub ping_interval: Duration,
    /// A pinged connection that stays silent for so long is closed with 4201. Clients learn it in
    /// `connection_established` and ping by themselves after as long a silence.
    pub activity_timeout: Duration,
    /// Who may send client events (whispers).
    pub client_events: ClientEvents,
    /// Whether client events are allowed on public channels too. Pusher refuses them there.
    pub client_events_on_public: bool,
    /// Whether subscribers are told how many they are (`pusher_internal:subscription_count`).
    pub subscription_count: bool,
    /// What the app's backend wants to be told of.
    pub hooks: Hooks,
    /// A bound on messages per connection; `None`: none.
    pub rate_limit: Option<RateLimit>,
    /// Every other bound.
    pub limits: Limits,
}

/// Who may send client events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientEvents {
    /// Subscribers of the channel concerned.
    #[default]
    Members,
    /// Every connection of the app.
    All,
    /// Nobody: an attempt is answered with error 4301.
    None,
}

/// The [facts](crate::Fact) that are told of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set, whose members have names")]
pub struct Hooks {
    /// That a channel has got its first subscriber, or lost its last.
    pub occupancy: bool,
    /// That a user has come to a presence channel, or has left.
    pub members: bool,
    /// What clients send to each other.
    pub client_events: bool,
    /// That a subscriber of a cache channel found no event.
    pub cache_misses: bool,
    /// How many subscribers a channel has, where they are told it themselves.
    pub counts: bool,
    /// What each connection does: see [`ConnectionEvent`](crate::ConnectionEvent).
    pub connections: bool,
}

impl Hooks {
    /// All of them.
    pub const ALL: Self = Self {
        occupancy: true,
        members: true,
        client_events: true,
        cache_misses: true,
        counts: true,
        connections: true,
    };

    /// Whether it is told who comes to a channel and leaves it.
    pub(crate) fn tell_who_is_on(self, key: &ChannelKey) -> bool {
        self.occupancy || (self.members && key.name.is_presence())
    }
}

/// At most `max_attempts` messages of any kind per connection in each window of `decay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Messages allowed in a window.
    pub max_attempts: u32,
    /// Length of a window.
    pub decay: Duration,
    /// Whether a connection over the limit is closed, or only told (error 4301).
    pub terminate: bool,
}

/// The bounds of an app. Sizes are in bytes, lengths in bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of the app on this node; `None`: as many as the process may hold.
    pub connections: Option<u32>,
    /// One WebSocket message from a client.
    pub message_bytes: usize,
    /// Subscriptions of one connection.
    pub channels_per_connection: usize,
    /// A channel's name, prefix included.
    pub channel_name_bytes: usize,
    /// An event's name.
    pub event_name_bytes: usize,
    /// An event's data, of published and of client events.
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
    /// An app with the defaults of every setting.
    #[must_use]
    pub fn new(id: impl Into<String>, key: impl Into<String>, secret: impl AsRef<str>) -> Self {
        Self {
            id: id.into(),
            key: AppKey::new(key, secret),
            origins: Origins::any(),
            ping_interval: Duration::from_secs(60),
            activity_timeout: Duration::from_secs(30),
            client_events: ClientEvents::default(),
            client_events_on_public: false,
            subscription_count: false,
            hooks: Hooks::default(),
            rate_limit: None,
            limits: Limits::default(),
        }
    }
}

/// The pages that may connect, by the host of their `Origin` header.
///
/// A pattern is a host in which `*` stands for any run of characters: `*.example.com` admits every
/// subdomain but not `example.com` itself. Port and scheme do not count, upper and lower case are the
/// same. Clients which are no browser send no `Origin` and are let in: the header protects users of
/// browsers, and anybody else could write into it what they like.
#[derive(Clone, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Every page.
    #[must_use]
    pub fn any() -> Self {
        Self(vec!["*".to_owned()])
    }

    /// The pages whose host matches one of `patterns`.
    pub fn new(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self(patterns.into_iter().map(|p| p.as_ref().trim().to_ascii_lowercase()).collect())
    }

    /// Whether a request with this `Origin` header (`None`: without one) may connect.
    ///
    /// ```
    /// use clarim_hub::app::Origins;
    ///
    /// let origins = Origins::new(["example.com", "*.example.com"]);
    /// assert!(origins.allow(Some("https://www.Example.com:8443")));
    /// assert!(!origins.allow(Some("https://example.com.evil.net")));
    /// assert!(origins.allow(None));
    /// ```
    #[must_use]
    pub fn allow(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        let host = host_of(origin).to_ascii_lowercase();
        self.0.iter().any(|pattern| glob(pattern.as_bytes(), host.as_bytes()))
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

/// `https://host:port` → `host`; brackets of an IPv6 host stay.
fn host_of(origin: &str) -> &str {
    let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or(authority);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Linear in both lengths: on a mismatch only the last `*` is retried, one place further.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            retry = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == text[t] {
            p += 1;
            t += 1;
        } else if let Some((after_star, from)) = retry {
            retry = Some((after_star, from + 1));
            p = after_star;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_by_host_alone() {
        let origins = Origins::new(["laravel.com", "*.example.com", "[::1]"]);
        for yes in [
            "http://laravel.com",
            "https://LARAVEL.com:444",
            "https://a.b.example.com",
            "http://[::1]:80",
        ] {
            assert!(origins.allow(Some(yes)), "{yes}");
        }
        for no in [
            "http://laravel.com.evil",
            "https://example.com",
            "null",
            "",
            "https://evil.com/laravel.com",
        ] {
            assert!(!origins.allow(Some(no)), "{no}");
        }
        assert!(Origins::any().allow(Some("null")));
    }
}

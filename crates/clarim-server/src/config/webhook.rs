//! Webhook endpoints of an app.

use std::fmt;

use clarim_hub::app::Hooks;
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

/// A webhook endpoint of an app's backend. Its `Debug` output contains no secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Webhook {
    /// URL that requests are sent to.
    pub url: Uri,
    /// Events that are sent, by Pusher's names; see [`EVENTS`](Self::EVENTS).
    pub events: Vec<String>,
    /// Prefixes of the channels whose events are sent; empty for all channels.
    pub channels: Vec<String>,
    /// Additional headers of each request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Webhook {
    /// Names of all webhook events.
    pub const EVENTS: [&str; 7] = [
        "channel_occupied",
        "channel_vacated",
        "member_added",
        "member_removed",
        "client_event",
        "cache_miss",
        "subscription_count",
    ];

    /// An endpoint that receives every event.
    #[must_use]
    pub fn new(url: Uri) -> Self {
        let events = Self::EVENTS.map(str::to_owned).to_vec();
        Self { url, events, channels: Vec::new(), headers: Vec::new() }
    }

    /// Sets [`events`](Self#structfield.events).
    #[must_use]
    pub fn events(mut self, events: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.events = events.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`channels`](Self#structfield.channels).
    #[must_use]
    pub fn channels(mut self, prefixes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.channels = prefixes.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a header to each request.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Returns whether an event of this name on this channel is sent.
    #[must_use]
    pub fn wants(&self, event: &str, channel: &str) -> bool {
        self.events.iter().any(|name| name == event)
            && (self.channels.is_empty()
                || self.channels.iter().any(|prefix| channel.starts_with(prefix)))
    }

    /// Returns the URL without user, port and query, which may be secret.
    #[must_use]
    pub fn redacted_url(&self) -> String {
        let scheme = self.url.scheme_str().unwrap_or("http");
        let host = self.url.host().unwrap_or_default();
        format!("{scheme}://{host}{}", self.url.path())
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("url", &self.redacted_url())
            .field("events", &self.events)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

/// The hooks of the hub that these endpoints need.
pub(crate) fn hooks(webhooks: &[Webhook]) -> Hooks {
    let any = |name: &str| webhooks.iter().any(|hook| hook.events.iter().any(|it| it == name));
    let mut hooks = Hooks::default();
    hooks.occupancy = any("channel_occupied") || any("channel_vacated");
    hooks.members = any("member_added") || any("member_removed");
    hooks.client_events = any("client_event");
    hooks.cache_misses = any("cache_miss");
    hooks.counts = any("subscription_count");
    hooks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_receives_its_events_on_its_channels() {
        let hook = Webhook {
            events: vec!["client_event".to_owned()],
            channels: vec!["private-".to_owned()],
            ..Webhook::new(Uri::from_static("https://b.example"))
        };
        assert!(hook.wants("client_event", "private-x"));
        assert!(!hook.wants("client_event", "news") && !hook.wants("member_added", "private-x"));
    }

    #[test]
    fn debug_output_has_no_secret() {
        let hook = Webhook::new(Uri::from_static("https://ana:hush@b.example/x?token=hush"));
        assert_eq!(hook.redacted_url(), "https://b.example/x");
        assert!(!format!("{hook:?}").contains("hush"));
    }
}

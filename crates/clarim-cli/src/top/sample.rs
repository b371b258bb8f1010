//! Responses of the inspector's API, and the rates between them.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;

/// Number of points of a graph: five minutes.
const POINTS: usize = 300;
/// Number of events on the screen.
const EVENTS: usize = 200;

/// `GET overview`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Overview {
    pub(super) version: String,
    pub(super) uptime_ms: u64,
    pub(super) apps: Vec<AppCount>,
    pub(super) channels: BTreeMap<String, u64>,
    pub(super) subscriptions: u64,
    pub(super) members: u64,
    received: u64,
    frames: u64,
    bytes_out: u64,
    pub(super) outbox_bytes: u64,
    publishes: Publishes,
    pub(super) webhooks: Webhooks,
    pub(super) cluster: Option<ClusterState>,
}

impl Overview {
    pub(super) fn connections(&self) -> u64 {
        self.apps.iter().map(|app| app.connections).sum()
    }
}

/// Number of connections of an app.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct AppCount {
    pub(super) app: String,
    pub(super) connections: u64,
}

/// Published events since the server's start, by their duration in microseconds. The last bucket has no end.
#[derive(Debug, Clone, Default, Deserialize)]
struct Publishes {
    events: u64,
    microseconds: u64,
    ends: Vec<u64>,
    buckets: Vec<u64>,
}

/// Numbers of webhook events.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Webhooks {
    pub(super) sent: u64,
    pub(super) failed: u64,
    pub(super) dropped: u64,
}

/// The bus, and the other nodes on it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ClusterState {
    pub(super) is_up: bool,
    pub(super) lag_us: u64,
    pub(super) nodes: Vec<String>,
}

/// `GET apps/{id}/channels`, its first page.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Channels {
    pub(super) channels: Vec<Channel>,
    pub(super) count: u64,
}

/// A channel and its subscribers.
#[derive(Debug, Deserialize)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) subscriptions: u64,
    pub(super) users: Option<u64>,
}

/// `GET stream`.
#[derive(Debug, Deserialize)]
pub(super) struct EventPage {
    pub(super) next: u64,
    pub(super) events: Vec<Event>,
}

/// An event of the live stream.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    /// Milliseconds since 1970.
    pub(super) at: u64,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) channel: Option<String>,
    #[serde(default)]
    pub(super) event: Option<String>,
    #[serde(default)]
    pub(super) socket: Option<String>,
    #[serde(default)]
    pub(super) data: Option<String>,
}

/// Rates per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) published: f64,
    pub(super) received: f64,
    pub(super) sent: f64,
    pub(super) bytes_out: f64,
    /// Mean duration of a publish, and the end of the bucket of its 99th percentile, in milliseconds.
    pub(super) publish: Option<(f64, f64)>,
}

impl Rates {
    /// The rates between two responses; `None` if the server was restarted or no time passed between them.
    fn between(before: &Overview, now: &Overview) -> Option<Self> {
        let millis = now.uptime_ms.checked_sub(before.uptime_ms).filter(|millis| *millis > 0)?;
        let each =
            |now: u64, before: u64| now.saturating_sub(before) as f64 * 1_000.0 / millis as f64;
        let buckets = now.publishes.buckets.iter().zip(&before.publishes.buckets);
        let counts: Vec<u64> = buckets.map(|(now, before)| now.saturating_sub(*before)).collect();
        let count: u64 = counts.iter().sum();
        let took = now.publishes.microseconds.saturating_sub(before.publishes.microseconds);
        let mut seen = 0;
        let at = counts.iter().position(|more| {
            seen += more;
            seen * 100 >= count * 99
        });
        let ends = &now.publishes.ends;
        let end =
            at.and_then(|at| ends.get(at)).or_else(|| ends.last()).copied().unwrap_or_default();
        Some(Self {
            published: each(now.publishes.events, before.publishes.events),
            received: each(now.received, before.received),
            sent: each(now.frames, before.frames),
            bytes_out: each(now.bytes_out, before.bytes_out),
            publish: (count > 0)
                .then(|| (took as f64 / count as f64 / 1_000.0, end as f64 / 1_000.0)),
        })
    }
}

/// The content of the screen.
#[derive(Debug, Default)]
pub(super) struct Picture {
    pub(super) url: String,
    pub(super) overview: Overview,
    pub(super) rates: Rates,
    /// The newest event is the last.
    pub(super) connections: VecDeque<u64>,
    pub(super) sent: VecDeque<u64>,
    /// The app whose channels are shown, as a place in the overview's list.
    pub(super) app: usize,
    pub(super) channels: Channels,
    /// The newest event is the last.
    pub(super) events: VecDeque<Event>,
    /// Error of the last update.
    pub(super) error: Option<String>,
}

impl Picture {
    /// Updates the counters.
    pub(super) fn update(&mut self, now: Overview) {
        // The counters of a restarted server begin at zero.
        if let Some(rates) = Rates::between(&self.overview, &now) {
            if self.overview.uptime_ms > 0 {
                self.rates = rates;
                push(&mut self.sent, rates.sent.round() as u64, POINTS);
            }
            push(&mut self.connections, now.connections(), POINTS);
        } else if now.uptime_ms < self.overview.uptime_ms {
            self.rates = Rates::default();
        }
        self.overview = now;
        self.error = None;
    }

    pub(super) fn add_events(&mut self, events: Vec<Event>) {
        for event in events {
            push(&mut self.events, event, EVENTS);
        }
    }

    /// Id of the app whose channels are shown.
    pub(super) fn app(&self) -> Option<&str> {
        self.overview.apps.get(self.app).or_else(|| self.overview.apps.first()).map(|app| &*app.app)
    }

    pub(super) fn next_app(&mut self) {
        self.app = (self.app + 1) % self.overview.apps.len().max(1);
        self.channels = Channels::default();
    }
}

fn push<T>(list: &mut VecDeque<T>, value: T, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overview(uptime_ms: u64, frames: u64, buckets: [u64; 3]) -> Overview {
        let publishes = Publishes {
            events: buckets.iter().sum(),
            microseconds: buckets.iter().sum::<u64>() * 80,
            ends: vec![50, 100],
            buckets: buckets.to_vec(),
        };
        let apps = vec![AppCount { app: "1".to_owned(), connections: 7 }];
        Overview { uptime_ms, frames, publishes, apps, ..Overview::default() }
    }

    #[test]
    fn rates_are_differences_of_two_responses() {
        let rates =
            Rates::between(&overview(1_000, 50, [5, 0, 0]), &overview(3_000, 150, [5, 100, 0]));
        let expected =
            Rates { published: 50.0, sent: 50.0, publish: Some((0.08, 0.1)), ..Rates::default() };
        assert_eq!(rates, Some(expected));
        // The last bucket has no end, so that of the previous one is shown.
        let rates = Rates::between(&overview(1, 0, [0; 3]), &overview(2, 0, [0, 0, 9]));
        assert_eq!(rates.and_then(|rates| rates.publish), Some((0.08, 0.1)));
    }

    #[test]
    fn a_restarted_server_has_no_rates_yet() {
        let mut picture = Picture::default();
        picture.update(overview(5_000, 500, [0; 3]));
        picture.update(overview(6_000, 600, [0; 3]));
        assert_eq!((picture.rates.sent, picture.connections.len()), (100.0, 2));
        picture.update(overview(1_000, 10, [0; 3]));
        assert_eq!(picture.rates, Rates::default());
        picture.update(overview(2_000, 30, [0; 3]));
        assert_eq!(picture.rates.sent, 20.0);
    }

    #[test]
    fn an_identical_response_changes_nothing() {
        let mut picture = Picture::default();
        for uptime_ms in [5_000, 6_000, 6_000] {
            picture.update(overview(uptime_ms, uptime_ms / 10, [0; 3]));
        }
        assert_eq!((picture.rates.sent, picture.sent.len()), (100.0, 1));
    }

    #[test]
    fn the_number_of_events_is_limited() {
        let mut picture = Picture::default();
        let event = r#"{"at":1,"kind":"closed","app":"1","socket":"1.2"}"#;
        for _ in 0..=EVENTS {
            picture.add_events(vec![serde_json::from_str(event).unwrap()]);
        }
        assert_eq!(picture.events.len(), EVENTS);
    }
}

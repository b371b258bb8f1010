//! Keepalive: a silent connection is pinged, and closed if it does not reply.

use std::time::Duration;

use crate::app::App;
use crate::snapshot::SavedKeepalive;

/// The last sign of life of a connection. Times are in whole seconds, to keep idle connections small.
#[derive(Debug)]
pub(crate) struct Keepalive {
    /// When the last sign of life arrived or, if `is_pinged`, when the ping was sent.
    since: u32,
    is_pinged: bool,
    /// Whether the client has sent control frames of its own accord: then it is pinged with these alone.
    prefers_frames: bool,
    awaits_pong_frame: bool,
    /// Whether the connection has signed in, or has joined a channel that needs a signature.
    is_authorized: bool,
}

/// What a connection's silence, or its age, requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nothing yet.
    Fine,
    /// Send a ping.
    Ping { frame_only: bool },
    /// Close the connection: it did not reply to a ping.
    Dead,
    /// Close the connection: it was not authorized in time.
    Unauthorized,
}

impl Keepalive {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            since: seconds(now),
            is_pinged: false,
            prefers_frames: false,
            awaits_pong_frame: false,
            is_authorized: false,
        }
    }

    /// Returns what a snapshot keeps of it.
    pub(crate) fn save(&self) -> SavedKeepalive {
        let Self { since, is_pinged, prefers_frames, awaits_pong_frame, is_authorized } = *self;
        SavedKeepalive { since, is_pinged, prefers_frames, awaits_pong_frame, is_authorized }
    }

    pub(crate) fn restored(saved: SavedKeepalive) -> Self {
        let SavedKeepalive { since, is_pinged, prefers_frames, awaits_pong_frame, is_authorized } =
            saved;
        Self { since, is_pinged, prefers_frames, awaits_pong_frame, is_authorized }
    }

    /// Takes a sign of life.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.since = seconds(now);
        self.is_pinged = false;
    }

    /// Takes a ping control frame.
    pub(crate) fn heard_ping_frame(&mut self, now: Duration) {
        self.prefers_frames = true;
        self.heard(now);
    }

    /// Takes a pong control frame. A reply to a ping does not count as sent of its own accord: every
    /// WebSocket sends it by itself.
    pub(crate) fn heard_pong_frame(&mut self, now: Duration) {
        self.prefers_frames |= !std::mem::take(&mut self.awaits_pong_frame);
        self.heard(now);
    }

    pub(crate) fn authorized(&mut self) {
        self.is_authorized = true;
    }

    /// Checks how long the connection has been silent. `age` is the time since it was opened.
    pub(crate) fn check(&mut self, app: &App, age: Duration, now: Duration) -> Silence {
        if !self.is_authorized && app.authorization_timeout.is_some_and(|timeout| age >= timeout) {
            return Silence::Unauthorized;
        }
        let silent = Duration::from_secs(u64::from(seconds(now).saturating_sub(self.since)));
        if self.is_pinged {
            return if silent >= app.activity_timeout { Silence::Dead } else { Silence::Fine };
        }
        if silent < app.ping_interval {
            return Silence::Fine;
        }
        // The time to reply begins with the ping, which may be sent late.
        self.is_pinged = true;
        self.awaits_pong_frame = true;
        self.since = seconds(now);
        Silence::Ping { frame_only: self.prefers_frames }
    }
}

/// Converts the node's time to whole seconds.
pub(crate) fn seconds(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_connection_is_pinged_once_and_then_dead() {
        let app = App::new("1", "key", "secret");
        let mut keepalive = Keepalive::new(Duration::ZERO);
        let mut check = |at| keepalive.check(&app, Duration::ZERO, Duration::from_secs(at));
        assert_eq!(check(59), Silence::Fine);
        assert_eq!(check(60), Silence::Ping { frame_only: false });
        assert_eq!(check(61), Silence::Fine);
        assert_eq!(check(89), Silence::Fine);
        assert_eq!(check(90), Silence::Dead);
        // Both replies to the ping, and then a frame that replies to none.
        keepalive.heard(Duration::from_secs(90));
        keepalive.heard_pong_frame(Duration::from_secs(90));
        assert!(!keepalive.prefers_frames);
        keepalive.heard_pong_frame(Duration::from_secs(90));
        let mut check = |at| keepalive.check(&app, Duration::ZERO, Duration::from_secs(at));
        assert_eq!(check(149), Silence::Fine);
        assert_eq!(check(150), Silence::Ping { frame_only: true });
    }
}

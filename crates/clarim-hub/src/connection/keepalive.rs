//! Keepalive: a silent connection is pinged, and closed if it does not reply.

use std::time::Duration;

use crate::app::App;

/// The last sign of life of a connection. Times are in whole seconds, to keep idle connections small.
#[derive(Debug)]
pub(crate) struct Keepalive {
    /// When the last sign of life arrived or, if `is_pinged`, when the ping was sent.
    since: u32,
    is_pinged: bool,
    /// Whether the client has used control frames: then it is pinged with control frames too.
    uses_control_frames: bool,
}

/// What a connection's silence requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nothing yet.
    Fine,
    /// Send a ping, as a control frame or as a message.
    Ping { control: bool },
    /// Close the connection: it did not reply to a ping.
    Dead,
}

impl Keepalive {
    pub(crate) fn new(now: Duration) -> Self {
        Self { since: seconds(now), is_pinged: false, uses_control_frames: false }
    }

    /// Takes a sign of life. `control`: it was a ping or pong control frame.
    pub(crate) fn heard(&mut self, now: Duration, control: bool) {
        self.since = seconds(now);
        self.is_pinged = false;
        self.uses_control_frames |= control;
    }

    /// Checks how long the connection has been silent.
    pub(crate) fn check(&mut self, app: &App, now: Duration) -> Silence {
        let silent = Duration::from_secs(u64::from(seconds(now).saturating_sub(self.since)));
        if self.is_pinged {
            return if silent >= app.activity_timeout { Silence::Dead } else { Silence::Fine };
        }
        if silent < app.ping_interval {
            return Silence::Fine;
        }
        // The time to reply begins with the ping, which may be sent late.
        self.is_pinged = true;
        self.since = seconds(now);
        Silence::Ping { control: self.uses_control_frames }
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
        let mut check = |at| keepalive.check(&app, Duration::from_secs(at));
        assert_eq!(check(59), Silence::Fine);
        assert_eq!(check(60), Silence::Ping { control: false });
        assert_eq!(check(61), Silence::Fine);
        assert_eq!(check(89), Silence::Fine);
        assert_eq!(check(90), Silence::Dead);
        keepalive.heard(Duration::from_secs(90), true);
        assert_eq!(keepalive.check(&app, Duration::from_secs(149)), Silence::Fine);
        let ping = keepalive.check(&app, Duration::from_secs(150));
        assert_eq!(ping, Silence::Ping { control: true });
    }
}

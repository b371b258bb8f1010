//! One connection's state between its messages.

use std::time::Duration;

use clarim_protocol::SocketId;
use clarim_protocol::user::{User, UserId};
use smallvec::SmallVec;

use crate::app::{App, RateLimit};
use crate::apps::AppIndex;
use crate::channels::{ChannelIndex, Place};

/// Kept small: there are as many as there are clients, and most do nothing.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) app: AppIndex,
    pub(crate) socket_id: SocketId,
    /// The node's time at which it came, in whole seconds.
    opened: u32,
    /// The node's time of the last sign of life or, if `pinged`, of the ping; in whole seconds.
    since: u32,
    pinged: bool,
    /// The client has used control frames: it is pinged with them too.
    control_frames: bool,
    pub(crate) subscriptions: SmallVec<[Subscription; 1]>,
    pub(crate) user: Option<Box<User>>,
    window: Option<Box<Window>>,
}

#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) place: Place,
    /// Who the connection is on this presence channel.
    pub(crate) member: Option<Box<UserId>>,
}

/// Messages counted for the rate limit.
#[derive(Debug)]
struct Window {
    began: Duration,
    messages: u32,
}

/// What silence calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nothing yet.
    Fine,
    /// Ask for a sign of life, with a control frame or not.
    Ping { control: bool },
    /// It was asked, and did not answer.
    Dead,
}

impl Connection {
    pub(crate) fn new(app: AppIndex, socket_id: SocketId, now: Duration) -> Self {
        Self {
            app,
            socket_id,
            opened: seconds(now),
            since: seconds(now),
            pinged: false,
            control_frames: false,
            subscriptions: SmallVec::new(),
            user: None,
            window: None,
        }
    }

    /// How long it has been there.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        Duration::from_secs(u64::from(seconds(now).saturating_sub(self.opened)))
    }

    /// A sign of life has come; `control`: as a ping or pong control frame.
    pub(crate) fn heard(&mut self, now: Duration, control: bool) {
        self.since = seconds(now);
        self.pinged = false;
        self.control_frames |= control;
    }

    pub(crate) fn check_silence(&mut self, app: &App, now: Duration) -> Silence {
        let silent = Duration::from_secs(u64::from(seconds(now).saturating_sub(self.since)));
        if self.pinged {
            return if silent >= app.activity_timeout { Silence::Dead } else { Silence::Fine };
        }
        if silent < app.ping_interval {
            return Silence::Fine;
        }
        // The time to answer begins with the question, which may come late.
        self.pinged = true;
        self.since = seconds(now);
        Silence::Ping { control: self.control_frames }
    }

    /// Counts a message. Whether it is within the limit.
    pub(crate) fn within_rate(&mut self, limit: RateLimit, now: Duration) -> bool {
        let window =
            self.window.get_or_insert_with(|| Box::new(Window { began: now, messages: 0 }));
        if now >= window.began + limit.decay {
            **window = Window { began: now, messages: 0 };
        }
        window.messages = window.messages.saturating_add(1);
        window.messages <= limit.max_attempts
    }

    pub(crate) fn subscription(&self, channel: ChannelIndex) -> Option<&Subscription> {
        self.subscriptions.iter().find(|s| s.place.channel == channel)
    }

    pub(crate) fn take_subscription(&mut self, channel: ChannelIndex) -> Option<Subscription> {
        let at = self.subscriptions.iter().position(|s| s.place.channel == channel)?;
        Some(self.subscriptions.swap_remove(at))
    }

    /// The connection has been moved to `place` in the channel's list.
    pub(crate) fn moved(&mut self, place: Place) {
        if let Some(s) = self.subscriptions.iter_mut().find(|s| s.place.channel == place.channel) {
            s.place = place;
        }
    }

    /// Whether this is a connection of the user: signed in as it, or present as it somewhere.
    pub(crate) fn is_of_user(&self, user: &str) -> bool {
        self.user.as_ref().is_some_and(|signed_in| signed_in.member.id.as_str() == user)
            || self.subscriptions.iter().flat_map(|s| &s.member).any(|id| id.as_str() == user)
    }
}

fn seconds(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::Apps;

    fn connection() -> (Apps, Connection) {
        let apps = Apps::new([App::new("1", "key", "secret")]);
        let app = apps.find_by_key("key").unwrap();
        (apps, Connection::new(app, "1.1".parse().unwrap(), Duration::ZERO))
    }

    #[test]
    fn silence_is_asked_about_once_and_then_ends_the_connection() {
        let (apps, mut connection) = connection();
        let app = apps.get(connection.app);
        let mut check = |at| connection.check_silence(app, Duration::from_secs(at));
        assert_eq!(check(59), Silence::Fine);
        assert_eq!(check(60), Silence::Ping { control: false });
        assert_eq!(check(61), Silence::Fine);
        assert_eq!(check(89), Silence::Fine);
        assert_eq!(check(90), Silence::Dead);
        connection.heard(Duration::from_secs(90), true);
        assert_eq!(connection.check_silence(app, Duration::from_secs(149)), Silence::Fine);
        assert_eq!(
            connection.check_silence(app, Duration::from_secs(150)),
            Silence::Ping { control: true }
        );
    }

    #[test]
    fn the_rate_is_counted_in_windows() {
        let (_, mut connection) = connection();
        let limit = RateLimit { max_attempts: 2, decay: Duration::from_secs(10), terminate: false };
        let mut within = |at| connection.within_rate(limit, Duration::from_secs(at));
        assert_eq!(
            [within(5), within(6), within(14), within(15), within(15)],
            [true, true, false, true, true]
        );
        assert!(!within(15));
    }
}

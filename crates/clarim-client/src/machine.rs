//! The state machine of a connection: when to connect, wait, ping and give up. It takes an input and the
//! time, and returns effects. It has no socket and no clock.

use std::collections::BTreeSet;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::state::State;

/// Timeouts and delays.
#[derive(Debug, Clone)]
pub(crate) struct Timing {
    /// Time without messages after which the server is pinged. The server may set a shorter one.
    pub(crate) activity: Duration,
    /// Timeout for the pong.
    pub(crate) pong: Duration,
    /// Time without a connection after which the state is `Unavailable`.
    pub(crate) unavailable: Duration,
    /// Timeout for one connection attempt.
    pub(crate) attempt: Duration,
    /// Delay before the first reconnection.
    pub(crate) first_delay: Duration,
    /// Longest delay before a reconnection.
    pub(crate) longest_delay: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            activity: Duration::from_secs(120),
            pong: Duration::from_secs(30),
            unavailable: Duration::from_secs(10),
            attempt: Duration::from_secs(15),
            first_delay: Duration::from_secs(1),
            longest_delay: Duration::from_secs(30),
        }
    }
}

impl Timing {
    /// The delay before an authorizer is asked again, after this number of failures.
    pub(crate) fn delay(&self, failures: usize) -> Duration {
        self.delays(fastrand::u64(..)).nth(failures - 1).unwrap_or(self.longest_delay)
    }

    /// The delays between attempts. Each is between half of its value and its value: the jitter of `backon`
    /// adds up to a whole delay, so the builder gets half of each.
    fn delays(&self, seed: u64) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.first_delay / 2)
            .with_max_delay(self.longest_delay / 2)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(seed)
            .build()
    }
}

/// An input of the machine.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input {
    /// The application connects.
    Connect,
    /// The application disconnects.
    Disconnect,
    /// The server has sent its greeting, with its activity timeout.
    Established { activity: Duration },
    /// A message was received.
    Received,
    /// The connection, or the attempt, has ended, with its close code if there is one.
    Closed { code: Option<u16> },
    /// The deadline has passed.
    DeadlinePassed,
    /// A channel is wanted.
    Want(String),
    /// A channel is no longer wanted.
    Unwant(String),
}

/// An effect, to be executed by the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Connect.
    Dial,
    /// Close the connection, or cancel the attempt. It is not followed by [`Input::Closed`].
    HangUp,
    /// Send a ping.
    Ping,
    Subscribe(String),
    Unsubscribe(String),
    /// Publish the state.
    Changed(State),
}

/// The phase of the connection, in more detail than [`State`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No connection is wanted.
    Off,
    /// Waiting for the next attempt.
    Waiting {
        until: Duration,
    },
    Dialing {
        until: Duration,
    },
    Up {
        since: Duration,
        last_message: Duration,
        is_pinged: bool,
    },
}

/// The connection of a client.
#[derive(Debug)]
pub(crate) struct Machine {
    timing: Timing,
    state: State,
    phase: Phase,
    /// Time without messages after which the server is pinged.
    activity: Duration,
    /// Whether no attempt was made since the last stable connection.
    is_first_attempt: bool,
    /// The next delays.
    delays: ExponentialBackoff,
    /// Seed of the jitter. Clients that were disconnected together must not reconnect together.
    seed: u64,
    /// When the state becomes `Unavailable`.
    unavailable_at: Duration,
    wanted: BTreeSet<String>,
}

impl Machine {
    pub(crate) fn new(timing: Timing, seed: u64) -> Self {
        Self {
            activity: timing.activity,
            delays: timing.delays(seed),
            seed,
            timing,
            state: State::Initialized,
            phase: Phase::Off,
            is_first_attempt: true,
            unavailable_at: Duration::ZERO,
            wanted: BTreeSet::new(),
        }
    }

    /// The time at which [`Input::DeadlinePassed`] is due, if there is one.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let own = match self.phase {
            Phase::Off => return None,
            Phase::Waiting { until } | Phase::Dialing { until } => until,
            Phase::Up { last_message, is_pinged: false, .. } => {
                return Some(last_message + self.activity);
            }
            Phase::Up { last_message, is_pinged: true, .. } => {
                return Some(last_message + self.timing.pong);
            }
        };
        let is_unavailable = self.state == State::Unavailable;
        Some(if is_unavailable { own } else { own.min(self.unavailable_at) })
    }

    /// Takes an input and returns its effects.
    pub(crate) fn take(&mut self, input: Input, now: Duration) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Connect if self.phase == Phase::Off => {
                self.reset_delays();
                self.unavailable_at = now + self.timing.unavailable;
                self.change(State::Connecting, &mut effects);
                self.dial(now, &mut effects);
            }
            Input::Disconnect => self.end(State::Disconnected, &mut effects),
            Input::Established { activity } if matches!(self.phase, Phase::Dialing { .. }) => {
                self.activity = activity.min(self.timing.activity);
                self.phase = Phase::Up { since: now, last_message: now, is_pinged: false };
                self.change(State::Connected, &mut effects);
                effects.extend(self.wanted.iter().cloned().map(Effect::Subscribe));
            }
            Input::Received => {
                if let Phase::Up { last_message, is_pinged, .. } = &mut self.phase {
                    *last_message = now;
                    *is_pinged = false;
                }
            }
            Input::Closed { code }
                if matches!(self.phase, Phase::Dialing { .. } | Phase::Up { .. }) =>
            {
                self.lost(code, now, &mut effects);
            }
            Input::DeadlinePassed => self.deadline_passed(now, &mut effects),
            Input::Want(channel) => {
                if self.wanted.insert(channel.clone()) && self.state == State::Connected {
                    effects.push(Effect::Subscribe(channel));
                }
            }
            Input::Unwant(channel) => {
                if self.wanted.remove(&channel) && self.state == State::Connected {
                    effects.push(Effect::Unsubscribe(channel));
                }
            }
            Input::Connect | Input::Established { .. } | Input::Closed { .. } => {}
        }
        effects
    }

    fn deadline_passed(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let is_down = matches!(self.phase, Phase::Waiting { .. } | Phase::Dialing { .. });
        if is_down && self.state == State::Connecting && now >= self.unavailable_at {
            self.change(State::Unavailable, effects);
        }
        match self.phase {
            Phase::Waiting { until } if now >= until => self.dial(now, effects),
            Phase::Dialing { until } if now >= until => {
                effects.push(Effect::HangUp);
                self.lost(None, now, effects);
            }
            Phase::Up { since, last_message, is_pinged: false }
                if now >= last_message + self.activity =>
            {
                // The timeout begins with the ping, which may be late.
                self.phase = Phase::Up { since, last_message: now, is_pinged: true };
                effects.push(Effect::Ping);
            }
            Phase::Up { last_message, is_pinged: true, .. }
                if now >= last_message + self.timing.pong =>
            {
                effects.push(Effect::HangUp);
                self.lost(None, now, effects);
            }
            _ => {}
        }
    }

    /// Handles the end of a connection or of an attempt. The classes of close codes are those of the
    /// protocol:
    /// <https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/#error-codes>
    fn lost(&mut self, code: Option<u16>, now: Duration, effects: &mut Vec<Effect>) {
        if matches!(code, Some(4000..=4099)) {
            self.phase = Phase::Off;
            return self.change(State::Failed, effects);
        }
        if let Phase::Up { since, .. } = self.phase {
            self.unavailable_at = now + self.timing.unavailable;
            if now >= since + self.timing.first_delay {
                self.reset_delays();
            }
        }
        if self.state != State::Unavailable {
            self.change(State::Connecting, effects);
        }
        // Only the first reconnection is immediate. A server that closes every connection must not cause a
        // loop.
        if matches!(code, Some(4200..=4299)) && self.is_first_attempt {
            return self.dial(now, effects);
        }
        let delay = self.delays.next().unwrap_or(self.timing.longest_delay);
        self.phase = Phase::Waiting { until: now + delay };
    }

    fn reset_delays(&mut self) {
        self.is_first_attempt = true;
        self.seed = self.seed.wrapping_add(1);
        self.delays = self.timing.delays(self.seed);
    }

    fn dial(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.phase = Phase::Dialing { until: now + self.timing.attempt };
        self.is_first_attempt = false;
        effects.push(Effect::Dial);
    }

    fn end(&mut self, state: State, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Dialing { .. } | Phase::Up { .. }) {
            effects.push(Effect::HangUp);
        }
        self.phase = Phase::Off;
        self.change(state, effects);
    }

    fn change(&mut self, state: State, effects: &mut Vec<Effect>) {
        if self.state != state {
            self.state = state;
            effects.push(Effect::Changed(state));
        }
    }
}

#[cfg(test)]
mod tests;

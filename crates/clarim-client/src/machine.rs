//! When to connect, to wait, to ask for a sign of life, and to give up: input and `now` go in, what is to be
//! done comes out. There is no socket here, no clock, and nothing waits.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::State;

/// Times, and what chance decides by.
#[derive(Debug, Clone)]
pub(crate) struct Timing {
    /// Silence after which the server is asked for a sign of life. The server may say a shorter one.
    pub(crate) activity: Duration,
    /// Time for that sign.
    pub(crate) pong: Duration,
    /// Time without a connection after which it counts as unavailable.
    pub(crate) unavailable: Duration,
    /// Time for one attempt.
    pub(crate) attempt: Duration,
    /// The first pause, and the longest.
    pub(crate) pause: (Duration, Duration),
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            activity: Duration::from_secs(120),
            pong: Duration::from_secs(30),
            unavailable: Duration::from_secs(10),
            attempt: Duration::from_secs(15),
            pause: (Duration::from_secs(1), Duration::from_secs(30)),
        }
    }
}

/// Something has happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input {
    /// The user wants a connection.
    Connect,
    /// The user wants none.
    Disconnect,
    /// The server has greeted; with the silence that it bears.
    Established {
        activity: Duration,
    },
    /// Anything came from the server.
    Heard,
    /// The connection, or the attempt at one, is over; with the close code if there was one.
    Closed {
        code: Option<u16>,
    },
    /// The deadline has passed.
    Late,
    /// A channel is wanted, or not any more.
    Want(String),
    Unwant(String),
}

/// Something is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Open a connection.
    Dial,
    /// End the connection, or the attempt at one. No [`Input::Closed`] comes of it.
    HangUp,
    /// Ask for a sign of life.
    Ping,
    Subscribe(String),
    Unsubscribe(String),
    /// Tell the user.
    Changed(State),
}

/// Where the connection itself is; the user's [`State`] says less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is none, and none is wanted.
    Off,
    /// Before the next attempt.
    Waiting {
        until: Duration,
    },
    Dialing {
        until: Duration,
    },
    Up {
        since: Duration,
        heard: Duration,
        asked: bool,
    },
}

/// The connection of a client.
#[derive(Debug)]
pub(crate) struct Machine {
    timing: Timing,
    state: State,
    phase: Phase,
    /// What the server bears.
    activity: Duration,
    /// Attempts since the last connection that held for a while.
    attempts: u32,
    /// From when on it counts as unavailable.
    unavailable_at: Duration,
    wanted: BTreeSet<String>,
}

impl Machine {
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            activity: timing.activity,
            timing,
            state: State::Initialized,
            phase: Phase::Off,
            attempts: 0,
            unavailable_at: Duration::ZERO,
            wanted: BTreeSet::new(),
        }
    }

    /// When [`Input::Late`] is due, if ever.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let own = match self.phase {
            Phase::Off => return None,
            Phase::Waiting { until } | Phase::Dialing { until } => until,
            Phase::Up { heard, asked: false, .. } => return Some(heard + self.activity),
            Phase::Up { heard, asked: true, .. } => return Some(heard + self.timing.pong),
        };
        let told = self.state == State::Unavailable;
        Some(if told { own } else { own.min(self.unavailable_at) })
    }

    /// What follows. `dice` is a random number from 0 to 1: clients that were sent away together must not
    /// come back together.
    pub(crate) fn take(&mut self, input: Input, now: Duration, dice: f64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Connect if self.phase == Phase::Off => {
                self.attempts = 0;
                self.unavailable_at = now + self.timing.unavailable;
                self.change(State::Connecting, &mut effects);
                self.dial(now, &mut effects);
            }
            Input::Disconnect => self.end(State::Disconnected, &mut effects),
            Input::Established { activity } if matches!(self.phase, Phase::Dialing { .. }) => {
                self.activity = activity.min(self.timing.activity);
                self.phase = Phase::Up { since: now, heard: now, asked: false };
                self.change(State::Connected, &mut effects);
                effects.extend(self.wanted.iter().cloned().map(Effect::Subscribe));
            }
            Input::Heard => {
                if let Phase::Up { heard, asked, .. } = &mut self.phase {
                    (*heard, *asked) = (now, false);
                }
            }
            Input::Closed { code }
                if matches!(self.phase, Phase::Dialing { .. } | Phase::Up { .. }) =>
            {
                self.lost(code, now, dice, &mut effects);
            }
            Input::Late => self.late(now, dice, &mut effects),
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

    fn late(&mut self, now: Duration, dice: f64, effects: &mut Vec<Effect>) {
        let is_down = matches!(self.phase, Phase::Waiting { .. } | Phase::Dialing { .. });
        if is_down && self.state == State::Connecting && now >= self.unavailable_at {
            self.change(State::Unavailable, effects);
        }
        match self.phase {
            Phase::Waiting { until } if now >= until => self.dial(now, effects),
            Phase::Dialing { until } if now >= until => {
                effects.push(Effect::HangUp);
                self.lost(None, now, dice, effects);
            }
            Phase::Up { since, heard, asked: false } if now >= heard + self.activity => {
                // The time to answer begins with the question, which may come late.
                self.phase = Phase::Up { since, heard: now, asked: true };
                effects.push(Effect::Ping);
            }
            Phase::Up { heard, asked: true, .. } if now >= heard + self.timing.pong => {
                effects.push(Effect::HangUp);
                self.lost(None, now, dice, effects);
            }
            _ => {}
        }
    }

    /// The connection has gone, or did not come to be. The classes of codes are those of the protocol:
    /// <https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/#error-codes>
    fn lost(&mut self, code: Option<u16>, now: Duration, dice: f64, effects: &mut Vec<Effect>) {
        if matches!(code, Some(4000..=4099)) {
            self.phase = Phase::Off;
            return self.change(State::Failed, effects);
        }
        if let Phase::Up { since, .. } = self.phase {
            self.unavailable_at = now + self.timing.unavailable;
            if now >= since + self.timing.pause.0 {
                self.attempts = 0;
            }
        }
        if self.state != State::Unavailable {
            self.change(State::Connecting, effects);
        }
        // At once only the first time: a server that sends away whoever comes must not be asked in a loop.
        if matches!(code, Some(4200..=4299)) && self.attempts == 0 {
            return self.dial(now, effects);
        }
        let (first, longest) = self.timing.pause;
        let doubled = self.attempts.saturating_sub(1).min(10);
        let pause = first.saturating_mul(1 << doubled).min(longest);
        // Never less than half of it, and never more than all.
        let pause = pause.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0);
        self.phase = Phase::Waiting { until: now + pause };
    }

    fn dial(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        self.phase = Phase::Dialing { until: now + self.timing.attempt };
        self.attempts = self.attempts.saturating_add(1);
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

//! When a task is due: times in, times out.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;

/// A clock that was set back by more than this was wrong before; by less, the schedule waits until it is
/// past again what it has seen. As cron does.
const CORRECTION: TimeDelta = TimeDelta::hours(3);

/// The times of a task.
#[derive(Debug, Clone)]
pub(crate) enum When {
    /// Whole seconds, at multiples of which since 1970 it is due.
    Every(u32),
    /// By the clock on the wall.
    Cron(Box<Cron>),
}

impl When {
    pub(crate) fn every(period: Duration) -> Result<Self, String> {
        match u32::try_from(period.as_secs()) {
            Ok(seconds) if seconds > 0 && period.subsec_nanos() == 0 => Ok(Self::Every(seconds)),
            _ => Err(format!("{period:?}: it must be whole seconds, from one to a century")),
        }
    }

    pub(crate) fn cron(expression: &str) -> Result<Self, String> {
        let cron = expression.parse().map_err(|error| format!("{expression:?}: {error}"))?;
        Ok(Self::Cron(Box::new(cron)))
    }

    /// `13:00`
    pub(crate) fn daily_at(time: &str) -> Result<Self, String> {
        let wrong = || format!("{time:?} is no time of day like \"13:00\"");
        let (hour, minute) = time.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str, below: u8| -> Option<u8> {
            let is_short = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|number: &u8| is_short && *number < below)
        };
        let (hour, minute) = number(hour, 24).zip(number(minute, 60)).ok_or_else(wrong)?;
        Self::cron(&format!("{minute} {hour} * * *"))
    }

    /// The first time after this one; `None` if there is none.
    pub(crate) fn after(&self, time: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        match self {
            Self::Every(seconds) => {
                let period = i64::from(*seconds);
                let next = (time.timestamp().div_euclid(period) + 1) * period;
                DateTime::from_timestamp_secs(next)
            }
            Self::Cron(cron) => {
                let next = cron.find_next_occurrence(&time.with_timezone(&zone), false).ok()?;
                // A schedule must never go round on the spot.
                Some(next.with_timezone(&Utc)).filter(|next| *next > time)
            }
        }
    }

    /// The last time up to this one. `first` is one.
    fn last(&self, first: DateTime<Utc>, until: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        // Forwards from an hour ago, two, four: one search for each time that was missed while the machine
        // slept is only needed as far as there were many.
        let mut look_back = TimeDelta::hours(1);
        loop {
            let from = until.checked_sub_signed(look_back).map_or(first, |from| from.max(first));
            let times = std::iter::successors(Some(from), |time| self.after(*time, zone));
            let last = times.skip(1).take_while(|time| *time <= until).last();
            match last {
                Some(last) => return last,
                None if from == first => return first,
                None => look_back = look_back * 2,
            }
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(seconds) => write!(f, "every {seconds} s"),
            Self::Cron(cron) => f.write_str(cron.as_str()),
        }
    }
}

/// A task that is to run now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Its place in the schedule.
    pub(crate) task: usize,
    /// The time it is due at: the same on every node.
    pub(crate) at: DateTime<Utc>,
    /// The time after that.
    pub(crate) next: Option<DateTime<Utc>>,
}

/// What is still to come.
#[derive(Debug)]
pub(crate) struct Timetable {
    times: Vec<When>,
    zone: Tz,
    /// Of each task.
    next: Vec<Option<DateTime<Utc>>>,
    /// The latest time it was told.
    seen: DateTime<Utc>,
}

impl Timetable {
    /// What comes after now.
    pub(crate) fn new(times: Vec<When>, zone: Tz, now: DateTime<Utc>) -> Self {
        let mut timetable = Self { next: Vec::new(), times, zone, seen: now };
        timetable.look_ahead(now);
        timetable
    }

    fn look_ahead(&mut self, now: DateTime<Utc>) {
        self.next = self.times.iter().map(|when| when.after(now, self.zone)).collect();
        self.seen = now;
    }

    /// What has become due since the last time; a task that has missed several of its times, once.
    pub(crate) fn tick(&mut self, now: DateTime<Utc>) -> Vec<Due> {
        if now < self.seen {
            if self.seen - now > CORRECTION {
                tracing::warn!(from = %self.seen, to = %now, "the clock was set back: the schedule goes on from there");
                self.look_ahead(now);
            }
            return Vec::new();
        }
        self.seen = now;
        let (zone, times) = (self.zone, &self.times);
        let tasks = times.iter().zip(&mut self.next).enumerate();
        let due = tasks.filter_map(|(task, (when, next))| {
            let first = next.filter(|next| *next <= now)?;
            let at = when.last(first, now, zone);
            *next = when.after(now, zone);
            Some(Due { task, at, next: *next })
        });
        due.collect()
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<DateTime<Utc>> {
        self.next.iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests;

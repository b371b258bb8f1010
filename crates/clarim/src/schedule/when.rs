//! The times at which tasks are due. The clock is a parameter.

use std::fmt;
use std::time::Duration;

use chrono::{
    DateTime, LocalResult, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _, Timelike as _, Utc,
};
use chrono_tz::Tz;
use croner::Cron;

use super::window::Window;
use crate::error::problems::ScheduleProblem;

/// A clock that is set back by more than this was wrong before. If it is set back by less, the schedule waits
/// until it has caught up, like cron.
const CORRECTION: TimeDelta = TimeDelta::hours(3);

/// Number of times outside of its window after which a task counts as never due: years of a daily task.
const MAX_CLOSED: u32 = 2000;

/// The times of a task.
#[derive(Debug, Clone)]
pub(crate) enum When {
    /// Multiples of this number of seconds since 1970.
    Every(u32),
    /// The times of a cron expression with `*` in minutes or hours, which follow real time.
    Cron(Box<Cron>),
    /// The times of day of a cron expression, each of them once.
    Daily(Box<Cron>),
    /// Those of the times that are within the window.
    Within(Box<Self>, Window),
}

impl When {
    pub(crate) fn every(period: Duration) -> Result<Self, ScheduleProblem> {
        match u32::try_from(period.as_secs()) {
            Ok(seconds) if seconds > 0 && period.subsec_nanos() == 0 => Ok(Self::Every(seconds)),
            _ => Err(ScheduleProblem::Period { period }),
        }
    }

    pub(crate) fn cron(expression: &str) -> Result<Self, ScheduleProblem> {
        let cron = expression.parse::<Cron>().map_err(|error| ScheduleProblem::Cron {
            expression: expression.to_owned(),
            problem: error.to_string(),
        })?;
        let cron = Box::new(cron);
        Ok(if follows_real_time(expression) { Self::Cron(cron) } else { Self::Daily(cron) })
    }

    /// On the days of the last three fields of a cron expression, at a time like `13:00`.
    pub(crate) fn on_days(days: &str, time: &str) -> Result<Self, ScheduleProblem> {
        let time = time_of_day(time)?;
        Self::cron(&format!("{} {} {days}", time.minute(), time.hour()))
    }

    /// Those of the times that are within the window.
    pub(crate) fn within(self, window: Window) -> Self {
        if window.is_always() { self } else { Self::Within(Box::new(self), window) }
    }

    /// The first time after this one, if there is one.
    pub(crate) fn after(&self, time: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        match self {
            Self::Every(seconds) => {
                let period = i64::from(*seconds);
                let next = (time.timestamp().div_euclid(period) + 1) * period;
                DateTime::from_timestamp_secs(next)
            }
            Self::Cron(cron) => {
                let next = cron.find_next_occurrence(&time.with_timezone(&zone), false).ok()?;
                // Guards against a search that does not advance, which would be an endless loop.
                Some(next.with_timezone(&Utc)).filter(|next| *next > time)
            }
            Self::Daily(cron) => {
                // Searched as if there were no changes of the clock, in the local time read as UTC.
                let mut local = time.with_timezone(&zone).naive_local();
                loop {
                    local = cron.find_next_occurrence(&local.and_utc(), false).ok()?.naive_utc();
                    let next = instant(local, zone)?;
                    // A time in the second of two equal hours was due in the first.
                    if next > time {
                        return Some(next);
                    }
                }
            }
            Self::Within(when, window) => when.after_within(window, time, zone),
        }
    }

    /// The first time after this one that is within the window.
    fn after_within(
        &self,
        window: &Window,
        mut time: DateTime<Utc>,
        zone: Tz,
    ) -> Option<DateTime<Utc>> {
        for _ in 0..MAX_CLOSED {
            let next = self.after(time, zone)?;
            let Some(opens) = window.closed_until(next.with_timezone(&zone).naive_local()) else {
                return Some(next);
            };
            // A second earlier, because the window is open at its start.
            time = next.max(instant(opens, zone)? - TimeDelta::seconds(1));
        }
        None
    }

    /// The last time up to `until`. `first` is such a time.
    fn last(&self, first: DateTime<Utc>, until: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        // Expressions can only be searched forwards. Starting an hour ago, then two, then four, keeps the
        // number of searches small after the machine was asleep for long.
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

/// A time like `13:00`.
pub(crate) fn time_of_day(text: &str) -> Result<NaiveTime, ScheduleProblem> {
    let number = |text: &str| -> Option<u32> {
        let is_short = matches!(text.len(), 1 | 2) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| is_short)
    };
    let time = text
        .split_once(':')
        .and_then(|(hour, minute)| NaiveTime::from_hms_opt(number(hour)?, number(minute)?, 0));
    time.ok_or_else(|| ScheduleProblem::TimeOfDay { text: text.to_owned() })
}

/// Whether minutes or hours have `*`.
fn follows_real_time(expression: &str) -> bool {
    if let Some(name) = expression.trim().strip_prefix('@') {
        return name.eq_ignore_ascii_case("hourly");
    }
    let fields: Vec<&str> = expression.split_whitespace().collect();
    // With more than five fields, the first one is seconds.
    let minutes = usize::from(fields.len() > 5);
    fields.iter().skip(minutes).take(2).any(|field| field.contains(['*', '?']))
}

/// The instant of a local time: the first of two, and right after a gap that has the time in it.
fn instant(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    /// In 2011, Samoa left out a whole day.
    const LONGEST_GAP: i64 = 25 * 60;
    let gap = local - TimeDelta::seconds(local.and_utc().timestamp().rem_euclid(60));
    let after = (1..=LONGEST_GAP).map(|minutes| gap + TimeDelta::minutes(minutes));
    std::iter::once(local).chain(after).find_map(|local| match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.to_utc()),
        LocalResult::None => None,
    })
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(seconds) => write!(f, "every {seconds} s"),
            Self::Cron(cron) | Self::Daily(cron) => f.write_str(cron.as_str()),
            Self::Within(when, window) => write!(f, "{when}{window}"),
        }
    }
}

/// A task that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// The task's index in the schedule.
    pub(crate) task: usize,
    /// The time at which it was due, the same on every node.
    pub(crate) at: DateTime<Utc>,
    /// The task's next time.
    pub(crate) next: Option<DateTime<Utc>>,
}

/// The next time of each task.
#[derive(Debug)]
pub(crate) struct Timetable {
    times: Vec<When>,
    zone: Tz,
    /// The next time of each task.
    next: Vec<Option<DateTime<Utc>>>,
    /// The latest time of the clock.
    seen: DateTime<Utc>,
}

impl Timetable {
    /// A timetable of the times after `now`.
    pub(crate) fn new(times: Vec<When>, zone: Tz, now: DateTime<Utc>) -> Self {
        let mut timetable = Self { next: Vec::new(), times, zone, seen: now };
        timetable.look_ahead(now);
        timetable
    }

    fn look_ahead(&mut self, now: DateTime<Utc>) {
        self.next = self.times.iter().map(|when| when.after(now, self.zone)).collect();
        self.seen = now;
    }

    /// The tasks that have become due since the last call. A task that missed several times is due once.
    pub(crate) fn tick(&mut self, now: DateTime<Utc>) -> Vec<Due> {
        if now < self.seen {
            if self.seen - now > CORRECTION {
                tracing::warn!(from = %self.seen, to = %now, "the clock was set back; the schedule goes on from the new time");
                self.look_ahead(now);
            }
            return Vec::new();
        }
        self.seen = now;
        let zone = self.zone;
        let tasks = self.times.iter().zip(&mut self.next).enumerate();
        let due = tasks.filter_map(|(task, (when, next))| {
            let first = next.filter(|next| *next <= now)?;
            let at = when.last(first, now, zone);
            *next = when.after(now, zone);
            Some(Due { task, at, next: *next })
        });
        due.collect()
    }

    /// The next time at which a task is due.
    pub(crate) fn next(&self) -> Option<DateTime<Utc>> {
        self.next.iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests;

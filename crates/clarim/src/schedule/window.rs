//! The days and hours within which a task runs.

use std::fmt;

use chrono::{Datelike as _, Days, NaiveDateTime, NaiveTime, Weekday};

/// The days and hours within which a task runs, in local time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    pub(crate) weekdays: bool,
    pub(crate) hours: Option<Hours>,
}

/// Times of day, both included. If `from` is later than `until`, midnight is between them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hours {
    pub(crate) from: NaiveTime,
    pub(crate) until: NaiveTime,
}

impl Window {
    pub(crate) fn is_always(&self) -> bool {
        !self.weekdays && self.hours.is_none()
    }

    /// A later time before which the window is closed, if it is closed at this time.
    pub(crate) fn closed_until(&self, time: NaiveDateTime) -> Option<NaiveDateTime> {
        let tomorrow = time.date().checked_add_days(Days::new(1))?;
        if self.weekdays && matches!(time.weekday(), Weekday::Sat | Weekday::Sun) {
            return Some(tomorrow.and_time(NaiveTime::MIN));
        }
        let Hours { from, until } = self.hours?;
        let is_late = time.time() > until;
        match (time.time() < from, is_late) {
            (false, true) if from <= until => Some(tomorrow.and_time(from)),
            (true, _) if from <= until || is_late => Some(time.date().and_time(from)),
            _ => None,
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.weekdays {
            f.write_str(" on weekdays")?;
        }
        match self.hours {
            Some(Hours { from, until }) => {
                write!(f, " between {} and {}", from.format("%H:%M"), until.format("%H:%M"))
            }
            None => Ok(()),
        }
    }
}

//! The schedule for people.

use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Schedule, Task};
use crate::Error;

impl Schedule {
    /// A line for each task: what it is called, when it is due, and when it is next. For a subcommand of the
    /// application.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use clarim::schedule::Schedule;
    ///
    /// let schedule = Schedule::new()
    ///     .call("prune", || async {}).daily_at("03:30").without_overlapping()
    ///     .call("beat", || async {}).every(Duration::from_secs(30));
    /// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_614_400); // 2026-01-05 12:00 UTC
    /// assert_eq!(schedule.list(now)?, "\
    /// prune  30 3 * * *  next 2026-01-06 03:30:00 UTC, in 15 h 30 min  without overlapping
    /// beat   every 30 s  next 2026-01-05 12:00:30 UTC, in 30 s
    /// ");
    /// # Ok::<(), clarim::Error>(())
    /// ```
    ///
    /// # Errors
    /// With everything that is wrong with the schedule.
    pub fn list(&self, now: SystemTime) -> Result<String, Error> {
        let now: DateTime<Utc> = now.into();
        let rows: Vec<[String; 4]> = (self.tasks.iter().zip(self.times()?))
            .map(|(task, when)| {
                let next = when.after(now, self.zone).map_or_else(
                    || "never due".to_owned(),
                    |next| {
                        let at = next.with_timezone(&self.zone).format("%Y-%m-%d %H:%M:%S %Z");
                        format!("next {at}, in {}", in_words(next - now))
                    },
                );
                [task.name.clone(), when.to_string(), next, task.conditions()]
            })
            .collect();
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let (name, when, next) = (width(0), width(1), width(2));
        let line = |[a, b, c, d]: &[String; 4]| {
            let line = format!("{a:name$}  {b:when$}  {c:next$}  {d}");
            format!("{}\n", line.trim_end())
        };
        Ok(rows.iter().map(line).collect())
    }
}

impl Task {
    fn conditions(&self) -> String {
        let conditions =
            [(self.without_overlapping, "without overlapping"), (self.on_one_node, "on one node")];
        let of_this = conditions.into_iter().filter_map(|(is_so, what)| is_so.then_some(what));
        of_this.collect::<Vec<_>>().join(", ")
    }
}

/// The two largest units of it.
fn in_words(time: TimeDelta) -> String {
    let seconds = time.num_seconds();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let units = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s")];
    let shown: Vec<String> = units
        .into_iter()
        .skip_while(|(number, _)| *number == 0)
        .take(2)
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    if shown.is_empty() { "less than 1 s".to_owned() } else { shown.join(" ") }
}

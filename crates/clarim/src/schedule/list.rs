//! The list of a schedule's tasks.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::task::Task;
use super::when::When;

/// One line for each task: name, time, next run, conditions.
pub(crate) fn table(tasks: &[Task], times: &[When], zone: Tz, now: DateTime<Utc>) -> String {
    let rows: Vec<[String; 4]> = (tasks.iter().zip(times))
        .map(|(task, when)| {
            let next = when.after(now, zone).map_or_else(
                || "not due again".to_owned(),
                |next| {
                    let at = next.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z");
                    format!("next {at}, in {}", duration(next - now))
                },
            );
            [task.name.clone(), when.to_string(), next, conditions(task)]
        })
        .collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let [name, when, next] = [0, 1, 2].map(width);
    let line = |[a, b, c, d]: &[String; 4]| {
        let line = format!("{a:name$}  {b:when$}  {c:next$}  {d}");
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

fn conditions(task: &Task) -> String {
    let conditions = [
        (!task.conditions.is_empty(), "when a condition holds"),
        (task.without_overlapping, "without overlapping"),
        (task.on_one_node, "on one node"),
    ];
    let set = conditions.into_iter().filter_map(|(is_set, name)| is_set.then_some(name));
    set.collect::<Vec<_>>().join(", ")
}

/// A duration in its two largest units.
fn duration(time: TimeDelta) -> String {
    let seconds = time.num_seconds();
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> = units
        .into_iter()
        .skip_while(|(number, _)| *number == 0)
        .take(2)
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    if shown.is_empty() { "less than 1 s".to_owned() } else { shown.join(" ") }
}

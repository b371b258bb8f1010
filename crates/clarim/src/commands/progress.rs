//! Output of the commands.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Local};

use clarim_queue::{FailedJob, JobState, QueueSize, Report};

use crate::jobs::job::Job;

const GRAY: Style = AnsiColor::BrightBlack.on_default();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// A time in the local time zone.
pub(crate) fn time(of: SystemTime) -> String {
    DateTime::<Local>::from(of).format("%Y-%m-%d %H:%M:%S").to_string()
}

pub(crate) fn now() -> String {
    time(SystemTime::now())
}

/// Width of the terminal in columns; 100 if there is none.
pub(crate) fn width() -> usize {
    let found = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    found.unwrap_or(100).clamp(60, 150)
}

/// A line about a job: time, name, duration and state. An error gets a second line.
pub(crate) fn report(now: &str, report: &Report<'_>, width: usize) -> String {
    let (took, style, state, error) = match &report.state {
        JobState::Running => (None, YELLOW, "RUNNING".to_owned(), None),
        JobState::Done { took } => (Some(took), GREEN, "DONE".to_owned(), None),
        JobState::Retrying { took, error, after } => {
            (Some(took), YELLOW, format!("RETRY IN {}", short(*after)), Some(error))
        }
        JobState::Failed { took, error } => (Some(took), RED, "FAIL".to_owned(), Some(error)),
        JobState::LeaseLost { took } => (Some(took), RED, "LEASE LOST".to_owned(), None),
        _ => (None, GRAY, "UNKNOWN".to_owned(), None),
    };
    let name = match report.name {
        "" => format!("job {}", report.id),
        name => clean(name),
    };
    let took = took.map(|took| format!("{} ", short(*took))).unwrap_or_default();
    let used = [now, &name, &took, &state].map(|text| text.chars().count()).iter().sum::<usize>();
    // Two columns of indentation, and a space between the parts
    let dots = ".".repeat(width.saturating_sub(used + 5).max(2));
    let line =
        format!("  {GRAY}{now}{GRAY:#} {name} {GRAY}{dots} {took}{GRAY:#}{style}{state}{style:#}");
    match error {
        Some(error) => format!("{line}\n      {GRAY}{}{GRAY:#}", clean(error)),
        None => line,
    }
}

/// The table of failed jobs.
pub(crate) fn failed(jobs: &[FailedJob]) -> String {
    if jobs.is_empty() {
        return "No job has failed.".to_owned();
    }
    let row = |job: &FailedJob| {
        let event = Job::from_json(&job.payload)
            .map_or_else(|_| "(unreadable)".to_owned(), |job| job.event);
        let texts = [job.id.to_string(), time(job.failed_at), clean(&job.queue), clean(&event)];
        [&texts[..], &[clean(&job.error)]].concat()
    };
    table(&["ID", "FAILED AT", "QUEUE", "EVENT", "ERROR"], jobs.iter().map(row).collect())
}

/// The table of queues.
pub(crate) fn sizes(queues: &[QueueSize]) -> String {
    let row = |size: &QueueSize| {
        let oldest = size.oldest.map_or_else(|| "-".to_owned(), short);
        let numbers = [size.waiting, size.later, size.running].map(|number| number.to_string());
        [&[clean(&size.queue)], &numbers[..], &[oldest]].concat()
    };
    if queues.is_empty() {
        return "The queues are empty.".to_owned();
    }
    table(&["QUEUE", "WAITING", "LATER", "RUNNING", "OLDEST"], queues.iter().map(row).collect())
}

fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|text| (*text).to_owned()).collect();
    let rows = [vec![head], rows].concat();
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A duration in fitting units: 12.34ms, 5.00s, 3m 5s, 2h 10m.
fn short(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{time:.2?}"),
        seconds @ 60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        seconds => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The text in one line and without control characters: errors may quote another server.
fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

pub(crate) fn counted(jobs: u64) -> String {
    if jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") }
}

/// Prints a line. A closed pipe is ignored.
pub(crate) fn print(text: &str) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

pub(crate) fn print_error(text: &str) {
    let _ = writeln!(anstream::stderr(), "error: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(state: JobState<'_>) -> String {
        let shipped = Report::new(7, "default", "App\\Events\\Shipped", state);
        let text = report("12:00:00", &shipped, 60);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn the_last_column_is_the_jobs_state() {
        let took = Duration::from_micros(12_340);
        let running = shown(JobState::Running);
        assert_eq!(running, r"  12:00:00 App\Events\Shipped ...................... RUNNING");
        let done = shown(JobState::Done { took });
        assert_eq!(done, r"  12:00:00 App\Events\Shipped ................. 12.34ms DONE");
        assert_eq!((running.len(), done.len()), (60, 60));
        let error = "refused:\n\u{1b}[31mno";
        let after = Duration::from_secs(5);
        let again = shown(JobState::Retrying { took, error, after });
        let (line, cause) = again.split_once('\n').unwrap();
        assert!(line.ends_with(". 12.34ms RETRY IN 5.00s"), "{line}");
        assert_eq!(cause, "      refused:  [31mno", "without control characters");
    }

    #[test]
    fn columns_of_tables_are_aligned() {
        let mut size = QueueSize::new("default".to_owned(), 12, 3, 1);
        size.oldest = Some(Duration::from_secs(185));
        let shown = sizes(&[size, QueueSize::new("high".to_owned(), 0, 0, 0)]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "QUEUE    WAITING  LATER  RUNNING  OLDEST");
        assert_eq!(lines[1], "default  12       3      1        3m 5s");
        assert_eq!(lines[2], "high     0        0      0        -");
        assert_eq!(sizes(&[]), "The queues are empty.");
    }
}

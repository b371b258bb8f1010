//! What people at a terminal see of a queue.

use std::time::{Duration, SystemTime};

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Local};

use super::{FailedJob, QueueSize, Report, State};

const GRAY: Style = AnsiColor::BrightBlack.on_default();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// Local time, as people write it.
pub(crate) fn time(of: SystemTime) -> String {
    DateTime::<Local>::from(of).format("%Y-%m-%d %H:%M:%S").to_string()
}

pub(crate) fn now() -> String {
    time(SystemTime::now())
}

/// Columns of the terminal, or of a usual one where there is none.
pub(crate) fn width() -> usize {
    let found = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    found.unwrap_or(100).clamp(60, 150)
}

/// A job's line: when, what, how long, and what became of it. An error has a line of its own.
pub(crate) fn report(now: &str, report: &Report<'_>, width: usize) -> String {
    let (took, style, state, error) = match &report.state {
        State::Running => (None, YELLOW, "RUNNING".to_owned(), None),
        State::Done { took } => (Some(took), GREEN, "DONE".to_owned(), None),
        State::Again { took, error, after } => {
            (Some(took), YELLOW, format!("AGAIN IN {}", short(*after)), Some(error))
        }
        State::Failed { took, error } => (Some(took), RED, "FAIL".to_owned(), Some(error)),
        State::Lost { took } => (Some(took), RED, "LOST".to_owned(), None),
    };
    let name = match report.event {
        "" => format!("job {}", report.id),
        event => clean(event),
    };
    let took = took.map(|took| format!("{} ", short(*took))).unwrap_or_default();
    let used = [now, &name, &took, &state].map(|text| text.chars().count()).iter().sum::<usize>();
    // Two columns before all, and a space between the parts
    let dots = ".".repeat(width.saturating_sub(used + 5).max(2));
    let line =
        format!("  {GRAY}{now}{GRAY:#} {name} {GRAY}{dots} {took}{GRAY:#}{style}{state}{style:#}");
    match error {
        Some(error) => format!("{line}\n      {GRAY}{}{GRAY:#}", clean(error)),
        None => line,
    }
}

/// The jobs that were given up.
pub(crate) fn failed(jobs: &[FailedJob]) -> String {
    if jobs.is_empty() {
        return "No job has failed.".to_owned();
    }
    let row = |job: &FailedJob| {
        let event = job.event().unwrap_or_else(|| "(cannot be read)".to_owned());
        let texts = [job.id.to_string(), time(job.failed_at), clean(&job.queue), clean(&event)];
        [&texts[..], &[clean(&job.error)]].concat()
    };
    table(&["ID", "FAILED AT", "QUEUE", "EVENT", "ERROR"], jobs.iter().map(row).collect())
}

/// What is in the queues.
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

/// With the unit that fits: 12.34ms, 5.00s, 3m 5s, 2h 10m.
fn short(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{time:.2?}"),
        seconds @ 60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        seconds => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// In one line, and without what a terminal would obey: an error may quote what another server has said.
fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(state: State<'_>) -> String {
        let (id, queue, event, attempt) = (7, "default", "App\\Events\\Shipped", 1);
        let text = report("12:00:00", &Report { id, queue, event, attempt, state }, 60);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn a_line_says_what_became_of_the_job_in_the_last_column() {
        let took = Duration::from_micros(12_345);
        let running = shown(State::Running);
        assert_eq!(running, r"  12:00:00 App\Events\Shipped ...................... RUNNING");
        let done = shown(State::Done { took });
        assert_eq!(done, r"  12:00:00 App\Events\Shipped ................. 12.35ms DONE");
        assert_eq!((running.len(), done.len()), (60, 60));
        let (error, after) = ("refused:\n\u{1b}[31mno", Duration::from_secs(5));
        let again = shown(State::Again { took, error, after });
        let (line, cause) = again.split_once('\n').unwrap();
        assert!(line.ends_with(". 12.35ms AGAIN IN 5.00s"), "{line}");
        assert_eq!(cause, "      refused:  [31mno", "nothing that a terminal would obey");
    }

    #[test]
    fn tables_have_columns() {
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

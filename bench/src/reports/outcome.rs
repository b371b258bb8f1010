//! What loads have cost servers, as tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::report::Report;

/// What one load has cost one server, in all rounds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) load: String,
    /// The load's command, and its number of subscribers if plots show it by that.
    pub(crate) kind: String,
    pub(crate) scale: Option<usize>,
    pub(crate) server: String,
    /// Values of each valid round.
    pub(crate) figures: BTreeMap<String, Vec<f64>>,
    /// Notes on the figures.
    pub(crate) marks: BTreeSet<String>,
    /// Why rounds were invalid.
    pub(crate) failures: Vec<String>,
}

impl Outcome {
    pub(crate) fn add(&mut self, report: Result<Report>) {
        match report {
            Ok(report) => {
                for (name, value) in report.figures {
                    self.figures.entry(name).or_default().push(value);
                }
                self.marks.extend(report.marks);
            }
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }
}

/// One load's medians with their range, as Markdown: a column for each server, with its ratio to the first,
/// and notes below.
pub(crate) fn table(results: &[Outcome]) -> String {
    let mut text = format!("\n### {}\n\n| |", results.first().map_or("", |r| r.load.as_str()));
    for result in results {
        let _ = write!(text, " {} |", result.server);
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(results.len()));
    let names: BTreeSet<&String> =
        results.iter().flat_map(|result| result.figures.keys()).collect();
    for name in names {
        let _ = write!(text, "\n| {name} |");
        let first = results.first().and_then(|result| median(result.figures.get(name)?));
        for (n, result) in results.iter().enumerate() {
            text.push_str(&cell(result.figures.get(name), first.filter(|_| n > 0)));
        }
    }
    text.push('\n');
    for result in results {
        for note in result.marks.iter().chain(&result.failures) {
            let _ = write!(text, "\n- {}: {note}", result.server);
        }
    }
    text
}

fn cell(values: Option<&Vec<f64>>, first: Option<f64>) -> String {
    let Some((values, median)) = values.and_then(|values| Some((values, median(values)?))) else {
        return " – |".to_owned();
    };
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut cell = format!(" **{}** ({}…{})", short(median), short(low), short(high));
    if let Some(first) = first.filter(|first| *first > 0.0) {
        let _ = write!(cell, " ×{:.2}", median / first);
    }
    cell + " |"
}

pub(crate) fn short(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return sorted.get(middle).copied();
    }
    Some((sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::{Outcome, median, table};

    #[test]
    fn a_table_has_medians_and_ratios() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        let outcome = |server: &str, values: &[f64]| Outcome {
            load: "load".to_owned(),
            server: server.to_owned(),
            figures: [("µs".to_owned(), values.to_vec())].into(),
            ..Outcome::default()
        };
        let mut bad = outcome("bad", &[]);
        bad.add(Err(anyhow::anyhow!("invalid measurement: 1 lost")));
        let text = table(&[outcome("floor", &[2.0, 4.0, 3.0]), outcome("fast", &[1.5]), bad]);
        assert!(text.contains("| µs | **3.00** (2.00…4.00) | **1.50** (1.50…1.50) ×0.50 | – |"));
        assert!(text.ends_with("- bad: invalid measurement: 1 lost"), "{text}");
    }
}

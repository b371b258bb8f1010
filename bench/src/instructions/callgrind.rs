//! What callgrind has counted: the file it leaves behind.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// What makes callgrind write the files that are read here: names and numbers in full.
pub(crate) const OPTIONS: [&str; 4] =
    ["--tool=callgrind", "--compress-strings=no", "--compress-pos=no", "--quiet"];

/// Instructions of a run, or of a part of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) total: f64,
    /// Of each function itself: without those that it calls, with those that are inlined in it.
    functions: BTreeMap<String, f64>,
}

impl Cost {
    /// Reads a file that was written with [`OPTIONS`].
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut cost = Self::default();
        let mut total = None;
        let mut function = None;
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(events) = line.strip_prefix("events: ") {
                ensure!(events == "Ir", "not instructions, but {events}");
            } else if let Some(number) = line.strip_prefix("totals: ") {
                total = Some(number.trim().parse()?);
            } else if let Some(name) = line.strip_prefix("fn=") {
                function = Some(cost.functions.entry(plain(name)).or_default());
            } else if line.starts_with("calls=") {
                // The line behind it is the cost of what was called, which has lines of its own.
                lines.next();
            } else if line.starts_with(|first: char| first.is_ascii_digit()) {
                let (_, number) = line.split_once(' ').context("a line without a number")?;
                let function = function.as_deref_mut().context("a number without a function")?;
                *function += number.trim().parse::<f64>()?;
            }
        }
        // Written last: without it the program did not end as it should.
        cost.total = total.context("callgrind's file is not whole: it has no totals")?;
        Ok(cost)
    }

    /// Subtracts `other` from this cost.
    pub(crate) fn beyond(mut self, other: &Self) -> Self {
        self.total -= other.total;
        for (name, number) in &other.functions {
            *self.functions.entry(name.clone()).or_default() -= number;
        }
        self
    }

    /// Divides the cost by `count`.
    pub(crate) fn each(mut self, count: u64) -> Self {
        self.total /= count as f64;
        self.functions.values_mut().for_each(|number| *number /= count as f64);
        self
    }

    /// The functions that have most.
    pub(crate) fn top(&self, count: usize) -> Vec<(&str, f64)> {
        let mut functions: Vec<(&str, f64)> =
            self.functions.iter().map(|(name, number)| (name.as_str(), *number)).collect();
        functions.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        functions.truncate(count);
        functions
    }
}

/// A function's name without what tells builds, and depths of recursion, apart.
fn plain(name: &str) -> String {
    let name = name.split_once('\'').map_or(name, |(name, _)| name);
    let is_hash = |text: &str| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    match name.rsplit_once("::h") {
        Some((path, last)) if is_hash(last) => path.to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::Cost;

    const FILE: &str = "# callgrind format
version: 1
creator: callgrind-3.19.0
cmd: target/release/clarim start
desc: Trigger: Program termination

positions: line
events: Ir
summary: 1000

ob=/target/release/clarim
fl=src/engine.rs
fn=clarim::turn::h0123456789abcdef
10 30
fi=src/outbox.rs
12 5
fe=src/engine.rs
cob=/lib/libc.so.6
cfi=???
cfn=send
calls=4 0
13 400

ob=/lib/libc.so.6
fl=???
fn=send
0 400

fn=walk'2
0 65

totals: 500
";

    fn parse(text: &str) -> Cost {
        Cost::parse(text).unwrap()
    }

    #[test]
    fn a_function_has_its_own_instructions_and_not_those_it_calls() {
        let cost = parse(FILE);
        assert_eq!(cost.total, 500.0);
        assert_eq!(cost.top(9), [("send", 400.0), ("walk", 65.0), ("clarim::turn", 35.0)]);
        assert_eq!(cost.top(1), [("send", 400.0)]);
    }

    #[test]
    fn start_up_does_not_count() {
        let longer = FILE.replace("0 400", "0 700").replace("totals: 500", "totals: 800");
        let cost = parse(&longer).beyond(&parse(FILE)).each(100);
        assert_eq!((cost.total, cost.top(1)), (3.0, vec![("send", 3.0)]));
    }

    #[test]
    fn half_a_file_is_refused() {
        let (half, _) = FILE.split_once("totals").unwrap();
        assert!(Cost::parse(half).unwrap_err().to_string().contains("not whole"));
        assert!(Cost::parse("").is_err());
    }

    #[test]
    fn other_events_than_instructions_are_refused() {
        let error = Cost::parse(&FILE.replace("events: Ir", "events: Ir Dr")).unwrap_err();
        assert_eq!(error.to_string(), "not instructions, but Ir Dr");
    }
}

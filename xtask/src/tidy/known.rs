//! Known breaches of the rules. Their number may only shrink.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Problem;
use crate::run::root;

const HEAD: &str = "\
# Known breaches of the project's rules, by rule and file. `cargo xtask tidy` fails where there are more.
# `cargo xtask tidy --update` writes the file again, as long as no rule has more of them in all.
";

/// Breaches by file.
type Counts = BTreeMap<String, usize>;

/// The file tidy.toml.
#[derive(Debug, Deserialize)]
pub(crate) struct Known {
    /// By crate and module: the other modules of the crate that it may import. A crate without a table is
    /// free.
    #[serde(default)]
    pub(crate) edges: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    /// By rule.
    #[serde(default)]
    breaches: BTreeMap<String, Counts>,
}

impl Known {
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(file()).unwrap_or_default();
        toml::from_str(&text).with_context(|| file().display().to_string())
    }

    /// Returns the breaches of files that have more than are known.
    pub(crate) fn exceeded(&self, problems: &[Problem]) -> Vec<Problem> {
        let now = count(problems);
        let is_more = |problem: &&Problem| {
            now[problem.rule][&problem.place] > self.of(problem.rule, &problem.place)
        };
        problems.iter().filter(is_more).cloned().collect()
    }

    /// Counts the known breaches that are gone.
    pub(crate) fn fewer(&self, problems: &[Problem]) -> usize {
        let now = count(problems);
        let of = |rule: &str, place: &str| {
            now.get(rule).and_then(|counts| counts.get(place)).copied().unwrap_or_default()
        };
        let all = self.breaches.iter().flat_map(|(rule, counts)| {
            counts.iter().map(move |(place, known)| known.saturating_sub(of(rule, place)))
        });
        all.sum()
    }

    /// Writes the breaches of now, except those of rules that have more in all.
    pub(crate) fn update(&mut self, problems: &[Problem]) -> Result<()> {
        let mut now = count(problems);
        let mut grown = Vec::new();
        for (rule, counts) in &mut now {
            let new: usize = counts.values().sum();
            if let Some(old) = self.breaches.get(rule)
                && new > old.values().sum()
            {
                grown.push(format!("{rule} has {new}"));
                counts.clone_from(old);
            }
        }
        self.breaches = now;
        fs::write(file(), self.to_text()?)?;
        ensure!(grown.is_empty(), "more breaches than before: {}", grown.join(", "));
        Ok(())
    }

    fn of(&self, rule: &str, place: &str) -> usize {
        let counts = self.breaches.get(rule);
        counts.and_then(|counts| counts.get(place)).copied().unwrap_or_default()
    }

    fn to_text(&self) -> Result<String> {
        let mut text = HEAD.to_owned();
        for (package, modules) in &self.edges {
            writeln!(
                text,
                "\n# The modules that a module of {package} may import, from the top down."
            )?;
            writeln!(text, "[edges.{package}]")?;
            for (module, others) in modules {
                writeln!(text, "{module} = {others:?}")?;
            }
        }
        for (rule, counts) in &self.breaches {
            writeln!(text, "\n[breaches.{rule}]")?;
            for (place, count) in counts {
                writeln!(text, "{place:?} = {count}")?;
            }
        }
        Ok(text)
    }
}

fn file() -> PathBuf {
    root().join("xtask/tidy.toml")
}

fn count(problems: &[Problem]) -> BTreeMap<String, Counts> {
    let mut all: BTreeMap<String, Counts> = BTreeMap::new();
    for problem in problems {
        let counts = all.entry(problem.rule.to_owned()).or_default();
        *counts.entry(problem.place.clone()).or_default() += 1;
    }
    all
}

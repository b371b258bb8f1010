//! Budgets of instructions in a checked-in file, and the verdict on a measured cost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Percent, for a guard without an entry in the file.
const TOLERANCE: f64 = 5.0;
/// Percent. A cost that is further below its budget could grow again unnoticed.
const SLACK: f64 = 15.0;
/// The key of the toolchain in the file.
const TOOLCHAIN: &str = "toolchain";

/// Budget for one unit of work.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    pub(crate) instructions: u64,
    /// Percent by which a cost may exceed it.
    tolerance: f64,
    /// Percent by which a cost may be below it before it is reported.
    #[serde(default = "Budget::default_slack")]
    slack: f64,
}

/// Verdict on a measured cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    Within,
    Over,
    FarBelow,
}

impl Budget {
    const fn default_slack() -> f64 {
        SLACK
    }

    /// Percent by which `measured` differs.
    pub(crate) fn difference(self, measured: f64) -> f64 {
        let budget = self.instructions as f64;
        (measured - budget) / budget * 100.0
    }

    pub(crate) fn judge(self, measured: f64) -> Judgement {
        let difference = self.difference(measured);
        if difference > self.tolerance {
            Judgement::Over
        } else if difference < -self.slack {
            Judgement::FarBelow
        } else {
            Judgement::Within
        }
    }

    /// Explains a cost outside of its budget, and the remedy.
    pub(crate) fn remark(self, name: &str, measured: f64) -> Option<String> {
        let Self { instructions, tolerance, .. } = self;
        let percent = self.difference(measured).abs();
        match self.judge(measured) {
            Judgement::Within => None,
            Judgement::Over => Some(format!(
                "{name} costs {measured:.0} instructions, {percent:.1} % more than its budget of \
                 {instructions} (tolerance {tolerance} %). `cargo xtask instructions --annotate \
                 {name}` shows the functions that execute them. If the change is worth it, raise \
                 the budget with `cargo xtask instructions --update`"
            )),
            Judgement::FarBelow => Some(format!(
                "{name} costs {measured:.0} instructions, {percent:.1} % less than its budget of \
                 {instructions}. Lower the budget with `cargo xtask instructions --update`, or \
                 the gain can be lost unnoticed"
            )),
        }
    }
}

/// Versions of the programs that the counts depend on.
pub(crate) fn toolchain() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok();
        let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
        text.map_or_else(|| format!("no {program}"), |text| text.trim().to_owned())
    };
    format!("{}, {}", version("rustc"), version("valgrind"))
}

/// The file of budgets.
#[derive(Debug)]
pub(crate) struct Budgets {
    file: PathBuf,
    text: String,
    content: Content,
}

#[derive(Debug, Deserialize)]
struct Content {
    /// Versions of the programs with which the budgets were measured.
    toolchain: String,
    #[serde(flatten)]
    budgets: BTreeMap<String, Budget>,
}

impl Budgets {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let name = || format!("budgets in {}", file.display());
        let text = std::fs::read_to_string(file).with_context(name)?;
        let content = toml::from_str(&text).with_context(name)?;
        Ok(Self { file: file.to_owned(), text, content })
    }

    /// Versions of the programs with which the budgets were measured.
    pub(crate) fn toolchain(&self) -> &str {
        &self.content.toolchain
    }

    /// Checks that each of `names` has a budget, and that there are no other budgets.
    pub(crate) fn check(&self, names: &[&str]) -> Result<()> {
        let file = self.file.display();
        for name in names {
            ensure!(
                self.content.budgets.contains_key(*name),
                "{file} has no budget for {name}: --update"
            );
        }
        let unknown = self.content.budgets.keys().find(|name| !names.contains(&name.as_str()));
        ensure!(unknown.is_none(), "{file}: nothing is called {:?}", unknown.map_or("", |n| n));
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Result<Budget> {
        let file = self.file.display();
        self.content.budgets.get(name).copied().with_context(|| format!("{file} has no {name}"))
    }

    /// Writes measured costs into the file.
    pub(crate) fn update(&self, measured: &[(&str, f64)]) -> Result<()> {
        let text = self.updated(measured, &toolchain());
        std::fs::write(&self.file, text)
            .with_context(|| format!("cannot write {}", self.file.display()))
    }

    /// Returns the file with new numbers. Comments, order and tolerances stay.
    fn updated(&self, measured: &[(&str, f64)], toolchain: &str) -> String {
        let mut lines: Vec<String> = self.text.lines().map(str::to_owned).collect();
        let entry = |(name, cost): &(&str, f64)| ((*name).to_owned(), self.entry(name, *cost));
        let toolchain = (TOOLCHAIN.to_owned(), format!("{toolchain:?}"));
        for (name, value) in std::iter::once(toolchain).chain(measured.iter().map(entry)) {
            let is_it = |line: &&mut String| {
                line.split_once('=').is_some_and(|(key, _)| key.trim() == name)
            };
            let line = format!("{name} = {value}");
            match lines.iter_mut().find(is_it) {
                Some(old) => *old = line,
                None => lines.push(line),
            }
        }
        lines.join("\n") + "\n"
    }

    fn entry(&self, name: &str, instructions: f64) -> String {
        let old = self.content.budgets.get(name);
        let tolerance = old.map_or(TOLERANCE, |budget| budget.tolerance);
        let slack = old.map_or(SLACK, |budget| budget.slack);
        let slack = if slack == SLACK { String::new() } else { format!(", slack = {slack}") };
        format!("{{ instructions = {instructions:.0}, tolerance = {tolerance}{slack} }}")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Budget, Budgets, Judgement};

    const BUDGET: Budget = Budget { instructions: 1_000, tolerance: 5.0, slack: 15.0 };

    fn budgets(text: &str) -> Budgets {
        let content = toml::from_str(text).unwrap();
        Budgets { file: "instructions.toml".into(), text: text.to_owned(), content }
    }

    #[test]
    fn costs_within_the_tolerance_have_no_remark() {
        for measured in [1_050.0, 1_000.0, 850.0] {
            assert_eq!(BUDGET.judge(measured), Judgement::Within, "{measured}");
            assert_eq!(BUDGET.remark("publish", measured), None);
        }
    }

    #[test]
    fn costs_over_the_tolerance_point_to_the_functions() {
        assert_eq!(BUDGET.judge(1_051.0), Judgement::Over);
        let text = BUDGET.remark("publish", 1_100.0).unwrap();
        assert!(
            text.starts_with(
                "publish costs 1100 instructions, 10.0 % more than its budget of 1000 "
            )
        );
        assert!(text.contains("--annotate publish"), "{text}");
    }

    #[test]
    fn costs_far_below_the_budget_ask_to_lower_it() {
        assert_eq!(BUDGET.judge(849.0), Judgement::FarBelow);
        let text = BUDGET.remark("publish", 800.0).unwrap();
        assert!(
            text.starts_with(
                "publish costs 800 instructions, 20.0 % less than its budget of 1000."
            )
        );
        assert!(text.contains("--update"), "{text}");
    }

    #[test]
    fn slack_is_configurable() {
        let loose = Budget { slack: 60.0, ..BUDGET };
        assert_eq!(loose.judge(401.0), Judgement::Within);
        assert_eq!(loose.judge(399.0), Judgement::FarBelow);
    }

    #[test]
    fn an_update_changes_only_the_numbers() {
        let old = "# Why.\ntoolchain = \"rustc 1\"\na = { instructions = 7, tolerance = 3 }\n\n# b\nab = { instructions = 9, tolerance = 5, slack = 60 }\n";
        let new = budgets(old).updated(&[("ab", 10.6), ("a", 8.0), ("c", 1.0)], "rustc 2");
        let expected = "# Why.\ntoolchain = \"rustc 2\"\na = { instructions = 8, tolerance = 3 }\n\n# b\nab = { instructions = 11, tolerance = 5, slack = 60 }\nc = { instructions = 1, tolerance = 5 }\n";
        assert_eq!(new, expected);
    }

    #[test]
    fn the_file_has_all_names_and_no_others() {
        let file = budgets("toolchain = \"rustc 1\"\na = { instructions = 7, tolerance = 3 }\n");
        assert!(file.check(&["a"]).is_ok());
        assert_eq!(
            file.check(&["a", "b"]).unwrap_err().to_string(),
            "instructions.toml has no budget for b: --update"
        );
        assert!(file.check(&[]).unwrap_err().to_string().ends_with("nothing is called \"a\""));
    }

    #[test]
    fn the_checked_in_file_is_whole() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml");
        let names = super::super::guards::GUARDS.map(|guard| guard.name);
        Budgets::read(&file).unwrap().check(&names).unwrap();
    }
}

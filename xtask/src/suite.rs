//! Runs steps beside each other, each with its output in a file.

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::build::IS_BUILT;
use crate::run::{command, root};
use crate::steps::{Lane, Step};

/// Lines of a failed step's output that are shown. The file has all.
const SHOWN: usize = 200;
/// The longest step takes a third of this on two busy cores, so a step that reaches it hangs.
const STEP_LIMIT: Duration = Duration::from_secs(30 * 60);
/// For a step whose commands were ended, to report it.
const GRACE: Duration = Duration::from_secs(30);

/// Steps that run as far as possible at the same time.
pub(crate) struct Suite {
    entries: Vec<Entry>,
    /// Set for all steps.
    env: &'static [(&'static str, &'static str)],
}

struct Entry {
    step: &'static Step,
    state: State,
}

enum State {
    Waiting,
    Running { child: Child, since: Instant, is_asked_to_end: bool },
    Passed(Duration),
    Failed(Duration),
}

impl Suite {
    pub(crate) fn new(steps: &'static [Step], belongs: fn(&Step) -> bool) -> Self {
        let chosen = steps.iter().filter(|step| belongs(step));
        let entries = chosen.map(|step| Entry { step, state: State::Waiting }).collect();
        Self { entries, env: &[] }
    }

    /// Adds variables to the environment of all steps.
    pub(crate) fn with_env(mut self, env: &'static [(&'static str, &'static str)]) -> Self {
        self.env = env;
        self
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = &'static Step> {
        self.entries.iter().map(|entry| entry.step)
    }

    /// Leaves out the steps before this one.
    pub(crate) fn start_from(&mut self, name: &str) -> Result<()> {
        let first = self.position(name)?;
        self.entries.drain(..first);
        Ok(())
    }

    /// Leaves out all steps but these.
    pub(crate) fn keep(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            self.position(name)?;
        }
        self.entries.retain(|entry| names.contains(&entry.step.name));
        Ok(())
    }

    fn position(&self, name: &str) -> Result<usize> {
        let position = self.entries.iter().position(|entry| entry.step.name == name);
        position.with_context(|| format!("there is no step {name:?} here: --list shows them"))
    }

    /// Runs everything. After a failure no further step starts. Whether all have passed.
    pub(crate) fn run(mut self) -> Result<bool> {
        let begun = Instant::now();
        std::fs::create_dir_all(root().join("target/log"))?;
        // Read at the start: a step may link this program anew.
        let program = std::env::current_exe()?;
        let program = program.to_str().context("the path of xtask is not UTF-8")?.to_owned();
        loop {
            self.end_hanging()?;
            self.reap()?;
            if !self.has_failed() {
                for at in 0..self.entries.len() {
                    if self.may_start(at) {
                        self.start(at, &program)?;
                    }
                }
            }
            if !self.entries.iter().any(Entry::is_running) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.report(begun.elapsed())
    }

    fn may_start(&self, at: usize) -> bool {
        let step = self.entries[at].step;
        let running = |lane: Lane| {
            self.entries.iter().any(|entry| entry.step.lane == lane && entry.is_running())
        };
        // Steps that were left out count as passed.
        let is_ready = step.after.iter().all(|name| {
            let before = self.entries.iter().find(|entry| entry.step.name == *name);
            before.is_none_or(|entry| matches!(entry.state, State::Passed(_)))
        });
        let is_free = match step.lane {
            Lane::Alone => self.entries[..at].iter().all(|entry| !entry.is_open()),
            lane => !running(lane) && !running(Lane::Alone),
        };
        matches!(self.entries[at].state, State::Waiting) && is_ready && is_free
    }

    /// Starts a step as a process of its own.
    fn start(&mut self, at: usize, program: &str) -> Result<()> {
        let is_built = self
            .entries
            .iter()
            .any(|entry| entry.step.name == "build" && matches!(entry.state, State::Passed(_)));
        let entry = &mut self.entries[at];
        println!("        {:<12} {}", entry.step.name, entry.step.what);
        let command = match entry.step.lane {
            Lane::Compute => command("nice", &["-n", "10", program, entry.step.name]),
            Lane::Tests | Lane::Clients | Lane::Alone => command(program, &[entry.step.name]),
        };
        let command = if is_built { command.env(IS_BUILT, "1") } else { command };
        let command =
            self.env.iter().fold(command, |command, (name, value)| command.env(name, value));
        let child = command.output_to(&entry.log())?.spawn()?;
        entry.state = State::Running { child, since: Instant::now(), is_asked_to_end: false };
        Ok(())
    }

    /// Looks which steps have ended, and shows the output of those that have failed: what still runs may
    /// take long.
    fn reap(&mut self) -> Result<()> {
        for entry in &mut self.entries {
            let State::Running { child, since, .. } = &mut entry.state else { continue };
            let Some(status) = child.try_wait()? else { continue };
            let time = since.elapsed();
            let name = entry.step.name;
            if status.success() {
                println!("{:>5} s {name:<12} passed", time.as_secs());
                entry.state = State::Passed(time);
            } else {
                println!("{:>5} s {name:<12} FAILED", time.as_secs());
                entry.state = State::Failed(time);
                entry.show_end_of_log()?;
            }
        }
        Ok(())
    }

    /// Ends the commands of steps that have reached the limit, which the steps then report.
    fn end_hanging(&mut self) -> Result<()> {
        for entry in &mut self.entries {
            let State::Running { child, since, is_asked_to_end } = &mut entry.state else {
                continue;
            };
            if since.elapsed() >= STEP_LIMIT + GRACE {
                child.kill()?;
            } else if since.elapsed() >= STEP_LIMIT && !*is_asked_to_end {
                let minutes = STEP_LIMIT.as_secs() / 60;
                println!("{:<12} has not ended in {minutes} minutes. What runs:", entry.step.name);
                // For the log; the end of the step does not depend on it.
                let _ = command("ps", &["-axo", "pid,ppid,etime,args"]).run();
                // Node's test runner tells which tests had not ended.
                command("pkill", &["-TERM", "-P", &child.id().to_string()]).succeeds();
                *is_asked_to_end = true;
            }
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.state, State::Failed(_)))
    }

    /// Shows the time and the result of each step.
    fn report(&self, total: Duration) -> Result<bool> {
        let mut passed = 0;
        let mut failed = 0;
        println!();
        for entry in &self.entries {
            let time = match &entry.state {
                State::Passed(time) => {
                    passed += 1;
                    format!("{:>5} s", time.as_secs())
                }
                State::Failed(time) => {
                    failed += 1;
                    format!("{:>5} s  FAILED", time.as_secs())
                }
                State::Waiting | State::Running { .. } => "not run".to_owned(),
            };
            println!("{:<12} {time}", entry.step.name);
        }
        println!("{:<12} {:>5} s", "in all", total.as_secs());
        ensure!(passed + failed > 0, "no step was run");
        println!("{passed} passed, {failed} failed");
        Ok(failed == 0)
    }
}

impl Entry {
    fn log(&self) -> PathBuf {
        root().join("target/log").join(self.step.name).with_extension("log")
    }

    fn show_end_of_log(&self) -> Result<()> {
        let text = std::fs::read(self.log())?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let end = lines.len().saturating_sub(SHOWN);
        println!("\n=== {} failed: {}\n", self.step.name, self.log().display());
        println!("{}\n", lines[end..].join("\n"));
        Ok(())
    }

    const fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    const fn is_open(&self) -> bool {
        matches!(self.state, State::Waiting) || self.is_running()
    }
}

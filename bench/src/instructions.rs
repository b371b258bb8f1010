//! Guards against costs that grow: instructions of the server in user space, counted by callgrind,
//! against checked-in budgets. Unlike times they do not depend on what else the machine does.

mod budget;
mod callgrind;
mod guards;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::servers::peers::Peers;
use crate::servers::server::Cores;
use budget::{Budgets, Judgement, toolchain};
use callgrind::Cost;
use guards::{Counter, GUARDS, Guard};

/// The server with budgets.
const PEER: &str = "clarim";
/// The number of functions to show.
const SHOWN: usize = 30;
/// Maximum number of measurements of a cost that is over its budget. Noise is not in all of them; the cost of
/// a change is.
const ATTEMPTS: usize = 3;

/// Options of the instruction counts.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Path to the file that describes the servers.
    #[arg(long, default_value = "bench/shipped.toml")]
    file: PathBuf,
    /// Path to the file of budgets.
    #[arg(long, default_value = "bench/instructions.toml")]
    budgets: PathBuf,
    /// Save the measured costs as the budgets.
    #[arg(long, conflicts_with = "annotate")]
    update: bool,
    /// Show the functions with the most instructions of one row, instead of comparing.
    #[arg(long, value_name = "NAME")]
    annotate: Option<String>,
    #[command(flatten)]
    cores: Cores,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    check_valgrind()?;
    let peers = Peers::read(&options.file)?.peer;
    let peer = peers.iter().find(|peer| peer.name == PEER);
    let peer = peer.with_context(|| format!("no server {PEER} in {}", options.file.display()))?;
    let mut counter = Counter { peer, cores: options.cores, counted: Vec::new() };
    if let Some(name) = &options.annotate {
        let guard = GUARDS.iter().find(|guard| guard.name == name);
        let names = GUARDS.map(|guard| guard.name).join(", ");
        let guard = guard.with_context(|| format!("nothing is called {name}: {names}"))?;
        annotate(guard, &counter.cost(guard)?);
        return Ok(());
    }
    let budgets = Budgets::read(&options.budgets)?;
    if !options.update {
        budgets.check(&GUARDS.map(|guard| guard.name))?;
    }
    let mut measured = Vec::new();
    for guard in &GUARDS {
        let mut cost = counter.cost(guard)?.total;
        for _ in 1..ATTEMPTS {
            if options.update || budgets.get(guard.name)?.judge(cost) != Judgement::Over {
                break;
            }
            counter.forget(guard);
            cost = cost.min(counter.cost(guard)?.total);
        }
        measured.push((guard.name, cost));
    }
    if options.update {
        budgets.update(&measured)?;
        println!("{} has new numbers: see git diff", options.budgets.display());
        return Ok(());
    }
    compare(&budgets, &measured)
}

/// Else it would be the server that does not start.
fn check_valgrind() -> Result<()> {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    match version {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("valgrind is needed to count instructions: apt-get install valgrind"),
    }
}

/// Prints a table, and what to do about costs that differ from their budgets. An error only if a cost is
/// over its budget, measured with the toolchain of the budgets: another compiler or valgrind shifts all
/// rows a little.
fn compare(budgets: &Budgets, measured: &[(&str, f64)]) -> Result<()> {
    println!("{:<24} {:>12} {:>12} {:>10}", "instructions per", "measured", "budget", "difference");
    let mut is_over = false;
    let mut remarks = Vec::new();
    for (guard, (name, measured)) in GUARDS.iter().zip(measured) {
        let budget = budgets.get(name)?;
        let row = format!("{} ({name})", guard.unit);
        let allowed = budget.instructions;
        let difference = budget.difference(*measured);
        println!("{row:<24} {measured:>12.0} {allowed:>12} {difference:>+8.1} %");
        is_over |= budget.judge(*measured) == Judgement::Over;
        remarks.extend(budget.remark(name, *measured));
    }
    let current = toolchain();
    if current != budgets.toolchain() {
        remarks.push(format!(
            "The budgets were measured with {}, these counts with {current}. Once no cost has grown \
             for another reason, commit `cargo xtask instructions --update`",
            budgets.toolchain()
        ));
        is_over = false;
    }
    for remark in &remarks {
        println!("\n{remark}.");
    }
    ensure!(!is_over, "a cost is over its budget");
    Ok(())
}

fn annotate(guard: &Guard, cost: &Cost) {
    println!("{:.0} instructions per {} ({})\n", cost.total, guard.unit, guard.name);
    for (function, instructions) in cost.top(SHOWN) {
        println!("{instructions:>10.1} {:>5.1} %  {function}", instructions / cost.total * 100.0);
    }
}

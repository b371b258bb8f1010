//! Imports between the modules of a crate: no cycles, and only the edges that tidy.toml allows.
//!
//! A module may use its parent and its children. Of modules with the same parent, the imports of each one and
//! all that is below it are looked at together.

mod graph;
mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;

use super::Problem;
use super::known::Known;
use super::source::Source;
use graph::{Edge, Graph};
use modules::Modules;

pub(crate) fn check(sources: &[Source], known: &Known, problems: &mut Vec<Problem>) -> Result<()> {
    for (package, modules) in crates(sources) {
        let graph = Graph::new(&modules);
        for edge in graph.in_cycles() {
            let Edge { from, to, file, line } = edge;
            problems.push(Problem {
                rule: "import-cycle",
                place: file.clone(),
                line: *line,
                message: format!("{from} imports {to}, which imports it back on some way"),
            });
        }
        let Some(allowed) = known.edges.get(package) else { continue };
        for edge in graph.top() {
            let Edge { from, to, file, line } = edge;
            if !allowed.get(from).is_some_and(|others| others.contains(to)) {
                let message =
                    format!("{from} may not import {to}: see [edges.{package}] in tidy.toml");
                let place = file.clone();
                problems.push(Problem { rule: "import-edge", place, line: *line, message });
            }
        }
    }
    Ok(())
}

/// The imports between the top-level modules of a crate, as tidy.toml has them.
pub(crate) fn edges(sources: &[Source], package: &str) -> String {
    let mut text = format!("[edges.{package}]\n");
    for (name, modules) in crates(sources) {
        if name != package {
            continue;
        }
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for Edge { from, to, .. } in Graph::new(&modules).top() {
            all.entry(from.clone()).or_default().insert(to.clone());
        }
        for (from, to) in all {
            let to: Vec<String> = to.into_iter().collect();
            let _ = writeln!(text, "{from} = {to:?}");
        }
    }
    text
}

/// The modules of each crate, by its package's name.
fn crates(sources: &[Source]) -> Vec<(&str, Modules)> {
    let roots = sources.iter().filter_map(|source| {
        let folder = source.name.strip_suffix("/src/lib.rs");
        let folder = folder.or_else(|| source.name.strip_suffix("/src/main.rs"))?;
        Some((folder, source))
    });
    roots
        .map(|(folder, root)| {
            let package = folder.rsplit('/').next().unwrap_or(folder);
            (package, Modules::read(root, sources))
        })
        .collect()
}

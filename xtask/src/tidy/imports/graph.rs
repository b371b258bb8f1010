//! Which modules import which, among those with the same parent.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Modules, Path};

/// An import of one module, or of something below it, by another one with the same parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    /// Where it is written.
    pub(super) file: String,
    pub(super) line: usize,
}

/// The imports of a crate, by the parent of the modules.
#[derive(Debug)]
pub(super) struct Graph {
    edges: BTreeMap<Path, Vec<Edge>>,
}

impl Graph {
    pub(super) fn new(modules: &Modules) -> Self {
        let mut edges: BTreeMap<Path, Vec<Edge>> = BTreeMap::new();
        for (from, module) in &modules.all {
            for (to, line) in modules.mentions(from) {
                let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                // A parent and its child.
                let (Some(a), Some(b)) = (from.get(common), to.get(common)) else { continue };
                edges.entry(from[..common].to_vec()).or_default().push(Edge {
                    from: a.clone(),
                    to: b.clone(),
                    file: module.file.clone(),
                    line,
                });
            }
        }
        Self { edges }
    }

    /// The imports between top-level modules.
    pub(super) fn top(&self) -> impl Iterator<Item = &Edge> {
        self.edges.get(&Path::new()).into_iter().flatten()
    }

    /// The imports that are part of a cycle.
    pub(super) fn in_cycles(&self) -> Vec<&Edge> {
        let mut found = Vec::new();
        for edges in self.edges.values() {
            let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
            for edge in edges {
                next.entry(&edge.from).or_default().insert(&edge.to);
            }
            found.extend(edges.iter().filter(|edge| reaches(&next, &edge.to, &edge.from)));
        }
        found
    }
}

fn reaches<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        if at == to {
            return true;
        }
        if seen.insert(at) {
            open.extend(next.get(at).into_iter().flatten());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Graph, Modules};
    use crate::tidy::source::Source;

    fn cycles(files: &[(&str, &str)]) -> Vec<String> {
        let source = |(name, text): &(&str, &str)| Source {
            name: format!("crates/a/src/{name}"),
            text: (*text).to_owned(),
        };
        let sources: Vec<Source> = files.iter().map(source).collect();
        let graph = Graph::new(&Modules::read(&sources[0], &sources));
        graph.in_cycles().iter().map(|edge| format!("{} {}", edge.from, edge.to)).collect()
    }

    #[test]
    fn modules_that_import_each_other_are_a_cycle() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::B; fn f() { println!(\"{}\", crate::c::C); }"),
            ("b.rs", "use super::c; fn f() -> c::C { c::C }"),
            ("c.rs", "#[cfg(test)] mod tests { use crate::a::A; }"),
        ];
        assert!(cycles(&files).is_empty());
        let mut back = files;
        back[3].1 = "fn f(_: crate::a::A) {}";
        let found = cycles(&back);
        for edge in ["a b", "b c", "a c", "c a"] {
            assert!(found.contains(&edge.to_owned()), "{edge} in {found:?}");
        }
    }

    #[test]
    fn what_a_parent_brings_in_is_followed() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use a::A;"),
            ("a.rs", "use crate::b::B;"),
            ("b/mod.rs", "mod inner;"),
            ("b/inner.rs", "use crate::A;"),
        ];
        assert_eq!(cycles(&files), ["a b", "b a"]);
    }

    #[test]
    fn a_parent_and_its_children_may_use_each_other() {
        let files =
            [("lib.rs", "mod a;"), ("a.rs", "mod b; use b::B;"), ("a/b.rs", "use super::A;")];
        assert!(cycles(&files).is_empty());
    }
}

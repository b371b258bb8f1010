//! The modules of a crate and the paths that each one names.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

use crate::tidy::source::Source;

/// Names from the root of the crate to a module, or to something in it.
pub(super) type Path = Vec<String>;

/// The modules that are files.
#[derive(Debug, Default)]
pub(super) struct Modules {
    pub(super) all: BTreeMap<Path, Module>,
}

#[derive(Debug, Default)]
pub(super) struct Module {
    pub(super) file: String,
    /// Paths as they are written, with their lines.
    mentions: Vec<(Path, usize)>,
    /// Names that `use` brings in.
    imports: BTreeMap<String, Path>,
}

impl Modules {
    /// Reads the modules of the crate with this root. What cannot be parsed has no imports: other steps
    /// say so.
    pub(super) fn read(root: &Source, sources: &[Source]) -> Self {
        let mut modules = Self::default();
        let folder = format!("{}/", root.folder());
        // A crate with a library and a program: each is a crate of its own.
        let other = if root.name.ends_with("lib.rs") { "main.rs" } else { "lib.rs" };
        let has_library = sources.iter().any(|source| source.name == format!("{folder}lib.rs"));
        for source in sources.iter().filter(|source| source.is_rust()) {
            let Some(name) = source.name.strip_prefix(&folder) else { continue };
            let is_other = name == other || name.starts_with("bin/");
            let is_root = source.name == root.name;
            if is_other || source.is_test() || (has_library && other == "lib.rs" && !is_root) {
                continue;
            }
            let name = name.trim_end_matches(".rs").trim_end_matches("/mod");
            let path: Path =
                if is_root { Path::new() } else { name.split('/').map(str::to_owned).collect() };
            let mut module = Module { file: source.name.clone(), ..Module::default() };
            if let Ok(file) = syn::parse_file(&source.text) {
                Reader { module: &mut module }.visit_file(&file);
            }
            modules.all.insert(path, module);
        }
        modules
    }

    /// Returns what each module mentions of the others: the module that it is in, and the line.
    pub(super) fn mentions<'a>(
        &'a self,
        from: &'a Path,
    ) -> impl Iterator<Item = (Path, usize)> + 'a {
        let module = &self.all[from];
        module.mentions.iter().filter_map(|(path, line)| {
            let to = self.resolve(from, path, 8)?;
            Some((to, *line))
        })
    }

    /// The module that has what this path names. None if it is of another crate.
    fn resolve(&self, from: &Path, path: &[String], depth: usize) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(Path::new(), rest, depth),
            "self" => self.walk(from.clone(), rest, depth),
            "super" => {
                let mut at = from.clone();
                at.pop()?;
                let more = rest.iter().take_while(|name| *name == "super").count();
                for _ in 0..more {
                    at.pop()?;
                }
                self.walk(at, &rest[more..], depth)
            }
            _ if self.is_child(from, first) || self.all[from].imports.contains_key(first) => {
                self.walk(from.clone(), path, depth)
            }
            _ => None,
        }
    }

    /// Follows names downwards, and through what a module brings in.
    fn walk(&self, mut at: Path, names: &[String], depth: usize) -> Option<Path> {
        for (n, name) in names.iter().enumerate() {
            if self.is_child(&at, name) {
                at.push(name.clone());
                continue;
            }
            let import = self.all.get(&at).and_then(|module| module.imports.get(name));
            if let (Some(import), true) = (import, depth > 0) {
                let whole = [&import[..], &names[n + 1..]].concat();
                return self.resolve(&at, &whole, depth - 1);
            }
            break;
        }
        self.all.contains_key(&at).then_some(at)
    }

    fn is_child(&self, parent: &Path, name: &str) -> bool {
        let mut path = parent.clone();
        path.push(name.to_owned());
        self.all.contains_key(&path)
    }
}

/// Collects paths. Code of tests is left out.
struct Reader<'a> {
    module: &'a mut Module,
}

impl Reader<'_> {
    fn bring_in(&mut self, tree: &UseTree, before: &Path) {
        match tree {
            UseTree::Path(path) => {
                let mut before = before.clone();
                before.push(path.ident.to_string());
                self.bring_in(&path.tree, &before);
            }
            UseTree::Name(name) => self.import(before, &name.ident, &name.ident),
            UseTree::Rename(rename) => self.import(before, &rename.ident, &rename.rename),
            UseTree::Glob(glob) => {
                self.module.mentions.push((before.clone(), glob.span().start().line));
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.bring_in(tree, before))
            }
        }
    }

    fn import(&mut self, before: &Path, name: &syn::Ident, alias: &syn::Ident) {
        let mut path = before.clone();
        let alias = if name == "self" {
            path.last().cloned().unwrap_or_default()
        } else {
            alias.to_string()
        };
        if name != "self" {
            path.push(name.to_string());
        }
        self.module.mentions.push((path.clone(), name.span().start().line));
        // A name that stands for itself would be looked for without end.
        if path.first() != Some(&alias) {
            self.module.imports.insert(alias, path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !attributes(item).iter().any(is_of_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.bring_in(&item.tree, &Path::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.module.mentions.push((names, path.span().start().line));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        paths_in(called.tokens.clone(), &mut self.module.mentions);
        visit::visit_macro(self, called);
    }

    // The path of a visibility, `pub(in …)`, uses nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

/// Paths from `crate` in the tokens of a macro.
fn paths_in(tokens: TokenStream, mentions: &mut Vec<(Path, usize)>) {
    let mut path = Path::new();
    let mut line = 0;
    for token in tokens {
        match token {
            TokenTree::Ident(name) if name == "crate" || !path.is_empty() => {
                line = name.span().start().line;
                path.push(name.to_string());
            }
            TokenTree::Punct(colon) if colon.as_char() == ':' => {}
            TokenTree::Group(group) => {
                mentions.push((std::mem::take(&mut path), line));
                paths_in(group.stream(), mentions);
            }
            _ => mentions.push((std::mem::take(&mut path), line)),
        }
    }
    mentions.push((path, line));
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_of_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
}

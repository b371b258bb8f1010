//! Rules about the shape of code: tuples that only please a limit, types in several files.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Expr, FnArg, Item, Pat, Type};

use super::Problem;
use super::source::Source;

pub(crate) fn check(source: &Source, problems: &mut Vec<Problem>) -> Result<()> {
    if !source.is_rust() {
        return Ok(());
    }
    let file = syn::parse_file(&source.text).with_context(|| source.name.clone())?;
    let mut types = Types(BTreeSet::new());
    types.visit_file(&file);
    let mut shapes = Shapes { source, types: &types.0, problems };
    shapes.visit_file(&file);
    Ok(())
}

/// Names of the types that a file defines.
struct Types(BTreeSet<String>);

impl<'ast> Visit<'ast> for Types {
    fn visit_item(&mut self, item: &'ast Item) {
        let name = match item {
            Item::Struct(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Union(item) => Some(&item.ident),
            _ => None,
        };
        self.0.extend(name.map(ToString::to_string));
        visit::visit_item(self, item);
    }
}

struct Shapes<'a> {
    source: &'a Source,
    types: &'a BTreeSet<String>,
    problems: &'a mut Vec<Problem>,
}

impl Shapes<'_> {
    fn complain(&mut self, rule: &'static str, line: usize, message: String) {
        let place = self.source.name.clone();
        self.problems.push(Problem { rule, place, line, message });
    }
}

impl<'ast> Visit<'ast> for Shapes<'_> {
    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        for input in &signature.inputs {
            if let FnArg::Typed(argument) = input
                && is_tuple(&argument.ty)
                && matches!(*argument.pat, Pat::Tuple(_))
            {
                let message =
                    "a tuple as a parameter: use plain parameters, or a struct".to_owned();
                self.complain("tuple-parameter", argument.span().start().line, message);
            }
        }
        visit::visit_signature(self, signature);
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let pattern = match &local.pat {
            Pat::Type(typed) => &typed.pat,
            other => other,
        };
        let values = local.init.as_ref().map(|init| &*init.expr);
        if let (Pat::Tuple(_), Some(Expr::Tuple(_))) = (pattern, values) {
            let message = "several values in one `let`: write one `let` for each".to_owned();
            self.complain("tuple-let", local.span().start().line, message);
        }
        visit::visit_local(self, local);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let (None, Type::Path(path)) = (&item.trait_, &*item.self_ty)
            && let Some(last) = path.path.segments.last()
            && !self.types.contains(&last.ident.to_string())
        {
            let message = format!("`impl {}` is not in the file that defines the type", last.ident);
            self.complain("impl-elsewhere", item.span().start().line, message);
        }
        visit::visit_item_impl(self, item);
    }
}

fn is_tuple(kind: &Type) -> bool {
    match kind {
        Type::Tuple(tuple) => tuple.elems.len() > 1,
        Type::Reference(reference) => is_tuple(&reference.elem),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::source::Source;

    fn rules(text: &str) -> Vec<&'static str> {
        let mut problems = Vec::new();
        let source = Source { name: "a.rs".to_owned(), text: text.to_owned() };
        check(&source, &mut problems).unwrap();
        problems.iter().map(|problem| problem.rule).collect()
    }

    #[test]
    fn tuples_that_please_a_limit_are_found() {
        assert_eq!(rules("fn f((a, b): (u8, u8)) {}"), ["tuple-parameter"]);
        assert_eq!(rules("fn f() { let (a, b) = (1, 2); }"), ["tuple-let"]);
        assert!(rules("fn f(pair: (u8, u8)) { let (a, b) = pair; }").is_empty());
    }

    #[test]
    fn a_type_has_its_methods_in_its_file() {
        assert_eq!(rules("impl Shard {}"), ["impl-elsewhere"]);
        assert!(rules("struct Shard; impl Shard {} impl Clone for Other {}").is_empty());
    }
}

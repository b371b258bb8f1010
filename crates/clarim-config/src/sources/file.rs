//! Settings in the TOML file.

use std::ops::Range;
use std::path::Path;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::table::Item;
use crate::keys::{self, Place, unknown};
use crate::source::Source;
use crate::typed::{Typed, Values};

/// Reads the TOML file. If it is `required`, a missing file is a problem.
pub(crate) fn read(path: &Path, required: bool, typed: &mut Typed) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return,
        Err(error) => {
            return typed.add_problem(path.display(), format_args!("cannot be read: {error}"));
        }
    };
    parse(&File { path, text: &text }, typed);
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    fn source(&self, key: &str, span: &Range<usize>) -> Source {
        Source::File { key: key.to_owned(), file: self.path.to_owned(), line: self.line(span) }
    }
}

fn parse(file: &File<'_>, typed: &mut Typed) {
    let (table, errors) = DeTable::parse_recoverable(file.text);
    for error in errors {
        // The error's own text quotes the line, which may contain a secret.
        let line = error.span().map_or(1, |span| file.line(&span));
        let at = format!("{} line {line}", file.path.display());
        typed.add_problem(at, format_args!("is not TOML: {}", error.message()));
    }
    if !typed.problems.is_empty() {
        // Problems that follow from a partly read file would hide the cause.
        return;
    }
    for (name, value) in table.get_ref() {
        let source = file.source(name.get_ref(), &name.span());
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("server", DeValue::Table(table)) => {
                let values = read_table(file, "server", Place::Server, table, typed);
                for (name, value) in values.iter() {
                    if let Some(key) = keys::find(name) {
                        typed.server.add(key, &value.text, value.source.clone());
                    }
                }
            }
            ("apps", DeValue::Array(apps)) => read_apps(file, apps, typed),
            ("server", _) => typed.add_problem(source, "must be a table: [server]"),
            ("apps", _) => {
                typed.add_problem(source, "must be a list of tables: [[apps]] for each app")
            }
            (other, _) => {
                let meant = keys::nearest(other, ["server", "apps"]);
                let key = keys::find_toml(Place::Server, other);
                let what = match key {
                    Some(_) => "belongs below [server]".to_owned(),
                    None => {
                        unknown("a table of this file", "", meant.or(Some("[server] or [[apps]]")))
                    }
                };
                typed.add_problem(source, what);
            }
        }
    }
}

fn read_apps(file: &File<'_>, apps: &[Spanned<DeValue<'_>>], typed: &mut Typed) {
    for (n, app) in apps.iter().enumerate() {
        let name = format!("apps[{n}]");
        let source = file.source(&name, &app.span());
        match app.get_ref() {
            DeValue::Table(table) => {
                let values = read_table(file, &name, Place::App, table, typed);
                typed.file_apps.push((source, values));
            }
            _ => typed.add_problem(source, "must be a table: [[apps]] for each app"),
        }
    }
}

fn read_table(
    file: &File<'_>,
    table_name: &str,
    place: Place,
    table: &DeTable<'_>,
    typed: &mut Typed,
) -> Values {
    let mut values = Values::default();
    for (name, value) in table {
        let name_text = name.get_ref().as_ref();
        let source = file.source(&format!("{table_name}.{name_text}"), &name.span());
        let key = keys::find_toml(place, name_text);
        let is_json = key.is_some_and(|key| key.kind.has_tables());
        let text = match value.get_ref() {
            DeValue::Array(items) if is_json => items
                .iter()
                .map(|item| json_of(item.get_ref()))
                .collect::<Option<Json>>()
                .map(|it| it.to_string()),
            value => text_of(value),
        };
        let value = value.get_ref();
        let item = Item { text, is_array: value.is_array(), type_name: value.type_str() };
        if let Err(problem) = item.add_to(&mut values, source, place, name_text) {
            typed.problems.push(problem);
        }
    }
    values
}

/// The value in JSON.
fn json_of(value: &DeValue<'_>) -> Option<Json> {
    match value {
        DeValue::String(text) => Some(text.as_ref().into()),
        DeValue::Integer(number) if number.radix() == 10 => {
            number.as_str().parse::<i64>().ok().map(Json::from)
        }
        DeValue::Boolean(flag) => Some((*flag).into()),
        DeValue::Array(items) => items.iter().map(|item| json_of(item.get_ref())).collect(),
        DeValue::Table(table) => table
            .iter()
            .map(|(name, value)| Some((name.get_ref().to_string(), json_of(value.get_ref())?)))
            .collect(),
        _ => None,
    }
}

/// The value as a user would type it in the environment.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            items.map(|items| items.join(","))
        }
        _ => None,
    }
}

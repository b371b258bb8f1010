//! Settings in `.env`.

mod parser;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use self::parser::{Parsed, Unreadable, parse};
use super::env::{Variable, is_setting, take};
use crate::source::Source;
use crate::typed::Typed;

pub use parser::variable_name;

/// Reads the file `name` in the directory, if it exists. It may use the variables of the process,
/// `environment`.
pub(super) fn read(
    directory: &Path,
    name: &str,
    environment: &[(String, String)],
    typed: &mut Typed,
) {
    let bytes = match std::fs::read(directory.join(name)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            return typed.add_problem(name, format_args!("cannot be read: {error}"));
        }
    };
    let text = normalized(&bytes);
    let variable = |name: &str| {
        environment.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone())
    };
    let Parsed { variables, unreadable } = parse(&text, &variable);
    for skipped in unreadable {
        report(name, &skipped, typed);
    }
    let mut settings = Vec::new();
    for assignment in variables {
        let (first, last) = assignment.lines;
        let inside = text.lines().take(last).skip(first).filter_map(variable_name);
        for hidden in inside.filter(|hidden| is_setting(hidden)) {
            typed.warnings.push(format!(
                "{name} line {first}: the value of {} ends in line {last} and contains {hidden}=…, which is therefore \
                 not set; close the quote before it",
                assignment.name
            ));
        }
        let source =
            Source::DotEnv { name: assignment.name.clone(), file: name.to_owned(), line: first };
        settings.push(Variable { name: assignment.name, text: assignment.value, source });
    }
    take(&settings, typed);
}

/// The text of a file without byte order mark, whose lines end with `\n`.
fn normalized(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n")
}

/// A line that can't be read is a problem only if it is a setting.
fn report(file: &str, skipped: &Unreadable<'_>, typed: &mut Typed) {
    let Unreadable { line, name, reason } = *skipped;
    match name {
        Some(name) if is_setting(name) => {
            typed.add_problem(format_args!("{name} in {file} line {line}"), reason);
        }
        Some(name) => {
            typed
                .warnings
                .push(format!("{name} in {file} line {line}: {reason}; the line is ignored"));
        }
        None => typed.warnings.push(format!("{file} line {line}: {reason}; the line is ignored")),
    }
}

//! Settings in `.env`.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::rc::Rc;

use super::env::{PREFIXES, Variable, take};
use crate::typed::Typed;

/// Reads `.env`, if it exists.
pub(crate) fn read(file: &Path, typed: &mut Typed) {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            return typed.add_problem(".env", format_args!("cannot be read: {error}"));
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    let variables = parse(&text, typed);
    take(&variables, typed);
}

fn parse(text: &str, typed: &mut Typed) -> Vec<Variable> {
    let text: String =
        text.trim_start_matches('\u{feff}').split_inclusive('\n').map(escape).collect();
    let last_line = Rc::new(Cell::new(0));
    let reader = Lines { rest: io::Cursor::new(text.as_bytes()), line: last_line.clone() };
    let mut variables: Vec<Variable> = Vec::new();
    for entry in dotenvy::from_read_iter(reader) {
        let line = last_line.get();
        match entry {
            Ok((name, text)) => {
                // As in Laravel, the last of several lines with the same name wins.
                variables.retain(|known| known.name != name);
                variables.push(Variable { name, text, line: Some(line) });
            }
            Err(dotenvy::Error::LineParse(part, _)) => {
                let first = line.saturating_sub(part.trim_end().lines().count().max(1)) + 1;
                unreadable(&text, first, line, typed);
            }
            Err(error) => typed.add_problem(".env", format_args!("cannot be read: {error}")),
        }
    }
    variables
}

/// For Laravel, `$` is a variable only if `{` follows. For dotenvy it always is.
fn escape(line: &str) -> String {
    if !line.contains('$') || line.contains(['\'', '\\']) {
        return line.to_owned();
    }
    line.replace('$', "\\$").replace("\\${", "${")
}

/// Lines that can't be parsed are a problem only if they contain a setting of Clarim.
fn unreadable(text: &str, first: usize, last: usize, typed: &mut Typed) {
    let at = format!(".env line {first}");
    let hidden = text
        .lines()
        .take(last)
        .skip(first - 1)
        .filter_map(|line| variable_name(line))
        .find(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    let reason = "is not NAME=value: a value with spaces needs quotes, and quotes must be closed";
    match hidden {
        Some(name) => typed.add_problem(at, format_args!("{name} {reason}")),
        None => typed.warnings.push(format!("{at}: {reason}; the line is ignored")),
    }
}

/// Returns the name of the variable that a line of `.env` sets.
pub fn variable_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let name = line.split_once('=')?.0.trim_end();
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    (is_name && !name.is_empty()).then_some(name)
}

/// A reader that returns one line per read, so that dotenvy, which has no line numbers, never reads beyond
/// `line`.
struct Lines<'a> {
    rest: io::Cursor<&'a [u8]>,
    line: Rc<Cell<usize>>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.rest.fill_buf()?;
        let end = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |at| at + 1);
        let len = end.min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        let is_line_end = len == end && len > 0;
        self.rest.consume(len);
        self.line.set(self.line.get() + usize::from(is_line_end));
        Ok(len)
    }
}

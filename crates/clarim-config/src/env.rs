//! Settings typed as variables: in the environment, and in `.env`.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::rc::Rc;

use super::keys::{self, Key, Place};
use super::source::{Source, Typed};

/// Strongest first.
const PREFIXES: [&str; 2] = ["CLARIM_", "REVERB_"];

/// Reverb's own variables that mean nothing here.
const REVERB_ONLY: [&str; 3] = ["SERVER", "PULSE_INGEST_INTERVAL", "TELESCOPE_INGEST_INTERVAL"];

/// A variable, and where it was found.
struct Variable {
    name: String,
    text: String,
    line: Option<usize>,
}

/// Reads the variables of the process.
pub(crate) fn read(environment: &[(String, String)], typed: &mut Typed) {
    let variables: Vec<_> = environment
        .iter()
        .map(|(name, text)| Variable { name: name.clone(), text: text.clone(), line: None })
        .collect();
    take(&variables, typed);
}

/// Reads `.env`, if there is one.
pub(crate) fn read_dot_env(file: &Path, typed: &mut Typed) {
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            return typed.problem(".env", format_args!("cannot be read: {error}"));
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
                // As in Laravel, of several lines with one name the last counts.
                variables.retain(|known| known.name != name);
                variables.push(Variable { name, text, line: Some(line) });
            }
            Err(dotenvy::Error::LineParse(part, _)) => {
                let first = line.saturating_sub(part.trim_end().lines().count().max(1)) + 1;
                unreadable(&text, first, line, typed);
            }
            Err(error) => typed.problem(".env", format_args!("cannot be read: {error}")),
        }
    }
    variables
}

/// Laravel takes a `$` for itself unless a `{` follows; dotenvy would look for a name.
fn escape(line: &str) -> String {
    if !line.contains('$') || line.contains(['\'', '\\']) {
        return line.to_owned();
    }
    line.replace('$', "\\$").replace("\\${", "${")
}

/// A part of `.env` that can't be understood matters only if it hides a setting of ours.
fn unreadable(text: &str, first: usize, last: usize, typed: &mut Typed) {
    let at = format!(".env line {first}");
    let hidden = text
        .lines()
        .take(last)
        .skip(first - 1)
        .filter_map(|line| variable_name(line))
        .find(|name| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    let reason =
        "cannot be read as NAME=value; a value with spaces needs quotes, and a quote its end";
    match hidden {
        Some(name) => typed.problem(at, format_args!("{name} {reason}")),
        None => typed.warnings.push(format!("{at}: {reason}; the line is left out")),
    }
}

/// The name that a line of `.env` gives a value to.
pub fn variable_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let name = line.split_once('=')?.0.trim_end();
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    (is_name && !name.is_empty()).then_some(name)
}

/// Gives out one line per read, so that dotenvy, which tells no line numbers, is never ahead of
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

fn take(variables: &[Variable], typed: &mut Typed) {
    for prefix in PREFIXES {
        for variable in variables {
            if let Some(name) = variable.name.strip_prefix(prefix) {
                take_one(name, prefix, variable, typed);
            }
        }
    }
    for variable in variables {
        if let Some(key) = keys::find_bare(&variable.name) {
            take_one(key.name, "", variable, typed);
        }
    }
}

fn take_one(name: &str, prefix: &str, variable: &Variable, typed: &mut Typed) {
    let Variable { name: full, text, line } = variable;
    let source = match *line {
        Some(line) => Source::DotEnv { name: full.clone(), line },
        None => Source::Environment(full.clone()),
    };
    if let Some(key) = keys::find(name) {
        if text.contains('\u{fffd}') {
            return typed.problem(source, "is not UTF-8 text; write it anew");
        }
        let values = match key.place {
            Place::Server => &mut typed.server,
            Place::App => &mut typed.environment_app,
            Place::Environment => &mut typed.config,
        };
        values.add(key, text, source);
    } else if prefix == "REVERB_" {
        reverb_only(name, &source, typed);
    } else {
        let meant = keys::nearest(name, keys::ALL.iter().map(|key| key.name));
        typed.problem(source, unknown("a setting", prefix, meant));
    }
}

fn reverb_only(name: &str, source: &Source, typed: &mut Typed) {
    if REVERB_ONLY.contains(&name) {
        return;
    }
    match keys::typo_of(name) {
        Some(Key { name: meant, .. }) => {
            typed.problem(source, unknown("a setting", "REVERB_", Some(meant)));
        }
        None => typed.warnings.push(format!("{source}: not a setting of Clarim; it is left out")),
    }
}

/// "is no …; did you mean …?"
pub(crate) fn unknown(what: &str, prefix: &str, meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("is not {what}; did you mean {prefix}{meant}?"),
        None => format!("is not {what}; `clarim config --help` lists all there are"),
    }
}

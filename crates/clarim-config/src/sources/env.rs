//! Settings in environment variables.

use crate::keys::{self, Key, Place, replaced, unknown};
use crate::source::Source;
use crate::typed::Typed;

/// Prefixes of variables, strongest first.
pub(super) const PREFIXES: [&str; 2] = ["CLARIM_", "REVERB_"];

/// Variables of Reverb that have no meaning in Clarim.
const REVERB_ONLY: [&str; 3] = ["SERVER", "PULSE_INGEST_INTERVAL", "TELESCOPE_INGEST_INTERVAL"];

/// A variable of the process, or of a line of `.env`.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) line: Option<usize>,
}

/// Reads environment variables.
pub(crate) fn read(environment: &[(String, String)], typed: &mut Typed) {
    let variables: Vec<_> = environment
        .iter()
        .map(|(name, text)| Variable { name: name.clone(), text: text.clone(), line: None })
        .collect();
    take(&variables, typed);
}

/// Adds the values of variables that are settings.
pub(super) fn take(variables: &[Variable], typed: &mut Typed) {
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
            return typed.add_problem(source, "is not UTF-8; write it again");
        }
        let values = match key.place {
            Place::Server => &mut typed.server,
            Place::App => &mut typed.environment_app,
            Place::Environment => &mut typed.config,
        };
        values.add(key, text, source);
    } else if let Some(key) = keys::replacement(name) {
        typed.add_problem(source, replaced(prefix, key.name));
    } else if prefix == "REVERB_" {
        reverb_only(name, &source, typed);
    } else {
        let meant = keys::nearest(name, keys::ALL.iter().map(|key| key.name));
        typed.add_problem(source, unknown("a setting", prefix, meant));
    }
}

fn reverb_only(name: &str, source: &Source, typed: &mut Typed) {
    if REVERB_ONLY.contains(&name) {
        return;
    }
    match keys::typo_of(name) {
        Some(Key { name: meant, .. }) => {
            typed.add_problem(source, unknown("a setting", "REVERB_", Some(meant)));
        }
        None => typed.warnings.push(format!("{source}: not a setting of Clarim, ignored")),
    }
}

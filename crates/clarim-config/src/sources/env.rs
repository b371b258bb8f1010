//! Settings in environment variables.

use crate::keys::{self, Key, Place, replaced, unknown};
use crate::source::Source;
use crate::typed::Typed;

/// Prefixes of variables, strongest first.
const PREFIXES: [&str; 2] = ["CLARIM_", "REVERB_"];

/// The variable that names the directory of `.env` and `clarim.toml`. It is not a setting: settings are read
/// there.
pub(super) const DIRECTORY: &str = "CLARIM_DIRECTORY";

/// Variables of Reverb that have no meaning in Clarim.
const REVERB_ONLY: [&str; 3] = ["SERVER", "PULSE_INGEST_INTERVAL", "TELESCOPE_INGEST_INTERVAL"];

/// A variable of the process, or of a line of `.env`.
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) source: Source,
}

/// Reads environment variables.
pub(crate) fn read(environment: &[(String, String)], typed: &mut Typed) {
    let variables: Vec<_> = environment
        .iter()
        .map(|(name, text)| Variable {
            name: name.clone(),
            text: text.clone(),
            source: Source::Environment(name.clone()),
        })
        .collect();
    take(&variables, typed);
}

/// Whether a variable is a setting by its name.
pub(super) fn is_setting(name: &str) -> bool {
    name.starts_with("CLARIM_") || name.strip_prefix("REVERB_").and_then(keys::find).is_some()
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
        if variable.name == "APP_ENV" {
            typed.app_env.get_or_insert_with(|| variable.text.clone());
        } else if let Some(key) = keys::find_bare(&variable.name) {
            add(key, variable, typed);
        }
    }
}

fn add(key: &'static Key, Variable { text, source, .. }: &Variable, typed: &mut Typed) {
    if text.contains('\u{fffd}') {
        return typed.add_problem(source, "is not UTF-8; write it again");
    }
    let values = match key.place {
        Place::Server => &mut typed.server,
        Place::App => &mut typed.environment_app,
        Place::Environment => &mut typed.config,
    };
    values.add(key, without_quotes(text), source.clone());
}

fn take_one(name: &str, prefix: &str, variable: &Variable, typed: &mut Typed) {
    let source = &variable.source;
    if let Some(key) = keys::find(name) {
        add(key, variable, typed);
    } else if let Some(key) = keys::replacement(name) {
        typed.add_problem(source, replaced(prefix, key.name));
    } else if variable.name == DIRECTORY {
        if let Source::DotEnv { .. } = source {
            typed
                .add_problem(source, "names the directory of this file; set it in the environment");
        }
    } else if prefix == "REVERB_" {
        reverb_only(name, source, typed);
    } else {
        let meant = keys::nearest(name, keys::ALL.iter().map(|key| key.name));
        typed.add_problem(source, unknown("a setting", prefix, meant));
    }
}

/// The value as Laravel reads it, without a pair of quotes around it: `docker run --env-file` keeps them.
fn without_quotes(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .filter(|inner| !inner.contains('\n'))
        .unwrap_or(text)
}

/// Warns of names that Reverb does not know, which real `.env` files have.
fn reverb_only(name: &str, source: &Source, typed: &mut Typed) {
    if REVERB_ONLY.contains(&name) {
        return;
    }
    let meant = keys::typo_of(name).map(|Key { name, .. }| *name);
    let hint = meant.map_or_else(String::new, |meant| format!("; did you mean REVERB_{meant}?"));
    typed.warnings.push(format!("{source}: not a setting of Clarim, ignored{hint}"));
}

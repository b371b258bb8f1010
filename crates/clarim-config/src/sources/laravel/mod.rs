//! Settings in `config/reverb.php` of a Laravel application: what is written there and not in `.env`, such as
//! allowed origins and further apps.

mod php;
mod text;

use std::path::Path;

use serde_json::Value as Json;

use super::flags::Flags;
use crate::keys::{self, Key};
use crate::source::Source;
use crate::typed::{Typed, Values};

pub(super) const FILE: &str = "config/reverb.php";

/// A value of the file that is a setting, and the default of Reverb's own file, which is not taken over:
/// Clarim has its own defaults.
struct Entry {
    pointer: &'static str,
    key: &'static Key,
    default: &'static str,
}

const fn entry(pointer: &'static str, key: &'static Key, default: &'static str) -> Entry {
    Entry { pointer, key, default }
}

/// Values of `servers.reverb`.
static SERVER: [Entry; 15] = [
    entry("/host", &keys::SERVER_HOST, "0.0.0.0"),
    entry("/port", &keys::SERVER_PORT, "8080"),
    entry("/path", &keys::SERVER_PATH, ""),
    entry("/hostname", &keys::HOST, ""),
    entry("/max_request_size", &keys::MAX_REQUEST_SIZE, "10000"),
    entry("/options/tls/local_cert", &keys::TLS_CERT, ""),
    entry("/options/tls/local_pk", &keys::TLS_KEY, ""),
    entry("/scaling/enabled", &keys::SCALING_ENABLED, "false"),
    entry("/scaling/channel", &keys::SCALING_CHANNEL, "reverb"),
    entry("/scaling/server/url", &keys::REDIS_URL, ""),
    entry("/scaling/server/host", &keys::REDIS_HOST, "127.0.0.1"),
    entry("/scaling/server/port", &keys::REDIS_PORT, "6379"),
    entry("/scaling/server/username", &keys::REDIS_USERNAME, ""),
    entry("/scaling/server/password", &keys::REDIS_PASSWORD, ""),
    entry("/scaling/server/database", &keys::REDIS_DB, "0"),
];

/// Values of an app in `apps.apps`.
static APP: [Entry; 13] = [
    entry("/app_id", &keys::APP_ID, ""),
    entry("/key", &keys::APP_KEY, ""),
    entry("/secret", &keys::APP_SECRET, ""),
    entry("/allowed_origins", &keys::APP_ALLOWED_ORIGINS, "*"),
    entry("/ping_interval", &keys::APP_PING_INTERVAL, "60"),
    entry("/activity_timeout", &keys::APP_ACTIVITY_TIMEOUT, "30"),
    entry("/max_connections", &keys::APP_MAX_CONNECTIONS, ""),
    entry("/max_message_size", &keys::APP_MAX_MESSAGE_SIZE, "10000"),
    entry("/accept_client_events_from", &keys::APP_ACCEPT_CLIENT_EVENTS_FROM, "members"),
    entry("/rate_limiting/enabled", &keys::APP_RATE_LIMITING_ENABLED, "false"),
    entry("/rate_limiting/max_attempts", &keys::APP_RATE_LIMIT_MAX_ATTEMPTS, "60"),
    entry("/rate_limiting/decay_seconds", &keys::APP_RATE_LIMIT_DECAY_SECONDS, "60"),
    entry("/rate_limiting/terminate_on_limit", &keys::APP_RATE_LIMIT_TERMINATE, "false"),
];

/// Reads the file, if it exists and the apps are not configured in the TOML file or in a database.
pub(super) fn read(
    directory: &Path,
    environment: &[(String, String)],
    flags: &Flags,
    typed: &mut Typed,
) {
    let Ok(file) = std::fs::read_to_string(directory.join(FILE)) else { return };
    if !typed.file_apps.is_empty() || typed.server.get(&keys::APPS_DATABASE_URL).is_some() {
        return;
    }
    match php::evaluate(directory, environment, flags.env.as_deref()) {
        Ok(config) => add(&config, typed),
        Err(why) => {
            let mut differences = text::differences(&file);
            if typed.environment_app.get(&keys::APP_ALLOWED_ORIGINS).is_some() {
                differences.retain(|what| *what != text::ORIGINS);
            }
            if !differences.is_empty() {
                typed.warnings.push(format!(
                    "{FILE}: not read, because {why}. These settings of it have no effect: {}. Set \
                     REVERB_APP_ALLOWED_ORIGINS, REVERB_TLS_CERT and REVERB_TLS_KEY, or configure the apps in clarim.toml",
                    differences.join(", ")
                ));
            }
        }
    }
}

fn add(config: &Json, typed: &mut Typed) {
    let name = config["default"].as_str().unwrap_or("reverb");
    let place = format!("servers.{name}");
    add_values(&SERVER, &config["servers"][name], &place, &mut typed.server, &mut typed.warnings);
    if typed.server.get(&keys::TLS_KEY).is_none()
        && let Some(cert) = typed.server.get(&keys::TLS_CERT).cloned()
        && matches!(cert.source, Source::Laravel { .. })
    {
        // For PHP, the file of the certificate may contain the key.
        typed.server.add(&keys::TLS_KEY, &cert.text, cert.source);
    }
    let provider = config["apps"]["provider"].as_str().unwrap_or("config");
    if provider != "config" {
        typed.warnings.push(format!(
            "apps.provider in {FILE}: apps of the provider {provider:?} are not served; set APPS_DATABASE_URL, or \
             configure the apps in clarim.toml"
        ));
    }
    let apps = config["apps"]["apps"].as_array();
    for (n, app) in apps.into_iter().flatten().enumerate() {
        let place = format!("apps.apps.{n}");
        let mut values = Values::default();
        add_values(&APP, app, &place, &mut values, &mut typed.warnings);
        if [&keys::APP_ID, &keys::APP_KEY, &keys::APP_SECRET]
            .iter()
            .all(|key| values.get(key).is_none())
        {
            // The environment has no credentials, which the file would take from there.
            continue;
        }
        let of_environment = &mut typed.environment_app;
        if of_environment.get(&keys::APP_ID).is_some()
            && of_environment.text(&keys::APP_ID) == values.text(&keys::APP_ID)
        {
            for (key, value) in APP.iter().filter_map(|it| Some((it.key, values.get(it.key)?))) {
                of_environment.add(key, &value.text, value.source.clone());
            }
        } else {
            typed.laravel_apps.push((Source::Laravel { key: place }, values));
        }
    }
}

fn add_values(
    entries: &[Entry],
    json: &Json,
    place: &str,
    values: &mut Values,
    warnings: &mut Vec<String>,
) {
    for Entry { pointer, key, default } in entries {
        let Some(value) = json.pointer(pointer).filter(|value| !value.is_null()) else { continue };
        let name = format!("{place}{}", pointer.replace('/', "."));
        match text_of(value) {
            Some(text) if text == *default => {}
            Some(text) => values.add(key, &text, Source::Laravel { key: name }),
            None => warnings.push(format!("{name} in {FILE}: not a text or number, ignored")),
        }
    }
}

/// The value as a user would type it in the environment.
fn text_of(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(flag) => Some(flag.to_string()),
        // An empty list allows nobody. No page has this host.
        Json::Array(items) if items.is_empty() => Some("invalid".to_owned()),
        Json::Array(items) => {
            items.iter().map(Json::as_str).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        _ => None,
    }
}

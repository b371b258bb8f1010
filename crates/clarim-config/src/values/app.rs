//! Settings of apps: which apps are configured, and the meaning of their values.

use std::time::Duration;

use clarim_server::config::ServerConfig;
use clarim_server::{App, ClientEventData, ClientEvents, Limits, Origins, RateLimit};

use super::history;
use super::reader::Reader;
use crate::keys::{self, Key};
use crate::problem::Problem;
use crate::source::Source;
use crate::typed::{Typed, Values};

const CREDENTIALS: [&Key; 3] = [&keys::APP_ID, &keys::APP_KEY, &keys::APP_SECRET];

/// Whether any source configures an app, at least in part.
pub(crate) fn any(typed: &Typed) -> bool {
    !typed.file_apps.is_empty()
        || !typed.laravel_apps.is_empty()
        || credential(&typed.environment_app).is_some()
}

/// The source of an app's credentials.
fn credential(values: &Values) -> Option<&Source> {
    CREDENTIALS.iter().find_map(|key| values.get(key)).map(|value| &value.source)
}

/// The apps of the file if it has some, otherwise the app of the environment and those of Laravel, each with
/// its place. File and environment may name the same app, if its backend reads the same `.env`. Then the
/// settings of the file win.
pub(crate) fn choose(typed: &mut Typed) -> Vec<(Source, Values)> {
    let environment = std::mem::take(&mut typed.environment_app);
    let apps = std::mem::take(&mut typed.file_apps);
    let laravel = std::mem::take(&mut typed.laravel_apps);
    let Some((first, _)) = apps.first() else {
        let Some(source) = credential(&environment).cloned() else {
            if !laravel.is_empty() {
                return laravel;
            }
            if typed.server.get(&keys::APPS_DATABASE_URL).is_some() {
                typed.warnings.append(&mut unused(&environment, "database"));
            }
            return vec![(Source::Default, environment)];
        };
        return [vec![(source, environment)], laravel].concat();
    };
    let is_same = |app: &Values| {
        CREDENTIALS
            .iter()
            .all(|key| environment.text(key).is_none_or(|text| app.text(key) == Some(text)))
    };
    if let Some(source) = credential(&environment)
        && !apps.iter().any(|(_, app)| is_same(app))
    {
        typed.add_problem(
            source,
            format_args!("names another app than {first}; use the same id, key and secret in both places, or remove them from one"),
        );
    }
    typed.warnings.append(&mut unused(&environment, "TOML file"));
    apps
}

/// Warnings about settings of an app in a place that has no app.
fn unused(environment: &Values, apps_are_in: &str) -> Vec<String> {
    let mut unused: Vec<_> = environment
        .iter()
        .filter(|(name, _)| !CREDENTIALS.iter().any(|key| key.name == *name))
        .map(|(_, value)| {
            format!("{}: ignored, because the apps are in the {apps_are_in}", value.source)
        })
        .collect();
    unused.sort();
    unused
}

/// Adds the default that depends on the server: the size of events follows a limit of requests that was set,
/// as in Reverb.
pub(crate) fn add_defaults(values: &mut Values, server: &ServerConfig) {
    let request = server.max_request_bytes.min(server.outbox_bytes);
    let is_set = server.max_request_bytes != ServerConfig::default().max_request_bytes;
    if is_set && request > Limits::default().event_data_bytes {
        values.add(&keys::APP_MAX_EVENT_SIZE, &request.to_string(), Source::Default);
    }
}

/// The app of these values; `None` without valid credentials.
pub(crate) fn read(reader: &mut Reader<'_>, at: &Source, server: &ServerConfig) -> Option<App> {
    let credentials = credentials(reader, at);
    let client_events = [
        ("members", ClientEvents::Members),
        ("all", ClientEvents::All),
        ("none", ClientEvents::None),
    ];
    let origins = origins(reader);
    let requires_origin = reader.flag(&keys::APP_REQUIRE_ORIGIN);
    let authorization_timeout =
        reader.optional_number(&keys::APP_AUTHORIZATION_TIMEOUT).map(Duration::from_secs);
    let client_event_data =
        [("string", ClientEventData::Text), ("unchanged", ClientEventData::Unchanged)];
    let client_event_data = reader.choice(&keys::APP_CLIENT_EVENT_DATA, &client_event_data);
    let ping_interval = reader.seconds(&keys::APP_PING_INTERVAL);
    let activity_timeout = reader.seconds(&keys::APP_ACTIVITY_TIMEOUT);
    let client_events = reader.choice(&keys::APP_ACCEPT_CLIENT_EVENTS_FROM, &client_events);
    let client_events_on_public = reader.flag(&keys::APP_CLIENT_EVENTS_ON_PUBLIC_CHANNELS);
    let subscription_count = reader.flag(&keys::APP_SUBSCRIPTION_COUNT);
    let rate_limit = rate_limit(reader);
    let limits = limits(reader);
    contradictions(reader, &limits, server);
    let history = history::read(reader, limits.channel_name_bytes);
    let [id, key, secret] = credentials?;
    let mut app = App::new(id, key, secret);
    app.origins = origins;
    app.requires_origin = requires_origin;
    app.authorization_timeout = authorization_timeout;
    app.client_event_data = client_event_data;
    app.ping_interval = ping_interval;
    app.activity_timeout = activity_timeout;
    app.client_events = client_events;
    app.client_events_on_public = client_events_on_public;
    app.subscription_count = subscription_count;
    app.rate_limit = rate_limit;
    app.history = history;
    app.limits = limits;
    Some(app)
}

fn origins(reader: &mut Reader<'_>) -> Origins {
    let patterns = reader.list(&keys::APP_ALLOWED_ORIGINS);
    for pattern in &patterns {
        if let Some(problem) = Origins::problem(pattern) {
            reader.wrong(&keys::APP_ALLOWED_ORIGINS, format_args!("{pattern:?} {problem}"));
        }
    }
    Origins::new(patterns)
}

fn credentials(reader: &mut Reader<'_>, at: &Source) -> Option<[String; 3]> {
    if *at == Source::Default {
        // No source configures an app, and the development app does not exist yet.
        return None;
    }
    let missing: Vec<_> = CREDENTIALS
        .iter()
        .filter(|key| reader.values.get(key).is_none())
        .map(|key| at.name_of(key))
        .collect();
    if !missing.is_empty() {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        let missing = missing.join(" and ");
        reader.problems.push(Problem::new(
            at,
            format_args!("{missing} {verb} missing; an app needs an id, a key and a secret (`clarim app new` generates them)"),
        ));
    }
    let [id, key, secret] = CREDENTIALS.map(|key| {
        let text = reader.values.text(key)?;
        match credential_problem(key, text) {
            Some(what) => {
                reader.wrong(key, what);
                None
            }
            None => Some(text.to_owned()),
        }
    });
    Some([id?, key?, secret?])
}

/// Why a text can't be an id, key or secret. The text itself is not shown.
fn credential_problem(key: &Key, text: &str) -> Option<&'static str> {
    if text.contains(char::is_control) {
        return Some("contains a control character, such as a line break; write it without");
    }
    if *key != keys::APP_SECRET && !text.is_ascii() {
        return Some("is part of request paths and headers; use ASCII characters only");
    }
    None
}

fn rate_limit(reader: &mut Reader<'_>) -> Option<RateLimit> {
    let max_attempts = reader.count(&keys::APP_RATE_LIMIT_MAX_ATTEMPTS);
    let mut rate_limit =
        RateLimit::new(max_attempts, reader.seconds(&keys::APP_RATE_LIMIT_DECAY_SECONDS));
    rate_limit.terminate = reader.flag(&keys::APP_RATE_LIMIT_TERMINATE);
    reader.flag(&keys::APP_RATE_LIMITING_ENABLED).then_some(rate_limit)
}

fn limits(reader: &mut Reader<'_>) -> Limits {
    let name_bytes = reader.size(&keys::APP_MAX_NAME_LENGTH);
    let events_per_batch = reader.size(&keys::APP_MAX_EVENTS_PER_BATCH);
    let mut limits = Limits::default();
    limits.connections = reader
        .optional_number(&keys::APP_MAX_CONNECTIONS)
        .and_then(|number| u32::try_from(number).ok());
    limits.message_bytes = reader.size(&keys::APP_MAX_MESSAGE_SIZE);
    limits.channels_per_connection = reader.size(&keys::APP_MAX_CHANNELS_PER_CONNECTION);
    limits.channel_name_bytes = name_bytes;
    limits.event_name_bytes = name_bytes;
    limits.event_data_bytes = reader.size(&keys::APP_MAX_EVENT_SIZE);
    limits.presence_members = reader.size(&keys::APP_MAX_PRESENCE_MEMBERS);
    limits.presence_member_bytes = reader.size(&keys::APP_MAX_PRESENCE_MEMBER_SIZE);
    limits.channels_per_event = events_per_batch;
    limits.events_per_batch = events_per_batch;
    limits
}

/// Limits that can never be reached because another limit is lower. Defaults out of reach are not a problem.
fn contradictions(reader: &mut Reader<'_>, limits: &Limits, server: &ServerConfig) {
    let event = limits.event_data_bytes;
    let member = limits.presence_member_bytes;
    let message = limits.message_bytes;
    let request = server.max_request_bytes;
    let size = reader.values.get(&keys::APP_MAX_EVENT_SIZE);
    let is_set = size.is_some_and(|size| size.source != Source::Default);
    if is_set && event > request.max(message) {
        reader.wrong(
            &keys::APP_MAX_EVENT_SIZE,
            format_args!("{event} bytes fit neither into a request (MAX_REQUEST_SIZE {request}) nor into a message (APP_MAX_MESSAGE_SIZE {message}); raise one of them, or lower this limit"),
        );
    }
    if reader.values.get(&keys::APP_MAX_PRESENCE_MEMBER_SIZE).is_some() && member > message {
        reader.wrong(
            &keys::APP_MAX_PRESENCE_MEMBER_SIZE,
            format_args!("{member} bytes do not fit into a message (APP_MAX_MESSAGE_SIZE {message}); raise that limit, or lower this one"),
        );
    }
    if server.outbox_bytes < event {
        let outbox = server.outbox_bytes;
        reader.wrong(
            &keys::APP_MAX_EVENT_SIZE,
            format_args!("{event} bytes exceed the send queue of a connection (OUTBOX_SIZE {outbox}), so a single event would put every subscriber over its limit; raise OUTBOX_SIZE, or lower this limit"),
        );
    }
}

/// Finds apps with the same id or key.
pub(crate) fn duplicates(apps: &[(Source, Values)], problems: &mut Vec<Problem>) {
    for (n, (at, app)) in apps.iter().enumerate() {
        for key in [&keys::APP_ID, &keys::APP_KEY] {
            let same = |other: &&(Source, Values)| other.1.text(key) == app.text(key);
            if app.get(key).is_some()
                && let Some((first, _)) = apps[..n].iter().find(same)
            {
                let name = key.toml;
                let what = format!("has the same {name} as {first}; give each app its own");
                problems.push(Problem::new(at, what));
            }
        }
    }
}

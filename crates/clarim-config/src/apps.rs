//! The apps' settings: which apps there are, and what the typed values mean together.

use clarim_hub::app::{App, ClientEvents, Limits, Origins, RateLimit};

use clarim_server::config::ServerConfig;

use super::keys::{self, Key};
use super::reader::Reader;
use super::source::{Problem, Source, Typed, Values};

const CREDENTIALS: [&Key; 3] = [&keys::APP_ID, &keys::APP_KEY, &keys::APP_SECRET];

/// Whether an app is configured anywhere, if only in part.
pub(crate) fn any(typed: &Typed) -> bool {
    !typed.file_apps.is_empty() || credential(&typed.environment_app).is_some()
}

/// Where an app's values say which app it is.
fn credential(values: &Values) -> Option<&Source> {
    CREDENTIALS.iter().find_map(|key| values.get(key)).map(|value| &value.source)
}

/// The apps of the file if there are any, otherwise that of the environment, each with its place.
/// Both may name the same app, as when its backend reads the same `.env`; then the file's settings
/// count.
pub(crate) fn choose(typed: &mut Typed) -> Vec<(Source, Values)> {
    let environment = std::mem::take(&mut typed.environment_app);
    let apps = std::mem::take(&mut typed.file_apps);
    let Some((first, _)) = apps.first() else {
        let Some(source) = credential(&environment).cloned() else {
            if typed.server.get(&keys::APPS_DATABASE_URL).is_some() {
                typed.warnings.append(&mut unused(&environment, "database"));
            }
            return vec![(Source::Default, environment)];
        };
        return vec![(source, environment)];
    };
    let is_same = |app: &Values| {
        CREDENTIALS
            .iter()
            .all(|key| environment.text(key).is_none_or(|text| app.text(key) == Some(text)))
    };
    if let Some(source) = credential(&environment)
        && !apps.iter().any(|(_, app)| is_same(app))
    {
        typed.problem(
            source,
            format_args!("names another app than {first} and after it; give id, key and secret the same values in both places, or remove them from one"),
        );
    }
    typed.warnings.append(&mut unused(&environment, "TOML file"));
    apps
}

/// What is said of an app's settings where no app is.
fn unused(environment: &Values, apps_are_in: &str) -> Vec<String> {
    let mut unused: Vec<_> = environment
        .iter()
        .filter(|(name, _)| !CREDENTIALS.iter().any(|key| key.name == *name))
        .map(|(_, value)| {
            format!("{}: not used, for the apps are in the {apps_are_in}", value.source)
        })
        .collect();
    unused.sort();
    unused
}

/// What one app's values mean; `None` if they don't say which app it is.
pub(crate) fn read(reader: &mut Reader<'_>, at: &Source, server: &ServerConfig) -> Option<App> {
    let credentials = credentials(reader, at);
    let client_events = [
        ("members", ClientEvents::Members),
        ("all", ClientEvents::All),
        ("none", ClientEvents::None),
    ];
    let origins = Origins::new(reader.list(&keys::APP_ALLOWED_ORIGINS));
    let ping_interval = reader.seconds(&keys::APP_PING_INTERVAL);
    let activity_timeout = reader.seconds(&keys::APP_ACTIVITY_TIMEOUT);
    let client_events = reader.choice(&keys::APP_ACCEPT_CLIENT_EVENTS_FROM, &client_events);
    let client_events_on_public = reader.flag(&keys::APP_CLIENT_EVENTS_ON_PUBLIC_CHANNELS);
    let subscription_count = reader.flag(&keys::APP_SUBSCRIPTION_COUNT);
    let rate_limit = rate_limit(reader);
    let limits = limits(reader);
    contradictions(reader, &limits, server);
    let [id, key, secret] = credentials?;
    Some(App {
        origins,
        ping_interval,
        activity_timeout,
        client_events,
        client_events_on_public,
        subscription_count,
        rate_limit,
        limits,
        ..App::new(id, key, secret)
    })
}

fn credentials(reader: &mut Reader<'_>, at: &Source) -> Option<[String; 3]> {
    if *at == Source::Default {
        // No app is named anywhere, and the development app is not there yet: nothing to complain
        // of.
        return None;
    }
    let missing: Vec<_> = CREDENTIALS
        .iter()
        .filter(|key| reader.values.get(key).is_none())
        .map(|key| at.name_of(key))
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        reader.problems.push(Problem::new(
            at,
            format_args!("{missing} missing; an app has an id, a key and a secret (`clarim app new` makes all three)"),
        ));
    }
    let [id, key, secret] = CREDENTIALS.map(|key| {
        let text = reader.values.text(key)?;
        match unfit(key, text) {
            Some(what) => {
                reader.wrong(key, what);
                None
            }
            None => Some(text.to_owned()),
        }
    });
    Some([id?, key?, secret?])
}

/// Why a text can't be an id, key or secret. The text itself is not told.
fn unfit(key: &Key, text: &str) -> Option<&'static str> {
    if text.contains(['"', '\'', '`']) {
        return Some(
            "has a quote in it; some programs take quotes as part of a value, write it without",
        );
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some("has a space or a control character in it; write it without");
    }
    let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b));
    if *key != keys::APP_SECRET && !is_plain {
        return Some(
            "stands in the paths of requests; expected only letters, digits and - _ . ~ in it",
        );
    }
    None
}

fn rate_limit(reader: &mut Reader<'_>) -> Option<RateLimit> {
    let rate_limit = RateLimit {
        max_attempts: reader.count(&keys::APP_RATE_LIMIT_MAX_ATTEMPTS),
        decay: reader.seconds(&keys::APP_RATE_LIMIT_DECAY_SECONDS),
        terminate: reader.flag(&keys::APP_RATE_LIMIT_TERMINATE),
    };
    reader.flag(&keys::APP_RATE_LIMITING_ENABLED).then_some(rate_limit)
}

fn limits(reader: &mut Reader<'_>) -> Limits {
    Limits {
        connections: reader
            .optional_number(&keys::APP_MAX_CONNECTIONS)
            .and_then(|number| u32::try_from(number).ok()),
        message_bytes: reader.size(&keys::APP_MAX_MESSAGE_SIZE),
        channels_per_connection: reader.size(&keys::APP_MAX_CHANNELS_PER_CONNECTION),
        channel_name_bytes: reader.size(&keys::APP_MAX_CHANNEL_NAME_LENGTH),
        event_name_bytes: reader.size(&keys::APP_MAX_EVENT_NAME_LENGTH),
        event_data_bytes: reader.size(&keys::APP_MAX_EVENT_SIZE),
        presence_members: reader.size(&keys::APP_MAX_PRESENCE_MEMBERS),
        presence_member_bytes: reader.size(&keys::APP_MAX_PRESENCE_MEMBER_SIZE),
        channels_per_event: reader.size(&keys::APP_MAX_CHANNELS_PER_EVENT),
        events_per_batch: reader.size(&keys::APP_MAX_EVENTS_PER_BATCH),
    }
}

/// Bounds that could never be reached, because another one is lower: whoever typed them would look
/// for the cause in vain. A default that is out of reach is nobody's mistake.
fn contradictions(reader: &mut Reader<'_>, limits: &Limits, server: &ServerConfig) {
    let (event, request) = (limits.event_data_bytes, server.max_request_bytes);
    let (message, member) = (limits.message_bytes, limits.presence_member_bytes);
    if reader.values.get(&keys::APP_MAX_EVENT_SIZE).is_some() && event > request.max(message) {
        reader.wrong(
            &keys::APP_MAX_EVENT_SIZE,
            format_args!("{event} bytes fit neither into a request (MAX_REQUEST_SIZE {request}) nor into a message (APP_MAX_MESSAGE_SIZE {message}); raise one of these, or lower it"),
        );
    }
    if reader.values.get(&keys::APP_MAX_PRESENCE_MEMBER_SIZE).is_some() && member > message {
        reader.wrong(
            &keys::APP_MAX_PRESENCE_MEMBER_SIZE,
            format_args!("{member} bytes do not fit into a message (APP_MAX_MESSAGE_SIZE {message}); raise that, or lower it"),
        );
    }
    if server.outbox_bytes < event {
        let outbox = server.outbox_bytes;
        reader.wrong(
            &keys::APP_MAX_EVENT_SIZE,
            format_args!("{event} bytes are more than a connection may have unsent (OUTBOX_SIZE {outbox}), so such an event would close every subscriber; raise OUTBOX_SIZE, or lower it"),
        );
    }
}

/// Two apps with one id or key could not be told apart.
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

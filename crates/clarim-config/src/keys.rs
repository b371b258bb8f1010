//! Every setting there is, in one table: parsing, `config check` and the reference are made from
//! it.

use std::fmt::Write as _;

/// What a setting is about, and with that its place in the TOML file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The server as a whole: `[server]`.
    Server,
    /// One app: `[[apps]]`.
    App,
    /// Where settings come from: only in the environment.
    Environment,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// `true` or `false`.
    Flag,
    /// Texts, separated by commas; in the TOML file an array.
    List,
    /// URLs like a list; or an array of tables, in the environment as JSON.
    Endpoints,
    /// A whole number.
    Number {
        /// What it counts.
        unit: &'static str,
        /// The least that is taken.
        min: u64,
        /// The most that is taken.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One setting. In the environment its name has the prefix `CLARIM_` or `REVERB_`.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Name in the environment, without prefix.
    pub name: &'static str,
    /// What it is about.
    pub place: Place,
    /// Name in the TOML file; empty: not there.
    pub toml: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// As it would be typed; empty: not set, or made from other settings as `doc` says.
    pub default: &'static str,
    /// One sentence.
    pub doc: &'static str,
}

impl Key {
    /// What is expected, to stand after "expected".
    #[must_use]
    pub fn expected(&self) -> String {
        match self.kind {
            Kind::Text | Kind::Secret => "a text".to_owned(),
            Kind::Flag => "true or false".to_owned(),
            Kind::List => "a list with commas between its items".to_owned(),
            Kind::Endpoints => {
                "URLs, or tables with url, events, channels and headers (in the environment as JSON)"
                    .to_owned()
            }
            Kind::Number { unit: PORT_NUMBER, min, max } => {
                format!("a {PORT_NUMBER} from {min} to {max}")
            }
            Kind::Number { unit, min, max } if max >= u64::from(u32::MAX) => {
                format!("a whole number of {unit}, {min} or more")
            }
            Kind::Number { unit, min, max } => {
                format!("a whole number of {unit} from {min} to {max}")
            }
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// Unit of a number; otherwise the kind of value.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Text | Kind::Secret => "text",
            Kind::Flag => "true/false",
            Kind::List => "list",
            Kind::Endpoints => "URLs or tables",
            Kind::Number { unit, .. } => unit,
            Kind::Choice(_) => "choice",
        }
    }
}

const fn number(unit: &'static str, min: u64, max: u64) -> Kind {
    Kind::Number { unit, min, max }
}

const PORT_NUMBER: &str = "port number";
const DAY: u64 = 86_400;
const COUNT: u64 = u32::MAX as u64;
const GIB: u64 = 1 << 30;

macro_rules! keys {
    ($($name:ident $place:ident $toml:literal, $kind:expr, $default:literal, $doc:literal;)*) => {
        $(
            #[doc = $doc]
            pub static $name: Key = Key {
                name: stringify!($name),
                place: Place::$place,
                toml: $toml,
                kind: $kind,
                default: $default,
                doc: $doc,
            };
        )*
        /// Every key, in the order of the reference.
        pub static ALL: &[&Key] = &[$(&$name),*];
    };
}

keys! {
    CONFIG Environment "", Kind::Text, "clarim.toml",
        "The TOML file; that of the default need not be there. Flag: --config.";
    SERVER_HOST Server "host", Kind::Text, "",
        "Address to listen on. Default: 0.0.0.0; in development mode 127.0.0.1.";
    SERVER_PORT Server "port", number(PORT_NUMBER, 0, 65_535), "8080",
        "Port to listen on; 0: any that is free.";
    SERVER_PATH Server "path", Kind::Text, "",
        "Prefix of every path, as a reverse proxy forwards it.";
    HOST Server "hostname", Kind::Text, "",
        "Name under which clients reach the server.";
    SCHEME Server "scheme", Kind::Choice(&["http", "https"]), "",
        "How clients reach the server. Default: https with TLS_CERT, otherwise http.";
    PORT Server "public_port", number(PORT_NUMBER, 1, 65_535), "",
        "Port on which clients reach the server. Default: the one it listens on.";
    MAX_REQUEST_SIZE Server "max_request_size", number("bytes", 1_000, GIB), "100000",
        "Largest body of an HTTP request; a larger one is answered 413.";
    TLS_CERT Server "tls_cert", Kind::Text, "",
        "File with the PEM certificate chain; together with TLS_KEY it turns TLS on.";
    TLS_KEY Server "tls_key", Kind::Text, "",
        "File with the PEM private key.";
    WORKERS Server "workers", number("threads", 1, 1_024), "",
        "Threads that own connections. Default: one for each core.";
    DRAIN_SECONDS Server "drain_seconds", number("seconds", 0, 3_600), "5",
        "Time over which clients are sent away when the server stops.";
    OUTBOX_SIZE Server "outbox_size", number("bytes", 4_096, GIB), "1048576",
        "Unsent bytes of one connection; one that reads too slowly is closed and comes back.";
    HANDSHAKE_TIMEOUT Server "handshake_timeout", number("seconds", 1, 3_600), "10",
        "Time for a handshake, and for the body of a request.";
    COMPRESSION Server "compression", Kind::Flag, "false",
        "Compress messages of 256 bytes and more for clients that offer permessage-deflate, as browsers do. An event is compressed once, however many get it. Worth it where traffic costs more than CPU: rows of JSON shrink to a third, small events stay as they are.";
    WEBHOOK_PRIVATE_ADDRESSES Server "webhook_private_addresses", Kind::Flag, "true",
        "Whether webhooks may be sent to addresses that are not public: this machine's, those of private networks. To be switched off where others may set up apps.";
    METRICS_TOKEN Server "metrics_token", Kind::Secret, "",
        "Who sends it as `Authorization: Bearer TOKEN` may read `/metrics`, in the format of Prometheus. 16 characters or more. Without it there is no such page.";
    INSPECTOR_TOKEN Server "inspector_token", Kind::Secret, "",
        "Who gives it may use the page `/inspector`: connections, channels, events and webhooks as they are now. 16 characters or more. Without it there is no such page, except on this machine in development mode.";
    LOG_FORMAT Server "log_format", Kind::Choice(&["text", "json"]), "text",
        "How log lines look.";
    LOG_LEVEL Server "log_level",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]), "info",
        "The least important lines that are logged.";
    STATE_DIR Server "state_dir", Kind::Text, ".clarim",
        "Directory of the development app and of the files with process ids.";
    SCALING_ENABLED Server "scaling_enabled", Kind::Flag, "false",
        "Whether other nodes serve the same apps; they find each other over a bus: SCALING_URL or Redis.";
    SCALING_CHANNEL Server "scaling_channel", Kind::Text, "reverb",
        "What all names on the bus begin with: nodes with the same belong together.";
    SCALING_URL Server "scaling_url", Kind::Secret, "",
        "The bus: `redis://`, `rediss://`, `redis-sentinel://`, `redis-cluster://`, `nats://` or `tls://` (NATS with TLS). Default: the Redis of REDIS_URL, or of REDIS_HOST and those below it.";
    SCALING_LEASE Server "scaling_lease", number("seconds", 2, 3_600), "10",
        "A node that is silent for so long is given up, and its members leave.";
    SCALING_TIMEOUT Server "scaling_timeout", number("milliseconds", 10, 60_000), "1000",
        "How long the HTTP API, and who opens a channel, waits for the answers of other nodes.";
    SCALING_STRICT Server "scaling_strict", Kind::Flag, "false",
        "Whether publishing is refused (503) while the bus is lost. Otherwise it reaches this node's clients, and is answered 200 with the header Clarim-Warning.";
    REDIS_URL Server "redis_url", Kind::Secret, "",
        "The Redis that carries the bus, as a URL. As those below, also without a prefix, as Laravel has it.";
    REDIS_HOST Server "redis_host", Kind::Text, "127.0.0.1",
        "Its host; with `tls://` before it, TLS is used.";
    REDIS_PORT Server "redis_port", number(PORT_NUMBER, 1, 65_535), "6379",
        "Its port.";
    REDIS_USERNAME Server "redis_username", Kind::Text, "",
        "Its user. Default: none, as for servers without ACL.";
    REDIS_PASSWORD Server "redis_password", Kind::Secret, "",
        "Its password.";
    REDIS_DB Server "redis_db", number("database", 0, 65_535), "0",
        "Its database.";
    APPS_DATABASE_URL Server "apps_database_url", Kind::Secret, "",
        "A database with apps beside those of the file or the environment: `sqlite:FILE` or `postgres://USER:PASSWORD@HOST/DATABASE`. They are the rows of its table `clarim_apps`, which is made at the start if it is missing; changed rows take effect within two seconds. No id or key may be in both places.";
    DEBUG Server "debug", Kind::Flag, "false",
        "Print every message that comes and goes. Flag: --debug.";
    APP_ID App "id", Kind::Text, "",
        "Id of the app, in the paths of the HTTP API.";
    APP_KEY App "key", Kind::Text, "",
        "Public key of the app, with which clients connect.";
    APP_SECRET App "secret", Kind::Secret, "",
        "Secret of the app, with which its backend signs.";
    APP_ALLOWED_ORIGINS App "allowed_origins", Kind::List, "*",
        "Hosts of pages that may connect; * stands for any run of characters.";
    APP_PING_INTERVAL App "ping_interval", number("seconds", 1, DAY), "60",
        "A connection silent for so long is pinged.";
    APP_ACTIVITY_TIMEOUT App "activity_timeout", number("seconds", 1, DAY), "30",
        "A pinged connection that stays silent for so long is closed.";
    APP_MAX_CONNECTIONS App "max_connections", number("connections", 1, COUNT), "",
        "Open connections of the app. Default: as many as the process may hold.";
    APP_MAX_MESSAGE_SIZE App "max_message_size", number("bytes", 100, GIB), "100000",
        "Largest WebSocket message from a client.";
    APP_ACCEPT_CLIENT_EVENTS_FROM App "accept_client_events_from",
        Kind::Choice(&["members", "all", "none"]), "members",
        "Who may send client events (whispers): members of the channel, all, or none.";
    APP_CLIENT_EVENTS_ON_PUBLIC_CHANNELS App "client_events_on_public_channels",
        Kind::Flag, "false",
        "Whether client events are taken on public channels too.";
    APP_SUBSCRIPTION_COUNT App "subscription_count", Kind::Flag, "false",
        "Whether subscribers are told how many they are.";
    APP_RATE_LIMITING_ENABLED App "rate_limiting_enabled", Kind::Flag, "false",
        "Whether messages of a connection are limited.";
    APP_RATE_LIMIT_MAX_ATTEMPTS App "rate_limit_max_attempts", number("messages", 1, COUNT), "60",
        "Messages of a connection in one window, when limited.";
    APP_RATE_LIMIT_DECAY_SECONDS App "rate_limit_decay_seconds", number("seconds", 1, DAY), "60",
        "Length of that window.";
    APP_RATE_LIMIT_TERMINATE App "rate_limit_terminate", Kind::Flag, "false",
        "Whether a connection over the limit is closed, rather than told.";
    APP_WEBHOOKS App "webhooks", Kind::Endpoints, "",
        "Who in the app's backend is told what happens on its channels, as Pusher's webhooks tell it. Of a table, `events` are those that are told (without it all but `client_event` and `subscription_count`), `channels` beginnings of the names that are told of (without it all), and `headers` are sent along.";
    APP_MAX_CHANNELS_PER_CONNECTION App "max_channels_per_connection",
        number("channels", 1, COUNT), "1000",
        "Subscriptions of one connection.";
    APP_MAX_CHANNEL_NAME_LENGTH App "max_channel_name_length", number("bytes", 1, 65_535), "200",
        "Length of a channel's name, prefix included.";
    APP_MAX_EVENT_NAME_LENGTH App "max_event_name_length", number("bytes", 1, 65_535), "200",
        "Length of an event's name.";
    APP_MAX_EVENT_SIZE App "max_event_size", number("bytes", 1, GIB), "100000",
        "Data of one event, published or from a client.";
    APP_MAX_PRESENCE_MEMBERS App "max_presence_members", number("users", 1, COUNT), "10000",
        "Users on one presence channel.";
    APP_MAX_PRESENCE_MEMBER_SIZE App "max_presence_member_size", number("bytes", 1, GIB), "10000",
        "The channel_data of one member.";
    APP_MAX_CHANNELS_PER_EVENT App "max_channels_per_event", number("channels", 1, COUNT), "100",
        "Channels named by one published event.";
    APP_MAX_EVENTS_PER_BATCH App "max_events_per_batch", number("events", 1, COUNT), "100",
        "Events in one batch.";
}

/// The key with this name, without prefix.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    ALL.iter().copied().find(|key| key.name == name)
}

/// The key with this name if it stands without a prefix: the framework's own variables for Redis.
pub(crate) fn find_bare(name: &str) -> Option<&'static Key> {
    name.starts_with("REDIS_").then(|| find(name)).flatten()
}

/// The key with this name in that place of the TOML file.
#[must_use]
pub(crate) fn find_toml(place: Place, name: &str) -> Option<&'static Key> {
    of(place).find(|key| key.toml == name)
}

/// The keys of one place.
pub(crate) fn of(place: Place) -> impl Iterator<Item = &'static Key> {
    ALL.iter().copied().filter(move |key| key.place == place)
}

/// The one of `names` that was probably meant by `name`.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|known| (strsim::osa_distance(name, known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance * 2 <= name.len().max(4))
        .map(|(_, known)| known)
}

/// The key of which `name` (without prefix) is a typing error: so near that it can hardly be a name
/// of its own. Numbered names (`APP_KEY_2`) are: people number the apps of their own configuration.
pub(crate) fn typo_of(name: &str) -> Option<&'static Key> {
    if name.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let near = if name.len() < 8 { 1 } else { 2 };
    ALL.iter().copied().find(|key| strsim::osa_distance(name, key.name) <= near)
}

/// The reference of all settings as a Markdown document.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "Every setting can be typed with the prefix `CLARIM_` or `REVERB_`, in the environment or in\n\
         `.env`, or under its TOML name in `clarim.toml`. The first of these that has it counts:\n\
         flag, `CLARIM_` in the environment, `REVERB_` in the environment, `CLARIM_` in `.env`,\n\
         `REVERB_` in `.env`, TOML file, default.\n",
    );
    for (place, title) in [
        (Place::Environment, "Where settings come from"),
        (Place::Server, "Server: `[server]`"),
        (Place::App, "App: `[[apps]]`"),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\n## {title}\n\n| Name | TOML | Unit | Default | Meaning |\n|---|---|---|---|---|\n"
        );
        for Key { name, toml, default, doc, .. } in of(place) {
            let unit = match find(name).map(|key| key.kind) {
                Some(Kind::Choice(words)) => words.join(", "),
                _ => find(name).map_or("", Key::unit).to_owned(),
            };
            let _ =
                writeln!(out, "| `{name}` | {} | {unit} | {} | {doc} |", code(toml), code(default));
        }
    }
    out
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

/// The reference for a terminal.
pub fn help() -> String {
    let mut out =
        String::from("Settings (prefix CLARIM_ or REVERB_; in clarim.toml as in brackets):\n");
    for Key { name, toml, default, doc, .. } in ALL {
        let toml = if toml.is_empty() { String::new() } else { format!(" [{toml}]") };
        let default =
            if default.is_empty() { String::new() } else { format!(" Default: {default}.") };
        let _ = write!(out, "\n  {name}{toml}\n      {doc}{default}");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_few() {
        assert!(ALL.len() < 60);
        assert_eq!(ALL.iter().map(|key| key.name).collect::<HashSet<_>>().len(), ALL.len());
        for place in [Place::Server, Place::App] {
            let names: HashSet<_> = of(place).map(|key| key.toml).collect();
            assert_eq!(names.len(), of(place).count());
        }
    }

    #[test]
    fn typos_are_told_from_names_of_their_own() {
        for (typed, meant) in [("APP_KEYS", "APP_KEY"), ("SERVER_PROT", "SERVER_PORT")] {
            assert_eq!(typo_of(typed).map(|key| key.name), Some(meant));
        }
        for own in ["APP_KEY_2", "BACKUP_APP_KEY", "DATABASE_URL", "APP_NAME_PREFIX"] {
            assert_eq!(typo_of(own).map(|key| key.name), None, "{own}");
        }
    }

    #[test]
    fn the_reference_has_each_key_once() {
        let reference = reference();
        for key in ALL {
            assert_eq!(reference.matches(&format!("| `{}` |", key.name)).count(), 1);
        }
    }
}

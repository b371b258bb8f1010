//! The table itself.

/// The scope of a setting, which is also its place in the TOML file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The server as a whole: `[server]`.
    Server,
    /// One app: `[[apps]]`.
    App,
    /// The reading of settings: only in the environment.
    Environment,
}

/// The kind of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// Text that is never printed.
    Secret,
    /// `true` or `false`.
    Flag,
    /// Comma-separated texts; in the TOML file an array.
    List,
    /// A list of URLs, or an array of tables, which is JSON in the environment.
    Endpoints,
    /// A list of history rules, or an array of tables, which is JSON in the environment.
    Rules,
    /// A whole number.
    Number {
        /// Its unit.
        unit: &'static str,
        /// The minimum.
        min: u64,
        /// The maximum.
        max: u64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// A setting. In the environment its name has the prefix `CLARIM_` or `REVERB_`.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in the environment, without prefix.
    pub name: &'static str,
    /// Its scope.
    pub place: Place,
    /// Its name in the TOML file; empty if it can't be there.
    pub toml: &'static str,
    /// The kind of its value.
    pub kind: Kind,
    /// Its default, as a user would type it; empty if there is none, or if it depends on other settings as
    /// `doc` says.
    pub default: &'static str,
    /// Its meaning.
    pub doc: &'static str,
}

impl Key {
    /// Returns the expected value, to follow the word "expected".
    #[must_use]
    pub fn expected(&self) -> String {
        match self.kind {
            Kind::Text | Kind::Secret => "a text".to_owned(),
            Kind::Flag => "true or false".to_owned(),
            Kind::List => "a comma-separated list".to_owned(),
            Kind::Endpoints => {
                "URLs, or tables with url, events, channels and headers (in the environment as JSON)"
                    .to_owned()
            }
            Kind::Rules => {
                "rules, as in private-*:100:120s, or tables with pattern, messages, ttl, bytes, rewind, \
                 presence_grace and client_events (in the environment as JSON)"
                    .to_owned()
            }
            Kind::Number { unit: PORT_NUMBER, min, max } => {
                format!("a {PORT_NUMBER} from {min} to {max}")
            }
            Kind::Number { unit, min, max } if max >= u64::from(u32::MAX) => {
                format!("a whole number of {unit}, at least {min}")
            }
            Kind::Number { unit, min, max } => {
                format!("a whole number of {unit} from {min} to {max}")
            }
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// Returns the unit of a number, or the kind of another value.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Text | Kind::Secret => "text",
            Kind::Flag => "true/false",
            Kind::List => "list",
            Kind::Endpoints => "URLs or tables",
            Kind::Rules => "rules or tables",
            Kind::Number { unit, .. } => unit,
            Kind::Choice(_) => "choice",
        }
    }
}

impl Kind {
    /// Whether the value may be an array of tables.
    pub(crate) fn has_tables(self) -> bool {
        matches!(self, Self::Endpoints | Self::Rules)
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
        /// All settings, in the order of the reference.
        pub static ALL: &[&Key] = &[$(&$name),*];
    };
}

keys! {
    CONFIG Environment "", Kind::Text, "clarim.toml",
        "Path to the TOML file. The default file is optional. Flag: --config.";
    SERVER_HOST Server "host", Kind::Text, "",
        "Address to listen on. Default: 0.0.0.0; in development mode 127.0.0.1.";
    SERVER_PORT Server "port", number(PORT_NUMBER, 0, 65_535), "8080",
        "Port to listen on; 0 for any free port.";
    SERVER_PATH Server "path", Kind::Text, "",
        "Prefix of every path, if a reverse proxy forwards one.";
    HOST Server "hostname", Kind::Text, "",
        "Host name under which clients reach the server.";
    SCHEME Server "scheme", Kind::Choice(&["http", "https"]), "",
        "Scheme under which clients reach the server. Default: https if TLS_CERT is set, otherwise http.";
    PORT Server "public_port", number(PORT_NUMBER, 1, 65_535), "",
        "Port under which clients reach the server. Default: the port it listens on.";
    MAX_REQUEST_SIZE Server "max_request_size", number("bytes", 1_000, GIB), "240000",
        "Maximum size of an HTTP request body. Larger requests are answered with 413. The default fits an event of 100,000 bytes, even if all of them are quotes, which JSON doubles.";
    TLS_CERT Server "tls_cert", Kind::Text, "",
        "Path to the PEM certificate chain. Together with TLS_KEY it enables TLS.";
    TLS_KEY Server "tls_key", Kind::Text, "",
        "Path to the PEM private key.";
    WORKERS Server "workers", number("threads", 1, 1_024), "",
        "Number of worker threads, which own the connections. Default: one per core.";
    DRAIN_SECONDS Server "drain_seconds", number("seconds", 0, 3_600), "5",
        "Time over which clients are disconnected during a shutdown.";
    OUTBOX_SIZE Server "outbox_size", number("bytes", 4_096, GIB), "1048576",
        "Size of a connection's send queue above which a client that reads nothing for 5 seconds is disconnected, and reconnects. A client that reads is not disconnected for a burst. Default: MAX_REQUEST_SIZE if that is larger than 1 MiB.";
    OUTBOX_TIMEOUT Server "outbox_timeout", number("seconds", 1, 3_600), "30",
        "Maximum time that a message waits in the send queue of a client that reads too slowly. Then the client is disconnected, and reconnects.";
    HANDSHAKE_TIMEOUT Server "handshake_timeout", number("seconds", 1, 3_600), "10",
        "Timeout for a handshake, and for the body of a request.";
    MAX_CONNECTIONS_PER_ADDRESS Server "max_connections_per_address", number("connections", 1, COUNT), "",
        "Maximum number of connections of one client address, or of one IPv6 network (/64). Behind a proxy in a private network, the address is the last one in X-Forwarded-For. Default: no limit.";
    MAX_HANDSHAKES_PER_ADDRESS Server "max_handshakes_per_address", number("handshakes", 1, COUNT), "",
        "Maximum number of handshakes of one client address per second. Default: no limit.";
    FALLBACK Server "fallback", Kind::Flag, "true",
        "Whether clients may connect over HTTP where WebSockets are blocked (`xhr_streaming`, `xhr_polling`).";
    COMPRESSION Server "compression", Kind::Flag, "false",
        "Whether messages of 256 bytes and more are compressed for clients that offer permessage-deflate, as browsers do. An event is compressed once for all its subscribers. Useful if traffic costs more than CPU: rows of JSON shrink to a third, small events do not shrink.";
    WEBHOOK_PRIVATE_ADDRESSES Server "webhook_private_addresses", Kind::Flag, "",
        "Whether webhooks may be sent to private addresses: this machine and private networks. Default: true; false with APPS_DATABASE_URL, where other people may configure apps.";
    WEBHOOK_STORE Server "webhook_store", Kind::Choice(&["memory", "disk"]), "memory",
        "Place where webhooks wait for their endpoint. `disk` keeps them in the directory `webhooks` of STATE_DIR: they survive a crash, and an endpoint that is down for up to three days. See [Webhooks on disk](deploy.md#webhooks-on-disk). `memory` keeps up to 16 MiB per endpoint, for five minutes.";
    HISTORY_PATH Server "history_path", Kind::Text, "",
        "Path to a file that keeps the histories of channels, so that they survive a restart and a crash. It is created; its directory must exist. For a single node: a cluster keeps them on its bus. Delete the file if the server ran without it in between. See [Stores](history.md#stores). Default: in memory.";
    METRICS_TOKEN Server "metrics_token", Kind::Secret, "",
        "Bearer token for `/metrics`, which has the format of Prometheus (`Authorization: Bearer TOKEN`). At least 16 characters. Without a token `/metrics` does not exist.";
    INSPECTOR_TOKEN Server "inspector_token", Kind::Secret, "",
        "Token for the page `/inspector`, a live view of connections, channels, events and webhooks. At least 16 characters. Without a token the page exists only on this machine in development mode.";
    LOG_FORMAT Server "log_format", Kind::Choice(&["text", "json"]), "text",
        "Format of log lines.";
    LOG_LEVEL Server "log_level",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]), "info",
        "Minimum level of log lines.";
    STATE_DIR Server "state_dir", Kind::Text, ".clarim",
        "Path to the directory of the development app, the process id files and the webhooks on disk.";
    SCALING_ENABLED Server "scaling_enabled", Kind::Flag, "false",
        "Whether other nodes serve the same apps. Nodes find each other over a bus: SCALING_URL or Redis. Default: true if SCALING_URL is set.";
    SCALING_CHANNEL Server "scaling_channel", Kind::Text, "reverb",
        "Prefix of all subjects on the bus. Nodes with the same prefix form a cluster.";
    SCALING_URL Server "scaling_url", Kind::Secret, "",
        "URL of the bus: `redis://`, `rediss://`, `redis-sentinel://`, `redis-cluster://`, `nats://` or `nats+tls://` (also `tls://`). With TLS, `?ca=FILE` names the certificate authority. Default: the Redis server of REDIS_URL, or of REDIS_HOST and the settings below it.";
    SCALING_LEASE Server "scaling_lease", number("seconds", 2, 3_600), "10",
        "Time without a heartbeat after which a node is considered dead and its members are removed.";
    SCALING_TIMEOUT Server "scaling_timeout", number("milliseconds", 10, 60_000), "1000",
        "Timeout for replies from other nodes: in API requests, in new subscriptions and, at startup, before the node accepts clients.";
    SCALING_STRICT Server "scaling_strict", Kind::Flag, "false",
        "Whether publishing is refused with 503 while the bus is down. Otherwise an event reaches the clients of this node only, and the answer is 200 with the header Clarim-Warning.";
    SCALING_ORDERED Server "scaling_ordered", Kind::Flag, "true",
        "Whether every node delivers the events of a channel in the order of the bus. If false, a node's own clients get its events one round trip to the bus earlier, possibly in another order than clients of other nodes.";
    SCALING_GAP Server "scaling_gap", Kind::Choice(&["reconnect", "event"]), "reconnect",
        "What happens to the clients of a node that has lost the bus and may have missed events. `reconnect` disconnects subscribers within 5 s with code 4200: every client reconnects, subscribes again and can fetch what it missed. `event` sends `clarim:gap` on each of their channels instead.";
    REDIS_URL Server "redis_url", Kind::Secret, "",
        "URL of the Redis server that carries the bus. All REDIS_ settings also work without a prefix, as in Laravel.";
    REDIS_HOST Server "redis_host", Kind::Text, "127.0.0.1",
        "Host of the Redis server. `tls://` in front of it, or Laravel's `REDIS_SCHEME=tls`, enables TLS.";
    REDIS_PORT Server "redis_port", number(PORT_NUMBER, 1, 65_535), "6379",
        "Port of the Redis server.";
    REDIS_USERNAME Server "redis_username", Kind::Text, "",
        "User of the Redis server. Default: none, for servers without ACL.";
    REDIS_PASSWORD Server "redis_password", Kind::Secret, "",
        "Password of the Redis server.";
    REDIS_DB Server "redis_db", number("database", 0, 65_535), "0",
        "Number of the Redis database.";
    APPS_DATABASE_URL Server "apps_database_url", Kind::Secret, "",
        "URL of a database with apps, in addition to those of the file or the environment: `sqlite:FILE` or `postgres://USER:PASSWORD@HOST/DATABASE`. The apps are rows of its table `clarim_apps`, which is created at start if it does not exist. Changed rows take effect within two seconds, removed ones within four; an empty table removes no app until the server is reloaded (SIGHUP). An id or key must not be in both places.";
    DEBUG Server "debug", Kind::Flag, "false",
        "Whether every message of clients and backends is printed. Flag: --debug.";
    APP_ID App "id", Kind::Text, "",
        "Id of the app, used in the paths of the HTTP API.";
    APP_KEY App "key", Kind::Text, "",
        "Public key of the app, used by clients.";
    APP_SECRET App "secret", Kind::Secret, "",
        "Secret of the app, used by its backend to sign requests.";
    APP_ALLOWED_ORIGINS App "allowed_origins", Kind::List, "*",
        "Pages that may connect: hosts, optionally with a scheme and a port, as in `example.com`, `*.example.com` or `https://example.com:8443`. * matches any number of characters. Clients without an `Origin` header, which only browsers send, are allowed unless APP_REQUIRE_ORIGIN is set.";
    APP_REQUIRE_ORIGIN App "require_origin", Kind::Flag, "false",
        "Whether clients without an `Origin` header are refused. Mobile apps and servers send none.";
    APP_AUTHORIZATION_TIMEOUT App "authorization_timeout", number("seconds", 1, DAY), "",
        "Time within which a connection must sign in, or join a private or presence channel. Otherwise it is closed with 4009. Default: no limit.";
    APP_PING_INTERVAL App "ping_interval", number("seconds", 1, DAY), "60",
        "Time without a message after which a connection is pinged.";
    APP_ACTIVITY_TIMEOUT App "activity_timeout", number("seconds", 1, DAY), "30",
        "Timeout for the answer to a ping, after which the connection is closed.";
    APP_MAX_CONNECTIONS App "max_connections", number("connections", 1, COUNT), "",
        "Maximum number of connections of the app on one node. A cluster accepts this number on each node. Default: as many as the process can open.";
    APP_MAX_MESSAGE_SIZE App "max_message_size", number("bytes", 100, GIB), "100000",
        "Maximum size of a WebSocket message from a client.";
    APP_ACCEPT_CLIENT_EVENTS_FROM App "accept_client_events_from",
        Kind::Choice(&["members", "all", "none"]), "members",
        "Which clients may send client events (whispers): members of the channel, all clients, or none.";
    APP_CLIENT_EVENTS_ON_PUBLIC_CHANNELS App "client_events_on_public_channels",
        Kind::Flag, "false",
        "Whether client events are accepted on public channels too.";
    APP_CLIENT_EVENT_DATA App "client_event_data", Kind::Choice(&["string", "unchanged"]), "string",
        "Form in which the data of client events is forwarded. `string` is Pusher's: data that is not a string becomes JSON in a string, which pusher-js and Echo decode. `unchanged` is Reverb's.";
    APP_SUBSCRIPTION_COUNT App "subscription_count", Kind::Flag, "false",
        "Whether subscribers receive the number of subscribers of their channel.";
    APP_RATE_LIMITING_ENABLED App "rate_limiting_enabled", Kind::Flag, "false",
        "Whether the messages of each connection are rate limited.";
    APP_RATE_LIMIT_MAX_ATTEMPTS App "rate_limit_max_attempts", number("messages", 1, COUNT), "60",
        "Maximum number of messages of a connection per window, with rate limiting.";
    APP_RATE_LIMIT_DECAY_SECONDS App "rate_limit_decay_seconds", number("seconds", 1, DAY), "60",
        "Length of the rate limiting window.";
    APP_RATE_LIMIT_TERMINATE App "rate_limit_terminate", Kind::Flag, "false",
        "Whether a connection that exceeds the rate limit is closed. Otherwise it receives an error.";
    APP_WEBHOOKS App "webhooks", Kind::Endpoints, "",
        "Webhook endpoints of the app's backend, which receive what Pusher's webhooks send. In a table, `events` selects events (default: all but `client_event` and `subscription_count`), `channels` selects channels by prefix (default: all), and `headers` are added to each request.";
    APP_HISTORY App "history", Kind::Rules, "",
        "Channels that keep their last events, so that clients get what they missed: rules `PATTERN:MESSAGES:TTL`, as in `private-*:100:120s`. The first rule whose pattern matches counts; * matches any number of characters. See [History](history.md#rules). Default: no channel.";
    APP_MAX_CHANNELS_PER_CONNECTION App "max_channels_per_connection",
        number("channels", 1, COUNT), "1000",
        "Maximum number of subscriptions of a connection.";
    APP_MAX_NAME_LENGTH App "max_name_length", number("bytes", 1, 65_535), "200",
        "Maximum length of a name: of a channel, including its prefix, and of an event.";
    APP_MAX_EVENT_SIZE App "max_event_size", number("bytes", 1, GIB), "100000",
        "Maximum size of the data of an event, from a backend or a client. Default: MAX_REQUEST_SIZE if that is set to more.";
    APP_MAX_PRESENCE_MEMBERS App "max_presence_members", number("users", 1, COUNT), "10000",
        "Maximum number of users on a presence channel.";
    APP_MAX_PRESENCE_MEMBER_SIZE App "max_presence_member_size", number("bytes", 1, GIB), "10000",
        "Maximum size of a member's channel_data.";
    APP_MAX_EVENTS_PER_BATCH App "max_events_per_batch", number("events", 1, COUNT), "100",
        "Maximum number of events in a batch, and of channels of one event.";
}

/// Returns the setting of this name, without prefix.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    ALL.iter().copied().find(|key| key.name == name)
}

/// Laravel's variable for the scheme of REDIS_HOST, which has no name of its own here.
pub(crate) static REDIS_SCHEME: Key = Key {
    name: "REDIS_SCHEME",
    place: Place::Server,
    toml: "",
    kind: Kind::Choice(&["tcp", "redis", "tls", "rediss"]),
    default: "tcp",
    doc: "",
};

/// The setting of a variable without prefix: Laravel's own variables for Redis.
pub(crate) fn find_bare(name: &str) -> Option<&'static Key> {
    if name == REDIS_SCHEME.name {
        return Some(&REDIS_SCHEME);
    }
    name.starts_with("REDIS_").then(|| find(name)).flatten()
}

/// The setting of this name in a table of the TOML file.
#[must_use]
pub(crate) fn find_toml(place: Place, name: &str) -> Option<&'static Key> {
    of(place).find(|key| key.toml == name)
}

/// The settings of one place.
pub(crate) fn of(place: Place) -> impl Iterator<Item = &'static Key> {
    ALL.iter().copied().filter(move |key| key.place == place)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_fewer_than_seventy() {
        assert!(ALL.len() < 70);
        assert_eq!(ALL.iter().map(|key| key.name).collect::<HashSet<_>>().len(), ALL.len());
        for place in [Place::Server, Place::App] {
            let names: HashSet<_> = of(place).map(|key| key.toml).collect();
            assert_eq!(names.len(), of(place).count());
        }
    }
}

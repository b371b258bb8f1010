//! Settings of a cluster.

use clarim_server::config::{Bus, OnGap, Scaling};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::reader::Reader;
use crate::keys::{self, Key};

const ON_GAP: [(&str, OnGap); 2] = [("reconnect", OnGap::Reconnect), ("event", OnGap::Event)];

/// The configuration of the cluster, if it is enabled. Otherwise its settings are not checked, because other
/// programs use variables for Redis too.
pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Scaling> {
    if !reader.flag(&keys::SCALING_ENABLED) {
        return None;
    }
    let Url { key, url } = Url::read(reader);
    let bus = match Bus::parse(&url) {
        Ok(bus) => bus,
        Err(error) => {
            reader.wrong(key, error);
            return None;
        }
    };
    let scaling = Scaling::new(bus)
        .prefix(reader.text(&keys::SCALING_CHANNEL).unwrap_or_default())
        .lease(reader.seconds(&keys::SCALING_LEASE))
        .deadline(reader.milliseconds(&keys::SCALING_TIMEOUT))
        .strict(reader.flag(&keys::SCALING_STRICT))
        .ordered(reader.flag(&keys::SCALING_ORDERED))
        .on_gap(reader.choice(&keys::SCALING_GAP, &ON_GAP));
    Some(scaling)
}

/// The URL of the bus, and the setting it comes from.
struct Url {
    key: &'static Key,
    url: String,
}

impl Url {
    fn read(reader: &mut Reader<'_>) -> Self {
        if let Some(url) = reader.text(&keys::SCALING_URL) {
            return Self { key: &keys::SCALING_URL, url };
        }
        match reader.text(&keys::REDIS_URL) {
            Some(url) => Self { key: &keys::REDIS_URL, url: url_of_redis(&url) },
            None => Self { key: &keys::REDIS_HOST, url: url_of_parts(reader) },
        }
    }
}

/// The URL with the scheme of Redis. For Laravel, `tls://` is Redis with TLS; for a bus it is NATS.
fn url_of_redis(url: &str) -> String {
    match url.split_once("://") {
        Some(("tls", rest)) => format!("rediss://{rest}"),
        Some(("tcp", rest)) => format!("redis://{rest}"),
        _ => url.to_owned(),
    }
}

/// The URL of the Redis server that REDIS_HOST and the settings below it describe.
fn url_of_parts(reader: &mut Reader<'_>) -> String {
    let host = reader.text(&keys::REDIS_HOST).unwrap_or_default();
    let schemes = [("tcp", "redis"), ("redis", "redis"), ("tls", "rediss"), ("rediss", "rediss")];
    let (scheme, host) = match host.split_once("://") {
        Some(("tls" | "rediss", host)) => ("rediss", host.to_owned()),
        Some((_, host)) => ("redis", host.to_owned()),
        None => (reader.choice(&keys::REDIS_SCHEME, &schemes), host),
    };
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let encoded = |reader: &Reader<'_>, key: &Key| {
        let text = reader.text(key).unwrap_or_default();
        utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string()
    };
    let user = encoded(reader, &keys::REDIS_USERNAME);
    let password = encoded(reader, &keys::REDIS_PASSWORD);
    let login = if user.is_empty() && password.is_empty() {
        String::new()
    } else {
        format!("{user}:{password}@")
    };
    let port = reader.small(&keys::REDIS_PORT).unwrap_or(6379);
    let database = reader.small(&keys::REDIS_DB).unwrap_or(0);
    format!("{scheme}://{login}{host}:{port}/{database}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::typed::Values;

    fn url_of(typed: &[(&'static Key, &str)]) -> String {
        let mut values = Values::default();
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        for (key, text) in typed {
            values.add(key, text, Source::Default);
        }
        let url = Url::read(&mut Reader {
            values: &values,
            problems: &mut problems,
            warnings: &mut warnings,
        })
        .url;
        assert_eq!(problems, []);
        url
    }

    #[test]
    fn the_variables_of_laravel_make_a_url() {
        use keys::*;
        for (typed, url) in [
            (&[][..], "redis://127.0.0.1:6379/0"),
            (
                &[
                    (&REDIS_HOST, "redis-cluster.internal"),
                    (&REDIS_PASSWORD, "s:/@"),
                    (&REDIS_DB, "2"),
                ],
                "redis://:s%3A%2F%40@redis-cluster.internal:6379/2",
            ),
            (
                &[(&REDIS_HOST, "tls://r"), (&REDIS_PORT, "6380"), (&REDIS_USERNAME, "ana")],
                "rediss://ana:@r:6380/0",
            ),
            (&[(&REDIS_HOST, "r"), (&REDIS_SCHEME, "TLS")], "rediss://r:6379/0"),
            (&[(&REDIS_HOST, "r"), (&REDIS_SCHEME, "tcp")], "redis://r:6379/0"),
            (&[(&REDIS_URL, "tls://:p@r:6380/1")], "rediss://:p@r:6380/1"),
            (&[(&REDIS_URL, "tcp://r")], "redis://r"),
            (&[(&SCALING_URL, "tls://n")], "tls://n"),
            (&[(&SCALING_URL, "nats+tls://n")], "nats+tls://n"),
            (&[(&REDIS_HOST, "::1")], "redis://[::1]:6379/0"),
            (&[(&REDIS_URL, "redis://a"), (&REDIS_HOST, "b")], "redis://a"),
            (&[(&REDIS_URL, "redis://a"), (&SCALING_URL, "nats://b")], "nats://b"),
        ] {
            assert_eq!(url_of(typed), url);
            assert!(Bus::parse(url).is_ok());
        }
    }
}

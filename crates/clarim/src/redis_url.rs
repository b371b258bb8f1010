//! The Redis server of the environment. The variables mean the same to the server (`clarim-config`).

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::Error;
use crate::variables::Variables;

/// The URL, and the name of the variable that it comes from.
pub(crate) fn read(variables: &Variables<'_>) -> Result<(String, String), Error> {
    let Some((name, url)) = variables.find("REDIS_URL") else {
        return Ok(("REDIS_HOST".to_owned(), of_parts(variables)?));
    };
    // For Laravel, `tls://` is Redis with TLS; for a bus it is NATS.
    let url = match url.split_once("://") {
        Some(("tls", rest)) => format!("rediss://{rest}"),
        Some(("tcp", rest)) => format!("redis://{rest}"),
        _ => url,
    };
    Ok((name, url))
}

/// The URL that `REDIS_HOST`, `REDIS_PORT` and the other parts describe.
fn of_parts(variables: &Variables<'_>) -> Result<String, Error> {
    // Laravel's `.env` has REDIS_PASSWORD=null.
    let text = |name| variables.text(name).filter(|text| text != "null").unwrap_or_default();
    let number = |name, max: u32, default: &str| match variables.find(name) {
        None => Ok(default.to_owned()),
        Some((_, value)) if value.parse::<u32>().is_ok_and(|number| number <= max) => Ok(value),
        Some((name, value)) => {
            let problem = format!("{value:?} is not a number; expected one from 0 to {max}");
            Err(Error::setting(name, problem))
        }
    };
    let host = text("REDIS_HOST");
    let (scheme, host) = match host.split_once("://") {
        Some(("tls" | "rediss", host)) => ("rediss", host),
        Some((_, host)) => ("redis", host),
        None => (scheme(variables)?, host.as_str()),
    };
    let host = match host {
        "" => "127.0.0.1".to_owned(),
        host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        host => host.to_owned(),
    };
    let encoded = |name| utf8_percent_encode(&text(name), NON_ALPHANUMERIC).to_string();
    let login = match (encoded("REDIS_USERNAME"), encoded("REDIS_PASSWORD")) {
        (user, password) if user.is_empty() && password.is_empty() => String::new(),
        (user, password) => format!("{user}:{password}@"),
    };
    let port = number("REDIS_PORT", 65_535, "6379")?;
    let database = number("REDIS_DB", 65_535, "0")?;
    Ok(format!("{scheme}://{login}{host}:{port}/{database}"))
}

fn scheme(variables: &Variables<'_>) -> Result<&'static str, Error> {
    let Some((name, value)) = variables.find("REDIS_SCHEME") else { return Ok("redis") };
    match value.to_ascii_lowercase().as_str() {
        "tcp" | "redis" | "null" => Ok("redis"),
        "tls" | "rediss" => Ok("rediss"),
        _ => Err(Error::setting(name, format!("{value:?} is unknown; expected tcp or tls"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(typed: &[(&str, &str)]) -> Result<String, String> {
        let get = |name: &str| {
            let found = typed.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let variables = Variables { get: &get, prefixes: &["CLARIM_", ""] };
        read(&variables).map(|(_, url)| url).map_err(|error| error.to_string())
    }

    /// The cases of the server's own test.
    #[test]
    fn the_variables_of_laravel_make_a_url() {
        for (typed, expected) in [
            (&[][..], "redis://127.0.0.1:6379/0"),
            (
                &[("REDIS_HOST", "r.internal"), ("REDIS_PASSWORD", "s:/@"), ("REDIS_DB", "2")],
                "redis://:s%3A%2F%40@r.internal:6379/2",
            ),
            (
                &[("REDIS_HOST", "tls://r"), ("REDIS_PORT", "6380"), ("REDIS_USERNAME", "ana")],
                "rediss://ana:@r:6380/0",
            ),
            (&[("REDIS_HOST", "r"), ("REDIS_SCHEME", "TLS")], "rediss://r:6379/0"),
            (&[("REDIS_URL", "tls://:p@r:6380/1"), ("REDIS_PORT", "x")], "rediss://:p@r:6380/1"),
            (&[("REDIS_HOST", "::1"), ("REDIS_PASSWORD", "null")], "redis://[::1]:6379/0"),
            (&[("REDIS_HOST", "a"), ("CLARIM_REDIS_HOST", "b")], "redis://b:6379/0"),
        ] {
            assert_eq!(url(typed).unwrap(), expected);
        }
        let error = url(&[("REDIS_PORT", "80a")]).unwrap_err();
        assert_eq!(error, "REDIS_PORT: \"80a\" is not a number; expected one from 0 to 65535");
    }
}

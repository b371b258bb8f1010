//! Whether the HTTP API takes what a backend signs.

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use clarim_protocol::auth::AppKey;
use clarim_protocol::rest;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;

use super::exchange::{Reply, ask, request};
use super::{Finding, Target};

/// Makes a signed request.
pub(super) async fn signed(
    target: &Target,
    (app, key): (&str, &AppKey),
    (method, what): (&str, &str),
    body: &str,
) -> Result<Reply, Finding> {
    let path = format!("{}/apps/{app}/{what}", target.path);
    // A clock before 1970 is told by the server.
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let query = rest::sign(key, method, &path, &[], body.as_bytes(), now);
    let request = request(method, &format!("{path}?{query}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(|error| {
            Finding::problem(
                "api",
                format!("the request cannot be made: {error}"),
                "look at the app's id",
            )
        })?;
    ask(target, "api", request).await
}

/// A list of channels is asked for, and an event is published that nobody hears.
pub(super) async fn answers(target: &Target, app: &str, key: &AppKey) -> Finding {
    let sent = format!("{}/apps/{app}/", target.path);
    let asked = match signed(target, (app, key), ("GET", "channels"), "").await {
        Ok(reply) if reply.status.is_success() => {
            let body = r#"{"name":"look","channel":"clarim-doctor","data":"{ }"}"#;
            signed(target, (app, key), ("POST", "events"), body).await
        }
        other => other,
    };
    match asked {
        Ok(reply) if reply.status.is_success() => {
            Finding::fine("api", format!("signed requests of app {app} are taken"))
        }
        Ok(reply) => refused(&reply, &sent),
        Err(finding) => finding,
    }
}

/// Why a signed request was refused; `sent`: how its path begins.
fn refused(reply: &Reply, sent: &str) -> Finding {
    let sentence = reply.body.trim();
    let problem = |what: String, cure: &str| Finding::problem("api", what, cure);
    match reply.status.as_u16() {
        401 if sentence.starts_with("Timestamp expired") => {
            problem(clocks(sentence), "set both clocks by NTP (timedatectl set-ntp true)")
        }
        401 if sentence.starts_with("body_md5") => problem(
            "the body that arrives is not the one that was sent".to_owned(),
            "a proxy rewrites it: take out what changes JSON, compresses or filters requests to /apps/",
        ),
        401 if sentence.starts_with("auth_key") => problem(
            "the id is that of an app with another key".to_owned(),
            "REVERB_APP_ID and REVERB_APP_KEY of the backend must be those of one app of the server",
        ),
        401 if sentence.starts_with("Invalid signature")
            && !sentence.contains(&format!("\\n{sent}")) =>
        {
            problem(
                format!("the path that arrives is not the one that was sent: {sentence}"),
                "a proxy rewrites the path: let it pass on the whole path (no slash behind proxy_pass's \
                 address), or set REVERB_SERVER_PATH to what it takes away",
            )
        }
        401 => problem(
            format!("the signature is wrong: {sentence}"),
            "the secret is another one: compare REVERB_APP_SECRET of backend and server",
        ),
        404 if sentence.starts_with("No matching application") => problem(
            format!("the server has no such app: {sentence}"),
            "compare REVERB_APP_ID of backend and server",
        ),
        502..=504 => problem(
            format!("{} answers {}", reply.who(), reply.status),
            "the proxy does not pass /apps/ on to the server",
        ),
        404 | 405 => problem(
            format!("{} answers {} for /apps/", reply.who(), reply.status.as_u16()),
            "the proxy passes on /app/ alone: its location must fit /apps/ too",
        ),
        _ => {
            problem(format!("it answers {}: {sentence}", reply.status), "do what the sentence says")
        }
    }
}

/// By how much they differ: of "… Given timestamp (1) not within 600s of server time (2) …".
fn clocks(sentence: &str) -> String {
    let numbers: Vec<i64> = sentence
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    match numbers[..] {
        [given, _, now, ..] => {
            let way = if given > now { "ahead of" } else { "behind" };
            format!("this machine's clock is {} s {way} the server's", (given - now).abs())
        }
        _ => format!("the clocks differ: {sentence}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared() {
        let sentence = "Timestamp expired: Given timestamp (1000) not within 600s of server time (5000); check";
        assert_eq!(clocks(sentence), "this machine's clock is 4000 s behind the server's");
    }
}

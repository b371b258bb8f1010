//! Checks that the HTTP API accepts signed requests.

use bytes::Bytes;
use clarim_protocol::auth::AppKey;
use clarim_protocol::rest;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;

use super::connection::exchange::{Response, request, send};
use super::connection::target::Target;
use super::finding::Finding;
use crate::remote::unix_seconds;

/// Sends a signed request.
pub(super) async fn send_signed(
    target: &Target,
    app: &str,
    key: &AppKey,
    method: &str,
    resource: &str,
    body: &str,
) -> Result<Response, Finding> {
    let path = format!("{}/apps/{}/{resource}", target.path, rest::encode_segment(app));
    let now = unix_seconds();
    let query = rest::sign(key, method, &path, &[], body.as_bytes(), now);
    let request = request(method, &format!("{path}?{query}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(|error| {
            let what = format!("the request is not valid: {error}");
            Finding::problem("api", what, "check the app's id")
        })?;
    send(target, "api", request).await
}

/// Checks that the channels can be listed, and that an event can be published.
pub(super) async fn answers(target: &Target, app: &str, key: &AppKey) -> Finding {
    let prefix = format!("{}/apps/{}/", target.path, rest::encode_segment(app));
    let response = match send_signed(target, app, key, "GET", "channels", "").await {
        Ok(response) if response.status.is_success() => {
            let body = r#"{"name":"look","channel":"clarim-doctor","data":"{ }"}"#;
            send_signed(target, app, key, "POST", "events", body).await
        }
        other => other,
    };
    match response {
        Ok(response) if response.status.is_success() => {
            Finding::ok("api", format!("signed requests of app {app} are accepted"))
        }
        Ok(response) => refused(&response, &prefix),
        Err(finding) => finding,
    }
}

/// The cause of a refused request whose path began with `prefix`.
fn refused(response: &Response, prefix: &str) -> Finding {
    let sentence = response.body.trim();
    let problem = |what: String, remedy: &str| Finding::problem("api", what, remedy);
    match response.status.as_u16() {
        401 if sentence.starts_with("Timestamp expired") => {
            problem(clocks(sentence), "synchronize both clocks with NTP (timedatectl set-ntp true)")
        }
        401 if sentence.starts_with("body_md5") => problem(
            "the body was changed on its way".to_owned(),
            "a proxy rewrites it: disable rewriting, compression and filtering of requests to /apps/",
        ),
        401 if sentence.starts_with("The query parameter auth_signature is missing") => problem(
            format!("{} forwards requests without their query string", response.server()),
            "forward it: in nginx, a URI with variables after proxy_pass needs $is_args$args at its end",
        ),
        401 if sentence.starts_with("auth_key") => problem(
            "the app with this id has another key".to_owned(),
            "REVERB_APP_ID and REVERB_APP_KEY of the backend must belong to the same app of the server",
        ),
        401 if sentence.starts_with("Invalid signature")
            && !sentence.contains(&format!("\\n{prefix}")) =>
        {
            problem(
                format!("the path was changed on its way: {sentence}"),
                "a proxy rewrites the path: forward the complete path (no slash after the address of \
                 proxy_pass), or set REVERB_SERVER_PATH to the part that it removes",
            )
        }
        401 => problem(
            format!("the signature is wrong: {sentence}"),
            "compare REVERB_APP_SECRET of backend and server",
        ),
        404 if sentence.starts_with("No matching application") => problem(
            format!("the server has no such app: {sentence}"),
            "compare REVERB_APP_ID of backend and server",
        ),
        502..=504 => problem(
            format!("{} answered {}", response.server(), response.status),
            "forward /apps/ to the server in the proxy",
        ),
        404 | 405 => problem(
            format!("{} answered {} for /apps/", response.server(), response.status.as_u16()),
            "the proxy forwards /app/ only: its location must match /apps/ too",
        ),
        _ => problem(format!("it answered {}: {sentence}", response.status), "follow the message"),
    }
}

/// The difference of the clocks, from "… Given timestamp (1) not within 600s of server time (2) …".
fn clocks(sentence: &str) -> String {
    let numbers: Vec<i64> = sentence
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    match numbers[..] {
        [given, _, now, ..] => {
            let direction = if given > now { "ahead of" } else { "behind" };
            format!("this machine's clock is {} s {direction} the server's", (given - now).abs())
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

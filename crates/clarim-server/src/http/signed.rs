//! Authentication of HTTP requests: the signature of the API, and the checks of built-in pages.

use std::net::IpAddr;

use bytes::Bytes;
use clarim_hub::{AppIndex, Apps};
use clarim_protocol::rest::{Params, SignatureError, SignedHead, SignedRequest};
use hyper::header::{HOST, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Request, StatusCode, Uri};
use serde::de::DeserializeOwned;

use super::RequestBody;
use super::body::BodyLimits;
use super::client::{Client, is_forwarded};
use super::response::ApiError;
use crate::clock::since_1970;

/// A request whose signature has been checked.
#[derive(Debug, Clone)]
pub(crate) struct ApiRequest {
    pub(crate) app: AppIndex,
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    params: Params<'static>,
}

/// Limits and keys for reading requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestRules<'a> {
    pub(crate) apps: &'a Apps,
    pub(crate) prefix: &'a str,
    pub(crate) body: BodyLimits,
}

impl ApiRequest {
    /// Checks the signature of a request to an app's API, and reads its body. Nothing of a body is kept
    /// whose sender does not know the secret.
    pub(crate) async fn read(
        request: Request<impl RequestBody>,
        client: &Client,
        app_id: &str,
        rules: RequestRules<'_>,
    ) -> Result<Self, ApiError> {
        let (head, body) = request.into_parts();
        let verified = match verify(&head, app_id, rules) {
            Ok(verified) => verified,
            Err(error) => {
                let _pause = client.pause();
                rules.body.discard(body).await?;
                return Err(error);
            }
        };
        let max = if verified.signed.allows_body() { rules.body.max } else { 0 };
        let is_unsigned =
            |error: &ApiError| max == 0 && error.status == StatusCode::PAYLOAD_TOO_LARGE;
        let body = match (BodyLimits { max, ..rules.body }).read(body).await {
            Err(error) if is_unsigned(&error) => {
                return Err(unauthorized(&SignatureError::Missing("body_md5")));
            }
            body => body?,
        };
        let params = verified.signed.with_body(&body).map_err(|error| unauthorized(&error))?;
        let params = params.into_owned();
        Ok(Self { app: verified.app, body, headers: head.headers, params })
    }

    /// A request of a built-in page, for which another check replaces the signature.
    pub(crate) fn of_page(app: AppIndex, body: Bytes) -> Self {
        Self { app, body, headers: HeaderMap::new(), params: Params::default() }
    }

    /// Returns a parameter of the query.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }
}

/// A request whose signature is valid, before its body is read.
struct Verified<'a> {
    app: AppIndex,
    signed: SignedHead<'a>,
}

fn verify<'a>(
    head: &'a Parts,
    app_id: &str,
    rules: RequestRules<'_>,
) -> Result<Verified<'a>, ApiError> {
    let app = rules.apps.find_by_id(app_id).ok_or_else(|| {
        let shown: String = app_id.chars().take(64).collect();
        let message = format!("No matching application for ID [{shown}].");
        ApiError::new(StatusCode::NOT_FOUND, message)
    })?;
    let query = head.uri.query().unwrap_or_default();
    let signed = SignedRequest { method: head.method.as_str(), path: head.uri.path(), query };
    let key = &rules.apps.get(app).key;
    let signed = signed.verify(key, rules.prefix, since_1970().as_secs());
    Ok(Verified { app, signed: signed.map_err(|error| unauthorized(&error))? })
}

fn unauthorized(error: &SignatureError) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, error.to_string())
}

/// Reads a JSON body.
pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            ApiError::invalid(format!("Invalid field in the body: {error}."))
        } else {
            ApiError::malformed(format!("The body is not valid JSON: {error}."))
        }
    })
}

/// Reads a JSON body into a value that borrows nothing.
pub(crate) fn parse_owned<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    parse(body)
}

/// Whether a request comes from this machine: it names it as such and has passed no proxy.
pub(crate) fn is_local_request(headers: &HeaderMap, uri: &Uri) -> bool {
    host(headers, uri).is_some_and(is_this_machine) && !is_forwarded(headers)
}

/// The host of a request, of HTTP/1 or HTTP/2.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let header = headers.get(HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| uri.authority().map(Authority::as_str))
}

/// A name from somebody's DNS could belong to another site, even if it resolves to this machine.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Whether a request comes from a page that this server has served.
pub(crate) fn is_own_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let origin = headers.get(ORIGIN).and_then(|value| value.to_str().ok());
    let origin = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin.is_some() && origin == host(headers, uri)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::http::client::FORWARDED;

    fn is_asked(uri: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        is_local_request(&map, &uri.parse().unwrap())
    }

    #[test]
    fn the_page_is_served_under_names_of_this_machine_alone() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "127.1.2.3"] {
            assert!(is_asked("/playground/config", &[("host", host)]), "{host}");
        }
        // HTTP/2 has no Host header.
        assert!(is_asked("https://localhost:8080/playground", &[]));
        for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "192.168.1.2"] {
            assert!(!is_asked("/playground/config", &[("host", host)]), "{host}");
        }
        assert!(!is_asked("/playground", &[]));
        for forwarded in FORWARDED {
            let headers = [("host", "127.0.0.1:8080"), (forwarded, "for=1.2.3.4")];
            assert!(!is_asked("/playground", &headers), "{forwarded}");
        }
    }
}

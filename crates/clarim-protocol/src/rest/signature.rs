//! Signatures of requests.

use std::borrow::Cow;

use md5::{Digest, Md5};

use super::error::{SignatureError, TIMESTAMP_TOLERANCE};
use super::query::{Params, decode_path, encode_query_part};
use crate::auth::AppKey;

/// The signed parts of a request. The signature covers the body by its hash, `body_md5`, so the body of a
/// sender who does not know the secret need not be read.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The query after the `?`, URL-encoded.
    pub query: &'a str,
}

impl<'a> SignedRequest<'a> {
    /// Verifies the head of the request: key, version 1.0, timestamp, and the signature (in constant time).
    ///
    /// `now` is in seconds since 1970. A server behind a path prefix passes it in `prefix` ("" for none): both
    /// signatures with it and without it are accepted.
    ///
    /// # Errors
    /// If the signature is invalid. The error is written for the backend's developer.
    pub fn verify(
        &self,
        app: &AppKey,
        prefix: &str,
        now: u64,
    ) -> Result<SignedHead<'a>, SignatureError> {
        let mut params = Params::decode(self.query)?;
        let signature = params.take("auth_signature")?;
        if params.need("auth_key")? != app.key() {
            return Err(SignatureError::Key);
        }
        if params.need("auth_version")? != "1.0" {
            return Err(SignatureError::Version);
        }
        let timestamp = params.need("auth_timestamp")?;
        let timestamp: u64 = timestamp.parse().map_err(|_| SignatureError::TimestampForm)?;
        if timestamp.abs_diff(now) > TIMESTAMP_TOLERANCE {
            return Err(SignatureError::Expired { timestamp, now });
        }
        self.verify_signature(app, prefix, &params, &signature)?;
        let body_md5 = params.take("body_md5").ok();
        params.0.retain(|(name, _)| !name.starts_with("auth_"));
        Ok(SignedHead { params, body_md5 })
    }

    fn verify_signature(
        &self,
        app: &AppKey,
        prefix: &str,
        params: &Params<'_>,
        signature: &str,
    ) -> Result<(), SignatureError> {
        let canonical = params.canonical();
        let verify = |path: &str| {
            let method = self.method.as_bytes();
            let path = path.as_bytes();
            app.verify(&[method, b"\n", path, b"\n", canonical.as_bytes()], signature)
        };
        let without_prefix = self.path.strip_prefix(prefix).unwrap_or(self.path);
        if verify(without_prefix)
            || (!prefix.is_empty() && verify(self.path))
            || as_typed(without_prefix).is_some_and(|path| verify(&path))
        {
            return Ok(());
        }
        Err(SignatureError::Wrong {
            expected: format!("{}\\n{without_prefix}\\n{canonical}", self.method),
        })
    }
}

/// The decoded path. SDKs sign it that leave the encoding to their HTTP library, such as PHP's. `None` if a
/// slash is encoded, because the signature would be valid for another resource too.
fn as_typed(path: &str) -> Option<String> {
    let decoded = decode_path(path).ok()?;
    let slashes = |path: &str| path.matches('/').count();
    (decoded != path && slashes(&decoded) == slashes(path)).then(|| decoded.into_owned())
}

/// A request whose signature is valid, and whose body is still to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead<'a> {
    params: Params<'a>,
    body_md5: Option<Cow<'a, str>>,
}

impl<'a> SignedHead<'a> {
    /// Whether the request may have a body, which is the case with `body_md5`.
    #[must_use]
    pub fn allows_body(&self) -> bool {
        self.body_md5.is_some()
    }

    /// Checks the raw body, and returns the parameters that do not belong to the signature.
    ///
    /// # Errors
    /// If it is not the signed body.
    pub fn with_body(self, body: &[u8]) -> Result<Params<'a>, SignatureError> {
        let mut claimed = [0; 16];
        match self.body_md5 {
            None if body.is_empty() => Ok(self.params),
            None => Err(SignatureError::Missing("body_md5")),
            Some(md5)
                if hex::decode_to_slice(md5.as_bytes(), &mut claimed).is_ok()
                    && Md5::digest(body)[..] == claimed =>
            {
                Ok(self.params)
            }
            Some(_) => Err(SignatureError::BodyMd5),
        }
    }
}

/// Returns the query string of a signed request: `params` and the parameters of the signature.
///
/// ```
/// use clarim_protocol::{auth::AppKey, rest};
///
/// let app = AppKey::new("key", "secret");
/// let body = br#"{"name":"greeting","channel":"hello","data":"{}"}"#;
/// let query = rest::sign(&app, "POST", "/apps/1/events", &[], body, 1_700_000_000);
/// let request = rest::SignedRequest { method: "POST", path: "/apps/1/events", query: &query };
/// let head = request.verify(&app, "", 1_700_000_000)?;
/// assert!(head.with_body(body).is_ok());
/// # Ok::<(), rest::SignatureError>(())
/// ```
#[must_use]
pub fn sign(
    app: &AppKey,
    method: &str,
    path: &str,
    params: &[(&str, &str)],
    body: &[u8],
    now: u64,
) -> String {
    let now = now.to_string();
    let md5 = (!body.is_empty()).then(|| hex::encode(Md5::digest(body)));
    let mut all =
        vec![("auth_key", app.key()), ("auth_timestamp", now.as_str()), ("auth_version", "1.0")];
    all.extend(md5.as_deref().map(|md5| ("body_md5", md5)));
    all.extend(params);
    all.sort_unstable();
    let all = Params(all.into_iter().map(|(n, v)| (Cow::from(n), Cow::from(v))).collect());
    let canonical = all.canonical();
    let signature =
        app.sign(&[method.as_bytes(), b"\n", path.as_bytes(), b"\n", canonical.as_bytes()]);
    let mut query = String::with_capacity(canonical.len() + 96);
    for (name, value) in &all.0 {
        encode_query_part(&mut query, name);
        query.push('=');
        encode_query_part(&mut query, value);
        query.push('&');
    }
    query + "auth_signature=" + &signature
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Pusher's documentation.
    const BODY: &[u8] = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    const QUERY: &str = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
    const NOW: u64 = 1_353_088_179;

    fn app() -> AppKey {
        AppKey::new("278d425bdf160c739803", "7ad3773142a6692b25b8")
    }

    fn request(query: &str) -> SignedRequest<'_> {
        SignedRequest { method: "POST", path: "/apps/3/events", query }
    }

    fn verify<'a>(
        request: &SignedRequest<'a>,
        prefix: &str,
        now: u64,
    ) -> Result<Params<'a>, SignatureError> {
        request.verify(&app(), prefix, now)?.with_body(BODY)
    }

    #[test]
    fn the_documented_example_is_accepted() {
        assert_eq!(verify(&request(QUERY), "", NOW), Ok(Params::default()));
        assert_eq!(verify(&request(QUERY), "", NOW + 600), Ok(Params::default()));
        let prefixed = SignedRequest { path: "/ws/apps/3/events", ..request(QUERY) };
        assert_eq!(verify(&prefixed, "/ws", NOW), Ok(Params::default()));
    }

    #[test]
    fn a_request_may_be_signed_with_the_prefix_too() {
        let query = sign(&app(), "GET", "/ws/apps/3/channels", &[("info", "user_count")], b"", NOW);
        let request = SignedRequest { method: "GET", path: "/ws/apps/3/channels", query: &query };
        let head = request.verify(&app(), "/ws", NOW).unwrap();
        assert!(!head.allows_body());
        assert_eq!(head.with_body(b"").unwrap().get("info"), Some("user_count"));
        assert!(matches!(
            SignedRequest { path: "/apps/3/channels", ..request }.verify(&app(), "", NOW),
            Err(SignatureError::Wrong { .. })
        ));
    }

    #[test]
    fn every_part_is_checked() {
        use SignatureError as E;
        let verify = |query: &str, now| request(query).verify(&app(), "", now).unwrap_err();
        assert_eq!(verify("", NOW), E::Missing("auth_signature"));
        assert_eq!(verify(&QUERY.replace("auth_key", "x"), NOW), E::Missing("auth_key"));
        assert_eq!(verify(&QUERY.replace("278d", "178d"), NOW), E::Key);
        assert_eq!(verify(&QUERY.replace("=1.0", "=2.0"), NOW), E::Version);
        assert_eq!(verify(&QUERY.replace("=1353", "=x353"), NOW), E::TimestampForm);
        assert_eq!(verify(QUERY, NOW + 601), E::Expired { timestamp: NOW, now: NOW + 601 });
        assert_eq!(verify(QUERY, NOW - 601), E::Expired { timestamp: NOW, now: NOW - 601 });
        assert_eq!(verify(&format!("{QUERY}&auth_key=a"), NOW), E::Doubled("auth_key".to_owned()));
        assert_eq!(verify("%", NOW), E::Encoding);
        let wrong = verify(&QUERY.replace("da4548", "da4549"), NOW);
        assert!(wrong.to_string().contains(r"POST\n/apps/3/events\nauth_key=278d"), "{wrong}");
        assert!(matches!(verify(&format!("{QUERY}&x=1"), NOW), E::Wrong { .. }));
        assert!(matches!(verify(&QUERY.replace("md5=ec", "md5=ed"), NOW), E::Wrong { .. }));
    }

    #[test]
    fn the_body_is_checked_after_the_head() {
        use SignatureError as E;
        let head = request(QUERY).verify(&app(), "", NOW).unwrap();
        assert!(head.allows_body());
        assert_eq!(head.with_body(b"other"), Err(E::BodyMd5));
        let query = sign(&app(), "POST", "/apps/3/events", &[], b"", NOW);
        let head = request(&query).verify(&app(), "", NOW).unwrap();
        assert!(!head.allows_body());
        assert_eq!(head.with_body(BODY), Err(E::Missing("body_md5")));
    }

    #[test]
    fn values_are_decoded_before_signing() {
        let query = sign(&app(), "GET", "/p", &[("filter_by_prefix", "presence-a&b=ü ")], b"", NOW);
        assert!(query.contains("filter_by_prefix=presence-a%26b%3D%C3%BC%20"), "{query}");
        let request = SignedRequest { method: "GET", path: "/p", query: &query };
        let params = request.verify(&app(), "", NOW).unwrap().with_body(b"").unwrap();
        assert_eq!(params.get("filter_by_prefix"), Some("presence-a&b=ü "));
    }

    #[test]
    fn a_path_may_be_signed_before_it_is_encoded() {
        let verify = |signed: &str, sent: &str| {
            let query = sign(&app(), "GET", signed, &[], b"", NOW);
            SignedRequest { method: "GET", path: sent, query: &query }
                .verify(&app(), "", NOW)
                .is_ok()
        };
        assert!(verify("/apps/a b/channels", "/apps/a%20b/channels"));
        assert!(verify("/apps/a%20b/channels", "/apps/a%20b/channels"));
        // Another resource has the same path when it is decoded.
        assert!(!verify("/apps/1/channels/a/users", "/apps/1/channels/a%2Fusers"));
        assert!(!verify("/apps/a b/channels", "/apps/a%20c/channels"));
        assert!(!verify("/apps/a/channels", "/apps/a%2/channels"));
    }
}

//! The HTTP API: what its bodies say, and how its requests are signed.
//!
//! <https://pusher.com/docs/channels/library_auth_reference/rest-api/>

use std::borrow::Cow;
use std::fmt::Write;

use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::auth::AppKey;

/// A request may be this much older or newer than the server's clock says, in seconds.
pub const TIMESTAMP_TOLERANCE: u64 = 600;

/// One event to publish: the body of `POST /apps/{id}/events`, and an item of a batch.
#[derive(Debug, Deserialize)]
pub struct Event<'a> {
    /// The event's name.
    pub name: String,
    /// A JSON string literal, which goes to subscribers byte for byte.
    #[serde(borrow)]
    pub data: &'a RawValue,
    /// The channels; wins over `channel`.
    #[serde(default)]
    pub channels: Option<Vec<String>>,
    /// The channel, when it is one.
    #[serde(default)]
    pub channel: Option<String>,
    /// The connection that must not get the event: usually the one that caused it.
    #[serde(default)]
    pub socket_id: Option<String>,
    /// What to tell about the channels in the answer, separated by commas.
    #[serde(default)]
    pub info: Option<String>,
}

/// The body of `POST /apps/{id}/batch_events`.
#[derive(Debug, Deserialize)]
pub struct Batch<'a> {
    /// The events, published in this order.
    #[serde(borrow)]
    pub batch: Vec<Event<'a>>,
}

/// The body of `POST /apps/{id}/users/{user}/events`.
#[derive(Debug, Deserialize)]
pub struct UserEvent<'a> {
    /// The event's name.
    pub name: String,
    /// A JSON string literal, as in [`Event`].
    #[serde(borrow)]
    pub data: &'a RawValue,
}

/// Which facts about a channel a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Info {
    /// Users on a presence channel.
    pub user_count: bool,
    /// Connections on any other channel.
    pub subscription_count: bool,
    /// The last event of a cache channel.
    pub cache: bool,
}

impl Info {
    /// Reads a list like `user_count,subscription_count`. `occupied` is always told; what is unknown is
    /// passed over, as Pusher and Reverb do.
    #[must_use]
    pub fn parse(list: &str) -> Self {
        let has = |wanted: &str| list.split(',').any(|item| item.trim() == wanted);
        Self {
            user_count: has("user_count"),
            subscription_count: has("subscription_count"),
            cache: has("cache"),
        }
    }
}

/// A request as it is signed.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    /// In capitals.
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// What follows the `?`, still URL-encoded.
    pub query: &'a str,
    /// The raw body.
    pub body: &'a [u8],
}

impl SignedRequest<'_> {
    /// Checks everything that a signature promises: the key is this app's, the version is 1.0, the clock
    /// agrees, `body_md5` is that of the real body, and the signature is right (compared in constant time).
    ///
    /// `now` is in seconds since 1970. A server behind a path prefix passes it in `prefix` ("" for none):
    /// SDKs sign with or without it, and both are accepted.
    ///
    /// Returns the parameters of the caller's own.
    ///
    /// # Errors
    /// Says what is wrong, for the backend's developer to read.
    pub fn verify(
        &self,
        app: &AppKey,
        prefix: &str,
        now: u64,
    ) -> Result<Params<'_>, SignatureError> {
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
        match (params.get("body_md5"), self.body.is_empty()) {
            (None, false) => return Err(SignatureError::Missing("body_md5")),
            (Some(md5), _) if !self.is_md5_of_body(md5) => return Err(SignatureError::BodyMd5),
            _ => {}
        }
        self.verify_signature(app, prefix, &params, &signature)?;
        params.0.retain(|(name, _)| !name.starts_with("auth_") && name != "body_md5");
        Ok(params)
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
            let (method, path) = (self.method.as_bytes(), path.as_bytes());
            app.verify(&[method, b"\n", path, b"\n", canonical.as_bytes()], signature)
        };
        let without_prefix = self.path.strip_prefix(prefix).unwrap_or(self.path);
        if verify(without_prefix) || (!prefix.is_empty() && verify(self.path)) {
            return Ok(());
        }
        Err(SignatureError::Wrong {
            expected: format!("{}\\n{without_prefix}\\n{canonical}", self.method),
        })
    }

    fn is_md5_of_body(&self, md5: &str) -> bool {
        let mut claimed = [0; 16];
        hex::decode_to_slice(md5, &mut claimed).is_ok() && Md5::digest(self.body)[..] == claimed
    }
}

/// The query string that signs a request: `params` of the caller's own, and those of the signature.
///
/// ```
/// use clarim_protocol::{auth::AppKey, rest};
///
/// let app = AppKey::new("key", "secret");
/// let body = br#"{"name":"greeting","channel":"hello","data":"{}"}"#;
/// let query = rest::sign(&app, "POST", "/apps/1/events", &[], body, 1_700_000_000);
/// let request = rest::SignedRequest { method: "POST", path: "/apps/1/events", query: &query, body };
/// assert!(request.verify(&app, "", 1_700_000_000).is_ok());
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

/// The parameters of a query: decoded, names in lower case, sorted by name, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Params<'a> {
    /// Decodes a query. A name given twice is refused: which of the values was signed would be anybody's
    /// guess.
    ///
    /// # Errors
    /// On a doubled name, or what isn't URL encoding of UTF-8.
    pub fn decode(query: &'a str) -> Result<Self, SignatureError> {
        let mut params = Vec::with_capacity(8);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let mut name = decode_query_part(name)?;
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                name = name.to_ascii_lowercase().into();
            }
            params.push((name, decode_query_part(value)?));
        }
        params.sort_unstable();
        match params.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(SignatureError::Doubled(pair[0].0.clone().into_owned())),
            None => Ok(Self(params)),
        }
    }

    /// The value of `name`, which is in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_ref())
    }

    /// The same, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Params<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Params(self.0.into_iter().map(|(name, value)| (own(name), own(value))).collect())
    }

    fn need(&self, name: &'static str) -> Result<&str, SignatureError> {
        self.get(name).ok_or(SignatureError::Missing(name))
    }

    fn take(&mut self, name: &'static str) -> Result<Cow<'a, str>, SignatureError> {
        let at = self.0.iter().position(|(n, _)| n == name);
        at.map(|at| self.0.remove(at).1).ok_or(SignatureError::Missing(name))
    }

    /// As they are signed: nothing escaped.
    fn canonical(&self) -> String {
        let length = self.0.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut canonical = String::with_capacity(length);
        for (name, value) in &self.0 {
            if !canonical.is_empty() {
                canonical.push('&');
            }
            canonical.push_str(name);
            canonical.push('=');
            canonical.push_str(value);
        }
        canonical
    }
}

fn decode_query_part(part: &str) -> Result<Cow<'_, str>, SignatureError> {
    if !part.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Ok(part.into());
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit(), digit());
                let value = high.zip(low).map(|(high, low)| (high * 16 + low) as u8);
                value.ok_or(SignatureError::Encoding)?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).map(Cow::from).map_err(|_| SignatureError::Encoding)
}

fn encode_query_part(out: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
}

/// Why a request to the HTTP API was refused (status 401).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// A parameter of the signature is missing.
    #[error("The query parameter {0} is missing; every request must be signed")]
    Missing(&'static str),
    /// A name occurs twice.
    #[error("The query parameter {0} is given twice")]
    Doubled(String),
    /// The query isn't URL encoding.
    #[error("The query string is not valid URL encoding")]
    Encoding,
    /// Another app's key.
    #[error("auth_key is not the key of this app: is the app id in the path the right one?")]
    Key,
    /// Not 1.0.
    #[error("auth_version must be 1.0")]
    Version,
    /// Not a number.
    #[error("auth_timestamp must be the time in seconds since 1970")]
    TimestampForm,
    /// Signed too long ago, or in the future.
    #[error(
        "Timestamp expired: Given timestamp ({timestamp}) not within {TIMESTAMP_TOLERANCE}s of server time ({now}); check the clocks of both machines"
    )]
    Expired {
        /// What the request says.
        timestamp: u64,
        /// What the server's clock says.
        now: u64,
    },
    /// The body was changed, or another one was signed.
    #[error("body_md5 is not the MD5 of the body that arrived")]
    BodyMd5,
    /// Another secret, or other text, was signed.
    #[error(
        "Invalid signature: you should have sent HmacSHA256Hex(\"{expected}\", your_secret_key)"
    )]
    Wrong {
        /// The text that should have been signed.
        expected: String,
    },
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
        SignedRequest { method: "POST", path: "/apps/3/events", query, body: BODY }
    }

    #[test]
    fn the_documented_example_is_accepted() {
        assert_eq!(request(QUERY).verify(&app(), "", NOW), Ok(Params::default()));
        assert_eq!(request(QUERY).verify(&app(), "", NOW + 600), Ok(Params::default()));
        let prefixed = SignedRequest { path: "/ws/apps/3/events", ..request(QUERY) };
        assert_eq!(prefixed.verify(&app(), "/ws", NOW), Ok(Params::default()));
    }

    #[test]
    fn a_request_may_be_signed_with_the_prefix_too() {
        let query = sign(&app(), "GET", "/ws/apps/3/channels", &[("info", "user_count")], b"", NOW);
        let request =
            SignedRequest { method: "GET", path: "/ws/apps/3/channels", query: &query, body: b"" };
        let params = request.verify(&app(), "/ws", NOW).unwrap();
        assert_eq!(params.get("info"), Some("user_count"));
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
        assert_eq!(verify(&QUERY.replace("md5=ec", "md5=ed"), NOW), E::BodyMd5);
        assert_eq!(verify(&QUERY.replace("body_md5", "bodymd5"), NOW), E::Missing("body_md5"));
        assert_eq!(verify(&format!("{QUERY}&auth_key=a"), NOW), E::Doubled("auth_key".to_owned()));
        assert_eq!(verify("%", NOW), E::Encoding);
        let wrong = verify(&QUERY.replace("da4548", "da4549"), NOW);
        assert!(wrong.to_string().contains(r"POST\n/apps/3/events\nauth_key=278d"), "{wrong}");
        assert!(matches!(verify(&format!("{QUERY}&x=1"), NOW), E::Wrong { .. }));
    }

    #[test]
    fn values_are_signed_decoded() {
        let query = sign(&app(), "GET", "/p", &[("filter_by_prefix", "presence-a&b=ü ")], b"", NOW);
        assert!(query.contains("filter_by_prefix=presence-a%26b%3D%C3%BC%20"), "{query}");
        let request = SignedRequest { method: "GET", path: "/p", query: &query, body: b"" };
        let params = request.verify(&app(), "", NOW).unwrap();
        assert_eq!(params.get("filter_by_prefix"), Some("presence-a&b=ü "));
    }
}

//! Authorizers: they sign subscriptions and sign-ins.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use clarim_protocol::ChannelName;
use clarim_protocol::auth::AppKey;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::error::Error;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Maximum size of an answer, in bytes.
const MAX_ANSWER: usize = 256 << 10;

/// The authorization of a subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Authorization {
    /// The signature.
    pub auth: String,
    /// The member, as JSON; for presence channels.
    #[serde(default)]
    pub channel_data: Option<String>,
    /// The channel's key in base64; for encrypted channels.
    #[serde(default)]
    pub shared_secret: Option<String>,
}

/// The authorization of a sign-in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct UserAuthorization {
    /// The signature.
    pub auth: String,
    /// The user, as JSON.
    pub user_data: String,
}

/// Gets the signatures for private, encrypted and presence channels, and for users.
pub trait Authorizer: fmt::Debug + Send + Sync + 'static {
    /// Authorizes a subscription to a channel, given by its name with prefix.
    fn channel<'a>(
        &'a self,
        socket_id: &'a str,
        channel: &'a str,
    ) -> BoxFuture<'a, Result<Authorization, Error>>;

    /// Authorizes the user of this client. Default: an error.
    fn user<'a>(&'a self, socket_id: &'a str) -> BoxFuture<'a, Result<UserAuthorization, Error>> {
        let _ = socket_id;
        Box::pin(async { Err(refused("the user", "this authorizer does not support sign-in")) })
    }
}

fn refused(subject: &str, cause: impl fmt::Display) -> Error {
    Error::authorization(subject, cause.to_string())
}

/// Gets authorizations from the application over HTTP, like Echo: `POST /broadcasting/auth`.
///
/// ```
/// use clarim_client::HttpAuthorizer;
///
/// let authorizer = HttpAuthorizer::new("https://app.example/broadcasting/auth")?
///     .user_endpoint("https://app.example/broadcasting/user-auth")?
///     .header("authorization", "Bearer …")?;
/// # Ok::<(), clarim_client::Error>(())
/// ```
#[derive(Debug)]
pub struct HttpAuthorizer {
    endpoint: Uri,
    user_endpoint: Option<Uri>,
    headers: Vec<(HeaderName, HeaderValue)>,
    token: Option<Token>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl HttpAuthorizer {
    /// An authorizer with this URL.
    ///
    /// # Errors
    /// Returns an error if the URL is invalid, or if it begins with https and the system's CA certificates
    /// can't be read.
    pub fn new(endpoint: &str) -> Result<Self, Error> {
        let endpoint = uri(endpoint)?;
        let provider = rustls::crypto::ring::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::options(format!("cannot use TLS: {error}")))?;
        let config = if endpoint.scheme_str() == Some("https") {
            config.with_native_roots().map_err(|error| {
                let cure = "install the system's CA certificates";
                Error::options(format!("cannot use https: {error}; {cure}"))
            })?
        } else {
            config.with_root_certificates(rustls::RootCertStore::empty())
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { endpoint, user_endpoint: None, headers: Vec::new(), token: None, client })
    }

    /// Sets the URL for users who sign in.
    ///
    /// # Errors
    /// Returns an error if the URL is invalid.
    pub fn user_endpoint(self, endpoint: &str) -> Result<Self, Error> {
        Ok(Self { user_endpoint: Some(uri(endpoint)?), ..self })
    }

    /// Adds a header to all requests, such as a token or a cookie.
    ///
    /// # Errors
    /// Returns an error if the header is invalid.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        let name =
            name.parse().map_err(|_| Error::options(format!("invalid header name {name:?}")))?;
        // The value may be a secret and must not be shown.
        let value = value.parse();
        let value =
            value.map_err(|_| Error::options(format!("invalid value of the header {name}")))?;
        self.headers.push((name, value));
        Ok(self)
    }

    /// Sends a bearer token that `fetch` returns. It is called for the first request, and again when the
    /// application answers 401: the token has expired, and the request is repeated once with the new one.
    ///
    /// ```
    /// use clarim_client::HttpAuthorizer;
    ///
    /// # async fn log_in() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// let authorizer = HttpAuthorizer::new("https://app.example/broadcasting/auth")?
    ///     .token(|| async { log_in().await });
    /// # Ok::<(), clarim_client::Error>(())
    /// ```
    #[must_use]
    pub fn token<F, R, E>(self, fetch: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display + 'static,
    {
        let fetch = Box::new(move || -> BoxFuture<'static, Result<String, String>> {
            let fetched = fetch();
            Box::pin(async move { fetched.await.map_err(|error| error.to_string()) })
        });
        Self { token: Some(Token { fetch, current: Mutex::default() }), ..self }
    }

    async fn ask<T: for<'a> Deserialize<'a>>(
        &self,
        endpoint: &Uri,
        body: String,
        subject: &str,
    ) -> Result<T, Error> {
        let Some(token) = &self.token else {
            return self.ask_with(None, endpoint, body, subject).await.map_err(|(_, error)| error);
        };
        let fetched = |cause| Error::unavailable(subject, format!("cannot get a token: {cause}"));
        let first = token.other_than(None).await.map_err(fetched)?;
        match self.ask_with(Some(&first), endpoint, body.clone(), subject).await {
            Err((Some(StatusCode::UNAUTHORIZED), _)) => {
                let next = token.other_than(Some(&first)).await.map_err(fetched)?;
                let answer = self.ask_with(Some(&next), endpoint, body, subject).await;
                answer.map_err(|(_, error)| error)
            }
            answer => answer.map_err(|(_, error)| error),
        }
    }

    /// Makes one request. An error comes with the status of the answer.
    async fn ask_with<T: for<'a> Deserialize<'a>>(
        &self,
        token: Option<&str>,
        endpoint: &Uri,
        body: String,
        subject: &str,
    ) -> Result<T, (Option<StatusCode>, Error)> {
        let refused = |cause: String| (None, refused(subject, cause));
        let unavailable = |cause: String| (None, Error::unavailable(subject, cause));
        let mut request = Request::post(endpoint)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::from(body)).map_err(|error| refused(error.to_string()))?;
        let answer = self.client.request(request).await;
        let answer =
            answer.map_err(|error| unavailable(format!("{endpoint}: {}", innermost(&error))))?;
        let status = answer.status();
        if status != StatusCode::OK {
            let cause = format!("{endpoint} answered {status}");
            let (_, error) = if is_temporary(status) { unavailable(cause) } else { refused(cause) };
            return Err((Some(status), error));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| unavailable(format!("{endpoint}: {error}")))?.to_bytes();
        serde_json::from_slice(&body)
            .map_err(|error| refused(format!("invalid answer of {endpoint}: {error}")))
    }
}

/// A bearer token that is fetched when it is needed.
struct Token {
    fetch: Box<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>,
    /// The lock is held while a token is fetched, so that several requests share it.
    current: Mutex<Option<String>>,
}

impl Token {
    /// The current token, or a new one if that is the expired one.
    async fn other_than(&self, expired: Option<&str>) -> Result<String, String> {
        let mut current = self.current.lock().await;
        match current.as_deref() {
            Some(token) if Some(token) != expired => Ok(token.to_owned()),
            _ => Ok(current.insert((self.fetch)().await?).clone()),
        }
    }
}

/// Hides the token.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Authorizer for HttpAuthorizer {
    fn channel<'a>(
        &'a self,
        socket_id: &'a str,
        channel: &'a str,
    ) -> BoxFuture<'a, Result<Authorization, Error>> {
        Box::pin(async move {
            let body = format!("socket_id={}&channel_name={}", encode(socket_id), encode(channel));
            self.ask(&self.endpoint, body, channel).await
        })
    }

    fn user<'a>(&'a self, socket_id: &'a str) -> BoxFuture<'a, Result<UserAuthorization, Error>> {
        Box::pin(async move {
            let endpoint = self.user_endpoint.as_ref();
            let endpoint =
                endpoint.ok_or_else(|| refused("the user", "set HttpAuthorizer::user_endpoint"))?;
            self.ask(endpoint, format!("socket_id={}", encode(socket_id)), "the user").await
        })
    }
}

/// Whether the same request may be answered otherwise in a moment, as when the application is being deployed.
fn is_temporary(status: StatusCode) -> bool {
    let of_client =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || of_client.contains(&status)
}

fn uri(text: &str) -> Result<Uri, Error> {
    let parsed = text.parse::<Uri>().ok();
    let known = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    let expected = "expected one that begins with http:// or https://";
    parsed.filter(known).ok_or_else(|| Error::options(format!("invalid URL {text:?}; {expected}")))
}

fn encode(text: &str) -> percent_encoding::PercentEncode<'_> {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Signs with the app's key and secret, for backends and tests. The secret gives access to all channels.
///
/// ```
/// use clarim_client::KeyAuthorizer;
/// use serde_json::json;
///
/// let authorizer = KeyAuthorizer::new("my-key", "my-secret").user("7", json!({ "name": "Ana" }));
/// ```
#[derive(Debug)]
pub struct KeyAuthorizer {
    key: AppKey,
    user: Option<(String, Value)>,
}

impl KeyAuthorizer {
    /// An authorizer with the app's credentials.
    pub fn new(key: impl Into<String>, secret: impl AsRef<str>) -> Self {
        Self { key: AppKey::new(key, secret), user: None }
    }

    /// Sets the user, for presence channels and for signing in.
    #[must_use]
    pub fn user(self, id: impl Into<String>, info: Value) -> Self {
        Self { user: Some((id.into(), info)), ..self }
    }

    fn sign(&self, socket_id: &str, channel: &str) -> Result<Authorization, Error> {
        let id = socket_id.parse().map_err(|error| refused(channel, error))?;
        let name = ChannelName::parse(channel, usize::MAX);
        let kind = name.map_err(|error| refused(channel, error))?.kind();
        if kind.is_encrypted() {
            return Err(refused(
                channel,
                "KeyAuthorizer has no key for encrypted channels; use HttpAuthorizer",
            ));
        }
        let channel_data = if kind.has_members() {
            let missing = || refused(channel, "set KeyAuthorizer::user");
            let (id, info) = self.user.as_ref().ok_or_else(missing)?;
            Some(json!({ "user_id": id, "user_info": info }).to_string())
        } else {
            None
        };
        let auth = self.key.sign_channel(id, channel, channel_data.as_deref());
        Ok(Authorization { auth, channel_data, shared_secret: None })
    }
}

impl Authorizer for KeyAuthorizer {
    fn channel<'a>(
        &'a self,
        socket_id: &'a str,
        channel: &'a str,
    ) -> BoxFuture<'a, Result<Authorization, Error>> {
        Box::pin(async move { self.sign(socket_id, channel) })
    }

    fn user<'a>(&'a self, socket_id: &'a str) -> BoxFuture<'a, Result<UserAuthorization, Error>> {
        Box::pin(async move {
            let missing = || refused("the user", "set KeyAuthorizer::user");
            let (id, info) = self.user.as_ref().ok_or_else(missing)?;
            let user_data = json!({ "id": id, "user_info": info }).to_string();
            let socket_id = socket_id.parse().map_err(|error| refused("the user", error))?;
            Ok(UserAuthorization { auth: self.key.sign_user(socket_id, &user_data), user_data })
        })
    }
}

//! Authorization requests of pages.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use clarim_protocol::auth::AppKey;
use clarim_protocol::rest::Params;
use clarim_protocol::{ChannelName, SocketId};
use clarim_queue::catch_panic;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::callback::Failure;
use super::member::Member;
use super::rules::{Authenticate, Decision, Rule, Rules};
use crate::channel::MAX_NAME_BYTES;
use crate::encryption::MasterKey;

/// Maximum size of a request's body, in bytes. Socket id and channel name need far less.
const MAX_BODY: usize = 16 << 10;

/// Maximum number of channels in a batch, and maximum size of its body, in bytes.
const MAX_BATCH: usize = 100;
const MAX_BATCH_BODY: usize = 64 << 10;

/// Answers the requests.
pub(crate) struct Authorizer<U, S> {
    pub(crate) rules: Rules<U, S>,
    pub(crate) authenticate: Authenticate<U, S>,
    pub(crate) key: Option<AppKey>,
    pub(crate) master_key: Option<MasterKey>,
}

/// A request, as pusher-js sends it.
#[derive(Default, Deserialize)]
struct AuthRequest {
    #[serde(default)]
    socket_id: String,
    #[serde(default)]
    channel_name: String,
}

/// A request for many channels.
#[derive(Deserialize)]
struct BatchRequest {
    socket_id: String,
    channel_names: Vec<String>,
}

/// The answer for one channel of a batch.
#[derive(Serialize)]
struct BatchAnswer {
    status: u16,
    data: serde_json::Value,
}

/// An answer, as pusher-js expects it.
#[derive(Serialize)]
struct AuthResponse {
    auth: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<String>,
}

/// The rule for a channel, with the values of its placeholders.
struct Match<'a, U, S> {
    rule: &'a Rule<U, S>,
    name: ChannelName,
    values: Vec<String>,
}

/// An answer other than 200.
struct Denial {
    status: StatusCode,
    /// The reason, for the log.
    reason: String,
    /// Whether the answer contains the reason.
    is_public: bool,
}

impl Denial {
    /// A request that is not authorized. The reason is only logged.
    fn forbidden(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, reason: reason.into(), is_public: false }
    }

    /// An error of the application. The reason is only logged.
    fn failed(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, reason: reason.into(), is_public: false }
    }

    fn malformed(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), is_public: true }
    }

    fn log(&self, channel: &str, pattern: &str) {
        let Self { status, reason, .. } = self;
        let code = status.as_u16();
        // The channel's name comes from the client and may be long.
        let channel: String = channel.chars().take(MAX_NAME_BYTES).collect();
        if status.is_server_error() {
            tracing::error!(pattern, channel, reason, status = code, "authorization failed");
        } else {
            tracing::info!(pattern, channel, reason, status = code, "authorization denied");
        }
    }

    /// The body of the answer.
    fn message(&self) -> serde_json::Value {
        json!({ "message": if self.is_public { self.reason.as_str() } else { "" } })
    }
}

impl<U, S> Authorizer<U, S>
where
    U: Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    /// `/broadcasting/auth`
    pub(crate) async fn channel(&self, state: S, request: Request) -> Response {
        let (head, body) = match AuthRequest::read(request).await {
            Ok(read) => read,
            Err(denial) => return answer_denial(&denial, "", ""),
        };
        match self.decide(head, &body.socket_id, &body.channel_name, state).await {
            Ok(response) => answer(StatusCode::OK, &response),
            Err(denial) => answer(denial.status, &denial.message()),
        }
    }

    /// `/broadcasting/auth/batch`: many channels, each with its own answer.
    pub(crate) async fn batch(&self, state: S, request: Request) -> Response {
        let (head, BatchRequest { socket_id, channel_names }) = match read_batch(request).await {
            Ok(read) => read,
            Err(denial) => return answer_denial(&denial, "", ""),
        };
        let mut answers = serde_json::Map::new();
        for channel in channel_names {
            let decided = self.decide(head.clone(), &socket_id, &channel, state.clone()).await;
            let (status, data) = match &decided {
                Ok(response) => (StatusCode::OK, json!(response)),
                Err(denial) => (denial.status, denial.message()),
            };
            answers.insert(channel, json!(BatchAnswer { status: status.as_u16(), data }));
        }
        answer(StatusCode::OK, &answers)
    }

    /// Decides about one channel. A denial is logged.
    async fn decide(
        &self,
        head: Parts,
        socket_id: &str,
        channel: &str,
        state: S,
    ) -> Result<AuthResponse, Denial> {
        let found = self.find_rule(channel);
        let pattern =
            found.as_ref().map_or_else(|_| String::new(), |found| found.rule.pattern.to_string());
        let result = async {
            let socket_id = parse_socket_id(socket_id)?;
            let Match { rule, name, values } = found?;
            let user = self.authenticate(head, rule.guard.as_deref(), state.clone()).await?;
            let decision = guarded((rule.check)(user, values, &state)).await?;
            self.authorize(socket_id, &name, decision)
        };
        let decided = result.await;
        if let Err(denial) = &decided {
            denial.log(channel, &pattern);
        }
        decided
    }

    /// `/broadcasting/user-auth`
    pub(crate) async fn user(&self, state: S, request: Request) -> Response {
        let result = async {
            let (head, body) = AuthRequest::read(request).await?;
            let socket_id = parse_socket_id(&body.socket_id)?;
            let sign_in = self.rules.sign_in.as_ref();
            let sign_in =
                sign_in.ok_or_else(|| Denial::forbidden("Channels::sign_in is not set"))?;
            let user = self.authenticate(head, None, state.clone()).await?;
            let data = guarded(sign_in(user, &state)).await?;
            let data = data.ok_or_else(|| Denial::forbidden("the closure of sign_in denied it"))?;
            let user_data = encode(&data)?;
            let auth = self.key()?.sign_user(socket_id, &user_data);
            Ok(AuthResponse {
                auth,
                channel_data: None,
                shared_secret: None,
                user_data: Some(user_data),
            })
        };
        match result.await {
            Ok(response) => answer(StatusCode::OK, &response),
            Err(denial) => answer_denial(&denial, "", "sign_in"),
        }
    }

    /// Finds the first rule whose pattern matches.
    fn find_rule(&self, channel: &str) -> Result<Match<'_, U, S>, Denial> {
        let name = ChannelName::parse(channel, MAX_NAME_BYTES)
            .map_err(|error| Denial::forbidden(error.to_string()))?;
        if !name.needs_auth() {
            return Err(Denial::forbidden("the channel is public and needs no authorization"));
        }
        let of_kind = |rule: &&Rule<U, S>| rule.kind == name.kind();
        let mut rules = self.rules.rules.iter().filter(of_kind);
        let found = rules.find_map(|rule| Some((rule, rule.pattern.values(name.topic())?)));
        let (rule, values) = found.ok_or_else(|| Denial::forbidden("no pattern matches"))?;
        Ok(Match { rule, name, values })
    }

    async fn authenticate(&self, head: Parts, guard: Option<&str>, state: S) -> Result<U, Denial> {
        let guards = &self.rules.guards;
        let authenticate = guard
            .and_then(|guard| guards.iter().find(|(name, _)| name == guard))
            .map_or(&self.authenticate, |(_, authenticate)| authenticate);
        let found = guarded(async { authenticate(head, state).await.map_err(Failure::Callback) });
        found.await?.ok_or_else(|| Denial::forbidden("the user is not authenticated"))
    }

    fn authorize(
        &self,
        socket_id: SocketId,
        name: &ChannelName,
        decision: Decision,
    ) -> Result<AuthResponse, Denial> {
        let member: Option<Member> = match decision {
            Decision::Denied => return Err(Denial::forbidden("the closure denied it")),
            Decision::Allowed => None,
            Decision::Member(member) => Some(member),
        };
        let channel_data = member.map(|member| encode(&member)).transpose()?;
        let auth = self.key()?.sign_channel(socket_id, name.as_str(), channel_data.as_deref());
        let master_key = self.master_key.as_ref();
        let is_encrypted = name.kind().is_encrypted();
        let shared_secret =
            master_key.filter(|_| is_encrypted).map(|key| key.shared_secret(name.as_str()));
        Ok(AuthResponse { auth, channel_data, shared_secret, user_data: None })
    }

    /// The app's key. The routes are not created without one.
    fn key(&self) -> Result<&AppKey, Denial> {
        self.key.as_ref().ok_or_else(|| Denial::failed("the app's key is not set"))
    }
}

impl AuthRequest {
    async fn read(request: Request) -> Result<(Parts, Self), Denial> {
        let (head, body) = request.into_parts();
        let body = if head.method == Method::POST {
            let form = BodyForm::of(&head)?;
            let body = read_body(body, MAX_BODY).await?;
            match form {
                BodyForm::Json => {
                    serde_json::from_slice(&body).map_err(|error| unreadable(&error))?
                }
                BodyForm::Urlencoded => {
                    let text = std::str::from_utf8(&body).map_err(|error| unreadable(&error))?;
                    Self::decode(text)?
                }
            }
        } else {
            Self::decode(head.uri.query().unwrap_or_default())?
        };
        Ok((head, body))
    }

    fn decode(encoded: &str) -> Result<Self, Denial> {
        let fields = Params::decode(encoded).map_err(|error| unreadable(&error))?;
        let field = |name| fields.get(name).unwrap_or_default().to_owned();
        Ok(Self { socket_id: field("socket_id"), channel_name: field("channel_name") })
    }
}

/// The forms of a request's body.
enum BodyForm {
    Json,
    Urlencoded,
}

impl BodyForm {
    /// The form that the content type names. Without one, it is that of pusher-js.
    fn of(head: &Parts) -> Result<Self, Denial> {
        let Some(value) = head.headers.get(header::CONTENT_TYPE) else {
            return Ok(Self::Urlencoded);
        };
        let name = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
        match name.trim().to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => Ok(Self::Urlencoded),
            name if name.ends_with("json") => Ok(Self::Json),
            _ => Err(Denial::malformed(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "send the fields as application/x-www-form-urlencoded or as application/json",
            )),
        }
    }
}

async fn read_body(body: Body, limit: usize) -> Result<Bytes, Denial> {
    to_bytes(body, limit).await.map_err(|_| {
        let reason = format!("the body is over {limit} bytes or incomplete");
        Denial::malformed(StatusCode::PAYLOAD_TOO_LARGE, reason)
    })
}

async fn read_batch(request: Request) -> Result<(Parts, BatchRequest), Denial> {
    let (head, body) = request.into_parts();
    if !matches!(BodyForm::of(&head)?, BodyForm::Json) {
        let reason = "send a batch as application/json";
        return Err(Denial::malformed(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
    }
    let body = read_body(body, MAX_BATCH_BODY).await?;
    let batch: BatchRequest = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    let count = batch.channel_names.len();
    if count > MAX_BATCH {
        let reason = format!("{count} channels in a batch; send at most {MAX_BATCH}");
        return Err(Denial::malformed(StatusCode::UNPROCESSABLE_ENTITY, reason));
    }
    Ok((head, batch))
}

fn parse_socket_id(text: &str) -> Result<SocketId, Denial> {
    text.parse().map_err(|error| unreadable(&error))
}

fn unreadable(error: &dyn std::error::Error) -> Denial {
    Denial::malformed(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
}

fn encode(data: &impl Serialize) -> Result<String, Denial> {
    serde_json::to_string(data).map_err(|error| Denial::failed(error.to_string()))
}

/// Runs a closure of the application. Its errors and panics become answers.
async fn guarded<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Denial> {
    match catch_panic(future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Failure::Parameter(reason))) => Err(Denial::forbidden(reason)),
        Ok(Err(Failure::Callback(error))) => Err(Denial::failed(error.to_string())),
        Err(panic) => Err(Denial::failed(format!("the closure {panic}"))),
    }
}

fn answer_denial(denial: &Denial, channel: &str, pattern: &str) -> Response {
    denial.log(channel, pattern);
    answer(denial.status, &denial.message())
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    // The body contains strings only, which can always be encoded.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

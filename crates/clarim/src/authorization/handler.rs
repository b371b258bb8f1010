//! One request of a page that wants to listen.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use clarim_protocol::rest::Params;
use clarim_protocol::{ChannelName, SocketId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::callback::Failure;
use super::{Authenticate, Channels, Member, Rule, Verdict};
use crate::Clarim;
use crate::caught::caught;
use crate::channel::MAX_NAME_BYTES;

/// Far more than a socket id and a channel's name need.
const MAX_BODY: usize = 16 << 10;

/// What answers the requests.
pub(crate) struct Authorizer<U, S> {
    pub(crate) channels: Channels<U, S>,
    pub(crate) authenticate: Authenticate<U, S>,
    pub(crate) clarim: Clarim,
}

/// What pusher-js sends.
#[derive(Default, Deserialize)]
struct Asked {
    #[serde(default)]
    socket_id: String,
    #[serde(default)]
    channel_name: String,
}

/// What pusher-js gets.
#[derive(Serialize)]
struct Admission {
    auth: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<String>,
}

/// A rule whose pattern matches, the channel, and the values of the pattern's placeholders.
type Match<'a, U, S> = (&'a Rule<U, S>, ChannelName, Vec<String>);

/// Why a request is not answered 200, and what is told of it.
struct Denied {
    status: StatusCode,
    /// For the log, and for who makes malformed requests.
    reason: String,
    told: bool,
}

impl Denied {
    /// Refused; the reason is in the log alone.
    fn forbidden(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, reason: reason.into(), told: false }
    }

    /// The application's own fault.
    fn broken(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, reason: reason.into(), told: false }
    }

    fn malformed(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), told: true }
    }
}

impl<U, S> Authorizer<U, S>
where
    U: Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    /// `/broadcasting/auth`
    pub(crate) async fn channel(&self, state: S, request: Request) -> Response {
        let (head, asked) = match Asked::read(request).await {
            Ok(asked) => asked,
            Err(denied) => return answer_denied(&denied, "", ""),
        };
        let channel = asked.channel_name.clone();
        let rule = self.rule_of(&channel);
        let pattern =
            rule.as_ref().map_or_else(|_| String::new(), |(rule, ..)| rule.pattern.to_string());
        let result = async {
            let socket_id = asked.socket_id()?;
            let (rule, name, values) = rule?;
            let user = self.user_of(head, rule.guard.as_deref(), state.clone()).await?;
            let verdict = guarded((rule.check)(user, values, &state)).await?;
            self.admit(socket_id, &name, verdict)
        };
        match result.await {
            Ok(admission) => answer(StatusCode::OK, &admission),
            Err(denied) => answer_denied(&denied, &channel, &pattern),
        }
    }

    /// `/broadcasting/user-auth`
    pub(crate) async fn user(&self, state: S, request: Request) -> Response {
        let result = async {
            let (head, asked) = Asked::read(request).await?;
            let socket_id = asked.socket_id()?;
            let sign_in = self.channels.sign_in.as_ref();
            let sign_in =
                sign_in.ok_or_else(|| Denied::forbidden("Channels::sign_in is not set"))?;
            let user = self.user_of(head, None, state.clone()).await?;
            let data = guarded(sign_in(user, &state)).await?;
            let data = data.ok_or_else(|| Denied::forbidden("the closure of sign_in refused"))?;
            let user_data = encode(&data)?;
            let auth = self.key()?.sign_user(socket_id, &user_data);
            Ok(Admission {
                auth,
                channel_data: None,
                shared_secret: None,
                user_data: Some(user_data),
            })
        };
        match result.await {
            Ok(admission) => answer(StatusCode::OK, &admission),
            Err(denied) => answer_denied(&denied, "", "sign_in"),
        }
    }

    /// The first rule whose pattern matches, and the values of its placeholders.
    fn rule_of(&self, channel: &str) -> Result<Match<'_, U, S>, Denied> {
        let name = ChannelName::parse(channel, MAX_NAME_BYTES)
            .map_err(|error| Denied::forbidden(error.to_string()))?;
        if !name.needs_auth() {
            return Err(Denied::forbidden("the channel needs no authorization, and gets none"));
        }
        let of_kind = |rule: &&Rule<U, S>| rule.kind == name.kind();
        let found = self
            .channels
            .rules
            .iter()
            .filter(of_kind)
            .find_map(|rule| Some((rule, rule.pattern.values(name.topic())?)));
        let (rule, values) = found.ok_or_else(|| Denied::forbidden("no pattern matches"))?;
        Ok((rule, name, values))
    }

    async fn user_of(&self, head: Parts, guard: Option<&str>, state: S) -> Result<U, Denied> {
        let guards = &self.channels.guards;
        let authenticate = guard
            .and_then(|guard| guards.iter().find(|(name, _)| name == guard))
            .map_or(&self.authenticate, |(_, authenticate)| authenticate);
        let found = guarded(async { authenticate(head, state).await.map_err(Failure::Callback) });
        found.await?.ok_or_else(|| Denied::forbidden("nobody is authenticated"))
    }

    fn admit(
        &self,
        socket_id: SocketId,
        name: &ChannelName,
        verdict: Verdict,
    ) -> Result<Admission, Denied> {
        let member: Option<Member> = match verdict {
            Verdict::Refused => return Err(Denied::forbidden("the closure refused")),
            Verdict::Allowed => None,
            Verdict::Member(member) => Some(member),
        };
        let channel_data = member.map(|member| encode(&member)).transpose()?;
        let auth = self.key()?.sign_channel(socket_id, name.as_str(), channel_data.as_deref());
        let master_key = self.clarim.settings().master_key.as_ref();
        let is_encrypted = name.kind().is_encrypted();
        let shared_secret =
            master_key.filter(|_| is_encrypted).map(|key| key.shared_secret(name.as_str()));
        Ok(Admission { auth, channel_data, shared_secret, user_data: None })
    }

    fn key(&self) -> Result<&clarim_protocol::auth::AppKey, Denied> {
        self.clarim.settings().key().map_err(|error| Denied::broken(error.to_string()))
    }
}

impl Asked {
    async fn read(request: Request) -> Result<(Parts, Self), Denied> {
        let (head, body) = request.into_parts();
        let asked = if head.method == Method::POST {
            let body = to_bytes(body, MAX_BODY).await.map_err(|_| {
                let reason = format!("the body is over {MAX_BODY} bytes, or broke off");
                Denied::malformed(StatusCode::PAYLOAD_TOO_LARGE, reason)
            })?;
            let content_type = head.headers.get(header::CONTENT_TYPE);
            let content_type = content_type.and_then(|value| value.to_str().ok());
            if content_type.is_some_and(|value| value.contains("json")) {
                serde_json::from_slice(&body).map_err(|error| unreadable(&error))?
            } else {
                let text = std::str::from_utf8(&body).map_err(|error| unreadable(&error))?;
                Self::decode(text)?
            }
        } else {
            Self::decode(head.uri.query().unwrap_or_default())?
        };
        Ok((head, asked))
    }

    fn decode(encoded: &str) -> Result<Self, Denied> {
        let fields = Params::decode(encoded).map_err(|error| unreadable(&error))?;
        let field = |name| fields.get(name).unwrap_or_default().to_owned();
        Ok(Self { socket_id: field("socket_id"), channel_name: field("channel_name") })
    }

    fn socket_id(&self) -> Result<SocketId, Denied> {
        self.socket_id.parse().map_err(|error| unreadable(&error))
    }
}

fn unreadable(error: &dyn std::error::Error) -> Denied {
    Denied::malformed(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
}

fn encode(data: &impl Serialize) -> Result<String, Denied> {
    serde_json::to_string(data).map_err(|error| Denied::broken(error.to_string()))
}

/// Runs what the application has written: an error or a panic of it is an answer, and not the end of
/// anything.
async fn guarded<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Denied> {
    match caught(future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Failure::Parameter(reason))) => Err(Denied::forbidden(reason)),
        Ok(Err(Failure::Callback(error))) => Err(Denied::broken(error.to_string())),
        Err(panic) => Err(Denied::broken(format!("the closure panicked: {panic}"))),
    }
}

fn answer_denied(denied: &Denied, channel: &str, pattern: &str) -> Response {
    let Denied { status, reason, told } = denied;
    let code = status.as_u16();
    // The channel's name is a guest's own text.
    let channel: String = channel.chars().take(MAX_NAME_BYTES).collect();
    if status.is_server_error() {
        tracing::error!(pattern, channel, reason, status = code, "authorization failed");
    } else {
        tracing::info!(pattern, channel, reason, status = code, "authorization refused");
    }
    answer(*status, &json!({ "message": if *told { reason } else { "" } }))
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    // Texts alone: they can't fail to be encoded.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

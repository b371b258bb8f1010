//! The routes of the HTTP server.

use std::borrow::Cow;
use std::time::Duration;

use clarim_protocol::{InvalidPageId, PageId};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request, StatusCode, Version};

use super::consumers::Consumers;
use super::pusher::ROOT_APP;
use crate::http::response::{ApiError, ApiResponse, text, with_type};
use crate::http::signed::ApiRequest;
use crate::http::{
    AppPath, Client, Endpoint, Http, RequestBody, RequestHandler, channels, decode_segment,
    history, playground, publish_request, serve_fallback,
};
use crate::observability::{CONTENT_TYPE, Scrape};
use crate::runtime::Admission;
use crate::sync::{PauseSignal, Phase, ShutdownSignal};

/// Maximum number of path segments in an app's id. It bounds the lookups for an unknown app.
const MAX_ID_SEGMENTS: usize = 8;

/// Answers every request that reaches the server. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    pub(super) http: Http,
    /// Whether the playground is served.
    pub(super) playground: bool,
    pub(super) consumers: Consumers,
}

impl RequestHandler for Routes {
    async fn answer(
        &self,
        request: Request<impl RequestBody>,
        client: &Client,
    ) -> (ApiResponse, Option<Admission>) {
        let version = request.version();
        let routed = self.route(request, client).await;
        let (mut response, admission) = routed.unwrap_or_else(|error| {
            let status = error.status.as_u16();
            tracing::debug!(status, error.message, "request refused");
            (error.into(), None)
        });
        let is_last = version < Version::HTTP_2 && self.http.shutdown.now() > Phase::Serving;
        if is_last && admission.is_none() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let class = usize::from(response.status().as_u16() / 100);
        self.http.counters.requests[class.min(5)].add(1);
        if class > 3 {
            self.http.server_counters.count_failed(response.status().as_u16());
        }
        (response, admission)
    }

    fn shutdown_signal(&self) -> ShutdownSignal {
        self.http.shutdown.clone()
    }

    fn pause_signal(&self) -> PauseSignal {
        self.http.pause.clone()
    }

    fn handshake_timeout(&self) -> Duration {
        self.http.config.handshake_timeout
    }
}

impl Routes {
    async fn route(
        &self,
        request: Request<impl RequestBody>,
        client: &Client,
    ) -> Result<(ApiResponse, Option<Admission>), ApiError> {
        let http = &self.http;
        let whole = request.uri().path().to_owned();
        let path = whole.strip_prefix(http.config.path.as_str()).ok_or_else(ApiError::not_found)?;
        let segments: Vec<&str> = match path.strip_prefix('/') {
            Some(path) => path.split('/').collect(),
            // The prefix alone.
            None if path.is_empty() => vec![""],
            // A path that begins with the same letters as the prefix, "/wsup" for "/ws".
            None => return Err(ApiError::not_found()),
        };
        if let (["app" | "apps" | "pusher", ..], Some(cluster)) = (&segments[..], &http.logs) {
            cluster.joined().await;
        }
        let response = match segments[..] {
            // Clients write the key into the path as it is, with slashes.
            ["app", page, "app", ref key @ ..] if page.starts_with('~') && !key.is_empty() => {
                let key = decode_name(key)?;
                let upgrade = http.upgrade(&request, client, &key, Some(page_id(page)?))?;
                return Ok((upgrade.response, Some(upgrade.admission)));
            }
            ["app", ref segments @ ..] if !segments.is_empty() => {
                let key = decode_name(segments)?;
                // An unknown key is refused over the WebSocket, but another path is not found.
                if segments.len() > 1 && http.node.apps().find_by_key(&key).is_none() {
                    return Err(ApiError::not_found());
                }
                let upgrade = http.upgrade(&request, client, &key, None)?;
                return Ok((upgrade.response, Some(upgrade.admission)));
            }
            ["apps", ref path @ ..] if !path.is_empty() => {
                let (app, rest) = self.app_of_path(path)?;
                self.api(request, client, &app, rest).await
            }
            ["pusher", "app", ref key @ .., number, session, action] if !key.is_empty() => {
                let key = decode_name(key)?;
                let path = AppPath { key: &key, page: None, rest: [number, session, action] };
                serve_fallback(http, request, client, path).await
            }
            ["pusher", page, "app", ref key @ .., number, session, action] if !key.is_empty() => {
                let page = Some(page_id(page)?);
                let key = decode_name(key)?;
                let path = AppPath { key: &key, page, rest: [number, session, action] };
                serve_fallback(http, request, client, path).await
            }
            ["up"] => http.liveness_probe(request.method()),
            ["ready"] => http.readiness_probe(request.method()),
            ["metrics"] => self.metrics(&request, client),
            ["playground", ref rest @ ..] if self.playground => {
                playground::serve(http, request, rest).await
            }
            ["inspector", ref rest @ ..] => {
                self.consumers.inspector.serve(http, request, client, rest).await
            }
            [""] if let Some(key) = ROOT_APP => {
                let upgrade = http.upgrade(&request, client, key, None)?;
                return Ok((upgrade.response, Some(upgrade.admission)));
            }
            [""] if request.method() == Method::GET => {
                Ok(text(StatusCode::OK, "Clarim is running.\n"))
            }
            _ => Err(ApiError::not_found()),
        };
        Ok((response?, None))
    }

    /// Answers a request below `/apps/{app}`.
    async fn api(
        &self,
        request: Request<impl RequestBody>,
        client: &Client,
        app: &str,
        path: &[&str],
    ) -> Result<ApiResponse, ApiError> {
        let method = match path {
            ["events" | "batch_events"] | ["users", _, "events" | "terminate_connections"] => {
                Method::POST
            }
            ["channels"]
            | ["channels", _]
            | ["channels", _, "users" | "history" | "position"]
            | ["connections"] => Method::GET,
            _ => return Err(ApiError::not_found()),
        };
        if *request.method() != method {
            return Err(ApiError::method(if method == Method::POST { "POST" } else { "GET" }));
        }
        let http = &self.http;
        let request = ApiRequest::read(request, client, app, http.request_rules()).await?;
        let directory = http.directory();
        match path {
            ["events"] => publish_request(http, &request, Endpoint::Event).await,
            ["batch_events"] => publish_request(http, &request, Endpoint::Batch).await,
            ["users", user, "events"] => {
                let user = decode_segment(user)?.into_owned();
                publish_request(http, &request, Endpoint::User(user)).await
            }
            ["users", user, _] => http.terminate(request.app, &decode_segment(user)?).await,
            ["channels"] => channels::list(&request, directory).await,
            ["channels", name] => channels::show(&request, &decode_segment(name)?, directory).await,
            ["channels", name, "history"] => {
                history::history(&request, &decode_segment(name)?, directory).await
            }
            ["channels", name, "position"] => {
                history::position(&request, &decode_segment(name)?, directory).await
            }
            ["channels", name, _] => {
                channels::users(&request, &decode_segment(name)?, directory).await
            }
            _ => Ok(channels::connections(&request, directory).await),
        }
    }

    /// Splits a path below `/apps` into the id of an app and the segments after it.
    fn app_of_path<'a>(
        &self,
        path: &'a [&'a str],
    ) -> Result<(Cow<'a, str>, &'a [&'a str]), ApiError> {
        let apps = self.http.node.apps();
        for segments in 1..=path.len().min(MAX_ID_SEGMENTS) {
            let (id, rest) = path.split_at(segments);
            let id = decode_name(id)?;
            if apps.find_by_id(&id).is_some() {
                return Ok((id, rest));
            }
        }
        Ok((decode_name(&path[..1])?, &path[1..]))
    }

    /// The metrics, if there is a token for them and the request has it.
    fn metrics<B>(&self, request: &Request<B>, client: &Client) -> Result<ApiResponse, ApiError> {
        let http = &self.http;
        let token = http.config.metrics_token.as_ref().ok_or_else(ApiError::not_found)?;
        if request.method() != Method::GET {
            return Err(ApiError::method("GET"));
        }
        http.metrics_guesses.check(request.headers(), client, token, "METRICS_TOKEN")?;
        let apps = http.node.apps();
        let scrape = Scrape {
            counters: http.server_counters.clone(),
            connections: apps.counts().map(|(app, count)| (app.id.clone(), count)).collect(),
            totals: http.node.totals(),
            recoveries: http.node.recoveries(),
            retained_bytes: http.node.retained_bytes(),
            keys: http.keys.numbers(),
            inbox_bytes: http.node.sink().inboxes.bytes(),
            cluster: http.cluster.clone(),
            logs: http.logs.clone(),
            webhooks: self.consumers.webhooks.numbers(),
            traces: self.consumers.traces.numbers(),
            dropped_log_lines: (http.config.dropped_log_lines)(),
        };
        // Writing to a string can't fail.
        Ok(with_type(StatusCode::OK, CONTENT_TYPE, scrape.render().unwrap_or_default()))
    }
}

/// Decodes the key or id in some path segments. They are several if it contains slashes.
fn decode_name<'a>(segments: &[&'a str]) -> Result<Cow<'a, str>, ApiError> {
    match segments {
        [segment] => decode_segment(segment),
        segments => Ok(Cow::Owned(decode_segment(&segments.join("/"))?.into_owned())),
    }
}

/// The page id in a path segment.
fn page_id(segment: &str) -> Result<PageId, ApiError> {
    let id = segment.strip_prefix('~').ok_or_else(ApiError::not_found)?;
    id.parse().map_err(|error: InvalidPageId| ApiError::malformed(error.to_string()))
}

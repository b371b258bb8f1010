//! The page `/inspector`: shows what the server is doing, and offers a few actions.
//!
//! The page asks for each part, and nothing is done for it while nobody watches. Counters are summed at
//! most once a second for all clients, connections and channels come in pages, and events come from a ring
//! buffer that is overwritten. So a client that watches delays nobody.

mod access;
mod assets;
mod channels;
mod connections;
mod deliveries;
mod event_log;
mod overview;

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clarim_hub::AppIndex;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Method, Request};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::config::Token;
use crate::http::client::guesses::too_many_requests;
use crate::http::response::{ApiError, ApiResponse, json_value};
use crate::http::signed::ApiRequest;
use crate::http::{Client, Endpoint, Http, RequestBody, decode_segment, publish_request};
use crate::runtime::{Origins, WorkerQuery};
use access::Access;
pub(crate) use event_log::EventLog;
use overview::CachedOverview;

/// Maximum number of list requests in a second, of all clients together.
const LISTS_PER_SECOND: u32 = 50;

/// The state of the inspector.
#[derive(Debug)]
pub(crate) struct Inspector {
    access: Access,
    lists: Mutex<Lists>,
    origins: Arc<Origins>,
    log: Arc<EventLog>,
    webhooks: Arc<dyn WebhookInspection>,
    workers: Vec<mpsc::Sender<WorkerQuery>>,
    overview: Mutex<Option<CachedOverview>>,
}

/// The lists made in the current second.
#[derive(Debug, Default)]
struct Lists {
    began: Option<Instant>,
    count: u32,
}

/// The webhooks, as far as the inspector shows them.
pub(crate) trait WebhookInspection: Debug + Send + Sync {
    fn summary(&self) -> WebhookSummary;
    /// Describes the last requests, the newest first.
    fn deliveries(&self) -> Vec<Value>;
    /// Sends the events of a request again.
    fn replay(&self, id: u64) -> Replay;
}

/// Numbers of webhook events and failed requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WebhookSummary {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    pub(crate) dropped: u64,
}

/// The result of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replay {
    Queued,
    /// The request is not kept any more.
    Gone,
    /// The endpoint's queue has no room.
    Full,
}

impl Inspector {
    /// Makes the inspector, if there is a token or `is_open`, which allows requests of this machine without
    /// one.
    pub(crate) fn new(
        token: Option<Token>,
        is_open: bool,
        webhooks: Arc<dyn WebhookInspection>,
        workers: Vec<mpsc::Sender<WorkerQuery>>,
    ) -> Option<Self> {
        Some(Self {
            access: Access::new(token, is_open)?,
            lists: Mutex::default(),
            origins: Arc::default(),
            log: Arc::default(),
            webhooks,
            workers,
            overview: Mutex::default(),
        })
    }

    /// The registry in which origins of connections are to be recorded.
    pub(crate) fn origins(&self) -> Arc<Origins> {
        self.origins.clone()
    }

    /// The observer that records events.
    pub(crate) fn log(&self) -> Arc<EventLog> {
        self.log.clone()
    }

    /// Answers a request below `/inspector`.
    pub(crate) async fn serve(
        &self,
        http: &Http,
        request: Request<impl RequestBody>,
        client: &Client,
        path: &[&str],
    ) -> Result<ApiResponse, ApiError> {
        let ["api", path @ ..] = path else {
            self.access.check_page(request.headers(), request.uri())?;
            return match *request.method() {
                Method::GET => assets::file(path).ok_or_else(ApiError::not_found),
                _ => Err(ApiError::method("GET")),
            };
        };
        self.access.check_api(&request, client)?;
        let mut response = match *request.method() {
            Method::GET => self.read(http, request.uri().query().unwrap_or_default(), path).await,
            Method::POST => self.act(http, request, path).await,
            _ => Err(ApiError::method("GET and POST")),
        }?;
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    /// Whether one more list may be made in this second.
    fn take_list(&self) -> bool {
        let now = Instant::now();
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        if lists.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            *lists = Lists { began: Some(now), count: 0 };
        }
        lists.count += 1;
        lists.count <= LISTS_PER_SECOND
    }

    async fn read(&self, http: &Http, query: &str, path: &[&str]) -> Result<ApiResponse, ApiError> {
        match path {
            ["overview"] => return Ok(overview::show(http, self)),
            ["stream"] => return event_log::show(&self.log, query),
            _ if !self.take_list() => return Err(too_many_requests()),
            _ => {}
        }
        match path {
            ["connections"] => connections::list(self, query).await,
            ["deliveries"] => Ok(deliveries::list(self)),
            ["apps", app, "channels"] => channels::list(http, find_app(http, app)?, query).await,
            ["apps", app, "channels", name, "history"] => {
                let name = decode_segment(name)?;
                channels::kept(http, find_app(http, app)?, &name, query).await
            }
            ["apps", app, "channels", name] => {
                channels::show(http, find_app(http, app)?, &decode_segment(name)?, query).await
            }
            _ => Err(ApiError::not_found()),
        }
    }

    async fn act(
        &self,
        http: &Http,
        request: Request<impl RequestBody>,
        path: &[&str],
    ) -> Result<ApiResponse, ApiError> {
        match path {
            ["apps", app, "events"] => {
                let app = find_app(http, app)?;
                let body = http.read_body(request).await?;
                publish_request(http, &ApiRequest::of_page(app, body), Endpoint::Event).await
            }
            ["apps", app, "users", user, "terminate"] => {
                http.terminate(find_app(http, app)?, &decode_segment(user)?).await
            }
            ["connections", socket_id, "close"] => {
                connections::close(self, socket_id).await?;
                Ok(json_value(&json!({})))
            }
            ["deliveries", id, "replay"] => deliveries::replay(self, id),
            _ => Err(ApiError::not_found()),
        }
    }
}

fn find_app(http: &Http, id: &str) -> Result<AppIndex, ApiError> {
    http.node.apps().find_by_id(&decode_segment(id)?).ok_or_else(ApiError::not_found)
}

//! The page `/inspector`: what the server is doing now, for people to look at, and a few things to do.
//!
//! What it shows is asked for by the page, piece by piece, and nothing is done for it while nobody looks.
//! Counters are added up at most once a second, however many people watch; connections and channels come in
//! pages; events go into a ring that is overwritten, so that a reader who stalls holds up nobody.

mod access;
mod asks;
mod assets;
mod channels;
mod connections;
mod deliveries;
mod origins;
mod overview;
mod tap;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clarim_hub::AppIndex;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use tokio::sync::mpsc;

use crate::config::Token;
use crate::http::answer::{Answer, Refused, json_value};
use crate::http::signed::{Signed, read_body};
use crate::http::{Http, RequestBody, decode_segment};
use access::{Access, Limit};
pub(crate) use asks::{Ask, PAGE, Page, Row, Which};
pub(crate) use origins::OriginId;
use origins::Origins;
pub(crate) use tap::Tap;

/// Questions that wait for one worker.
const WAITING: usize = 64;

/// Requests for lists that are answered in a second, of all who watch together.
const LISTS: u32 = 50;

/// What the page needs of the server. There is one if the page is served.
#[derive(Debug)]
pub(crate) struct Inspector {
    access: Access,
    lists: Limit,
    pub(crate) origins: Origins,
    workers: Vec<mpsc::Sender<Ask>>,
    /// The last answer with counters, and when it was made.
    overview: Mutex<Option<(Instant, Bytes)>>,
}

impl Inspector {
    /// With what each worker is asked by. `is_open`: in development mode, for who is on this machine.
    pub(crate) fn new(
        token: Option<Token>,
        is_open: bool,
        workers: u16,
    ) -> (Option<Self>, Vec<mpsc::Receiver<Ask>>) {
        let (workers, asked) = (0..workers).map(|_| mpsc::channel(WAITING)).unzip();
        let inspector = Access::new(token, is_open).map(|access| Self {
            access,
            lists: Limit::new(LISTS, Duration::from_secs(1)),
            origins: Origins::default(),
            workers,
            overview: Mutex::default(),
        });
        (inspector, asked)
    }
}

/// Answers what is below `/inspector`.
pub(crate) async fn serve(
    http: &Http,
    inspector: &Inspector,
    request: Request<impl RequestBody>,
    path: &[&str],
) -> Result<Answer, Refused> {
    let ["api", path @ ..] = path else {
        inspector.access.to_page(request.headers(), request.uri())?;
        return match (request.method(), path) {
            (&Method::GET, path) => assets::file(path).ok_or_else(Refused::not_found),
            _ => Err(Refused::method("GET")),
        };
    };
    inspector.access.to_api(&request)?;
    let mut answer = match *request.method() {
        Method::GET => read(http, inspector, request.uri().query().unwrap_or_default(), path).await,
        Method::POST => act(http, inspector, request, path).await,
        _ => Err(Refused::method("GET and POST")),
    }?;
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

async fn read(
    http: &Http,
    inspector: &Inspector,
    query: &str,
    path: &[&str],
) -> Result<Answer, Refused> {
    match path {
        ["overview"] => return Ok(overview::answer(http, inspector)),
        ["stream"] => return tap::answer(&http.node.post().tap, query),
        _ if !inspector.lists.take() => return Err(too_many()),
        _ => {}
    }
    match path {
        ["connections"] => connections::list(http, inspector, query).await,
        ["deliveries"] => Ok(deliveries::list(http)),
        ["apps", app, "channels"] => channels::list(http, app_of(http, app)?, query).await,
        ["apps", app, "channels", name] => {
            channels::show(http, app_of(http, app)?, &decode_segment(name)?).await
        }
        _ => Err(Refused::not_found()),
    }
}

async fn act(
    http: &Http,
    inspector: &Inspector,
    request: Request<impl RequestBody>,
    path: &[&str],
) -> Result<Answer, Refused> {
    match path {
        ["apps", app, "events"] => {
            let app = app_of(http, app)?;
            let (head, body) = request.into_parts();
            let rules = http.rules();
            let body = read_body(&head, body, rules.max_body, rules.body_timeout).await?;
            http.publisher().event(&Signed::of_page(app, body)).await
        }
        ["apps", app, "users", user, "terminate"] => {
            let signed = Signed::of_page(app_of(http, app)?, Bytes::new());
            http.terminate(&signed, &decode_segment(user)?).await
        }
        ["connections", socket_id, "close"] => {
            connections::close(inspector, socket_id).await?;
            Ok(json_value(&json!({})))
        }
        ["deliveries", id, "replay"] => deliveries::replay(http, id),
        _ => Err(Refused::not_found()),
    }
}

fn app_of(http: &Http, id: &str) -> Result<AppIndex, Refused> {
    http.node.apps().find_by_id(&decode_segment(id)?).ok_or_else(Refused::not_found)
}

fn too_many() -> Refused {
    let sentence = "Too many requests; try again in a few seconds.";
    Refused::new(StatusCode::TOO_MANY_REQUESTS, sentence)
}

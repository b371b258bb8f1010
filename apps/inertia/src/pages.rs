//! The HTML of a first visit, rendered by Node if its process runs.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;
use veer::root_view::ClosureRootView;
use veer::ssr::SsrError;
use veer::{InertiaConfig, RootViewContext, SsrClient, SsrPayload};

/// Marks the places of the head and of the page in `index.html`.
const PLACE: &str = "<!--inertia-->";

/// The title until the browser has rendered the page's own.
const TITLE: &str = "<title data-inertia>Chat</title>";

/// Time for Node to render a page. After that, the browser does.
const LIMIT: Duration = Duration::from_secs(1);

/// Inertia with the built pages in `dist`.
pub(crate) fn config(dist: &Path) -> Result<InertiaConfig> {
    let html = fs::read_to_string(dist.join("index.html"))
        .context("the pages are not built: run cargo xtask inertia")?;
    // Pages of another build have other names of assets. They are loaded again.
    let mut version = DefaultHasher::new();
    html.hash(&mut version);
    let parts: Vec<String> = html.split(PLACE).map(str::to_owned).collect();
    let Ok([start, middle, end]) = <[String; 3]>::try_from(parts) else {
        bail!("index.html needs {PLACE} twice: in <head> and in <body>");
    };
    let view = ClosureRootView(move |page: RootViewContext<'_>| {
        let (head, body) = match page.ssr {
            Some(ssr) => (ssr.head.concat(), ssr.body.clone()),
            None => (TITLE.to_owned(), in_browser(page.page_json_script)),
        };
        Ok([&start, &head, &middle, &body, &end].map(String::as_str).concat())
    });
    let ssr = Ssr {
        client: Client::builder(TokioExecutor::new()).build_http(),
        url: env::var("SSR_URL").unwrap_or_else(|_| "http://127.0.0.1:13714".to_owned()),
    };
    Ok(InertiaConfig::new().version_str(version.finish().to_string()).root_view(view).ssr(ssr))
}

/// The page's data alone, for a browser to render.
fn in_browser(page: &str) -> String {
    let data = format!(r#"<script data-page="app" type="application/json">{page}</script>"#);
    data + r#"<div id="app"></div>"#
}

/// Inertia's rendering process (`npm run ssr`). Without it, browsers render. The feature `ssr` of veer has a
/// client too, which brings reqwest.
struct Ssr {
    client: Client<HttpConnector, Body>,
    url: String,
}

#[derive(Deserialize)]
struct Rendered {
    head: Vec<String>,
    body: String,
}

#[async_trait]
impl SsrClient for Ssr {
    async fn render(&self, page: &Value) -> Result<SsrPayload, SsrError> {
        let rendered =
            timeout(LIMIT, self.request(page)).await.unwrap_or_else(|late| Err(late.into()));
        let rendered = rendered.map_err(|error| SsrError::Transport(format!("{error:#}")))?;
        Ok(SsrPayload { head: rendered.head, body: rendered.body })
    }
}

impl Ssr {
    async fn request(&self, page: &Value) -> Result<Rendered> {
        let request = Request::post(format!("{}/render", self.url))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(page.to_string()))?;
        let response = self.client.request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok(serde_json::from_slice(&bytes)?)
    }
}

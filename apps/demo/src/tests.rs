//! Requests to the application, with a session's cookie and CSRF token.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::Response;
use clarim::notification::Notifications;
use clarim::{Clarim, Fake};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::app::App;
use crate::limits::Limits;
use crate::seed::{self, Seed};
use crate::settings::Settings;
use crate::{database, web};

/// The application with a database of its own. It broadcasts into a fake.
pub(crate) struct TestApp {
    app: App,
    router: Router,
    clarim: Clarim,
    fake: Fake,
    _folder: TempDir,
}

/// A browser with its cookie and CSRF token.
pub(crate) struct Visitor<'a> {
    app: &'a TestApp,
    cookies: BTreeMap<String, String>,
    token: String,
    /// The socket ID of its page.
    pub(crate) socket: Option<&'static str>,
}

impl TestApp {
    pub(crate) async fn start() -> Self {
        Self::start_with(Seed::Empty).await
    }

    pub(crate) async fn start_with(seed: Seed) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("demo.sqlite").display());
        let pages = folder.path().join("pages");
        let settings = Settings::read(&|name| match name {
            "DATABASE_URL" => Some(url.clone()),
            "WEB_ROOT" => Some(pages.display().to_string()),
            _ => None,
        });
        let settings = settings.unwrap();
        let db = database::open(&url).await.unwrap();
        assert!(seed::fill(&db, seed).await.unwrap(), "it is new");
        let notifications = Notifications::connect(&url).await.unwrap();
        notifications.migrate().await.unwrap();
        // Stores notifications, and broadcasts into the fake.
        let fake = Fake::default();
        let clarim = Clarim::builder(clarim::Settings::http("1", "key", "secret"))
            .publisher(Arc::new(fake.clone()))
            .build()
            .unwrap()
            .with_notifications(notifications.clone());
        let settings = Arc::new(settings);
        let limits = Arc::new(Limits::new());
        let app = App { db, clarim: clarim.clone(), notifications, settings, limits };
        Self { router: web::router(app.clone()).unwrap(), app, clarim, fake, _folder: folder }
    }

    /// The application's state.
    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// Puts a file among the built pages.
    fn build(&self, name: &str, content: &str) {
        let file = self.app.settings.web_root.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }

    /// The broadcast events.
    pub(crate) async fn sent(&self) -> &Fake {
        self.clarim.idle().await;
        &self.fake
    }

    pub(crate) async fn guest(&self) -> Visitor<'_> {
        let mut visitor =
            Visitor { app: self, cookies: BTreeMap::new(), token: String::new(), socket: None };
        let (_, session) = visitor.send(Method::GET, "/api/session", None).await;
        session["csrf"].as_str().unwrap().clone_into(&mut visitor.token);
        visitor
    }

    pub(crate) async fn user(&self, login: &str) -> Visitor<'_> {
        let mut visitor = self.guest().await;
        let body = json!({ "login": login, "password": database::PASSWORD });
        let (status, session) = visitor.send(Method::POST, "/api/login", Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{session}");
        session["csrf"].as_str().unwrap().clone_into(&mut visitor.token);
        visitor
    }
}

impl Visitor<'_> {
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::COOKIE, cookies.join("; "))
            .header(header::CONTENT_TYPE, "application/json")
            .header("X-CSRF-TOKEN", &self.token)
            .header("X-Socket-ID", self.socket.unwrap_or_default())
            .body(body.map_or_else(Body::empty, |body| body.to_string().into()))
            .unwrap();
        let response = self.app.router.clone().oneshot(request).await.unwrap();
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (pair, attributes) = cookie.split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            match attributes.contains("Max-Age=0;") {
                true => drop(self.cookies.remove(name)),
                false => {
                    assert!(cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&mut self, path: &str) -> (StatusCode, Value) {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&mut self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> StatusCode {
        self.send(Method::DELETE, path, None).await.0
    }

    /// The status of `/broadcasting/auth` for a channel.
    pub(crate) async fn join(&mut self, channel: &str) -> StatusCode {
        let body = json!({ "socket_id": "1.2", "channel_name": channel });
        self.post("/broadcasting/auth", body).await.0
    }
}

#[test]
fn the_generated_types_are_up_to_date() {
    crate::types().check(concat!(env!("CARGO_MANIFEST_DIR"), "/web/src/events.ts")).unwrap();
}

#[tokio::test]
async fn guests_are_rejected() {
    let app = TestApp::start().await;
    let mut guest = app.guest().await;
    for path in
        ["/api/conversations", "/api/conversations/1/messages", "/api/notifications", "/api/users"]
    {
        let (status, body) = guest.get(path).await;
        assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("guest")), "{path}");
    }
    for channel in ["private-chat.1", "presence-online", "private-App.Models.User.1"] {
        assert_eq!(guest.join(channel).await, StatusCode::FORBIDDEN, "{channel}");
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_get_the_same_response() {
    let app = TestApp::start().await;
    let mut guest = app.guest().await;
    for (login, password) in [("ana", "wrong"), ("nobody", "clarim")] {
        let body = json!({ "login": login, "password": password });
        let (status, answer) = guest.post("/api/login", body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(answer["code"], "wrong_login");
    }
}

#[tokio::test]
async fn wrong_passwords_are_limited() {
    let app = TestApp::start().await;
    let mut guest = app.guest().await;
    let body = |password: &str| json!({ "login": "ana", "password": password });
    for _ in 0..5 {
        assert_eq!(guest.post("/api/login", body("wrong")).await.0.as_u16(), 422);
    }
    let (status, answer) = guest.post("/api/login", body("clarim")).await;
    assert_eq!((status.as_u16(), &answer["code"]), (429, &json!("too_many_attempts")));
    app.user("bruno").await;
}

async fn sessions(app: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT COUNT(*) FROM sessions").fetch_one(&app.app().db).await.unwrap()
}

#[tokio::test]
async fn guests_have_no_stored_session_and_users_a_limited_number() {
    let app = TestApp::start().await;
    for _ in 0..10 {
        let mut guest = app.guest().await;
        assert_eq!(guest.cookies.len(), 1, "that of the CSRF token");
        guest.post("/api/login", json!({ "login": "ana", "password": "" })).await;
    }
    assert_eq!(sessions(&app).await, 0);
    for n in 0..150 {
        sqlx::query("INSERT INTO sessions (id, data, expires_at, user_id) VALUES ($1, '', $2, 2)")
            .bind(n.to_string())
            .bind(database::now() + n)
            .execute(&app.app().db)
            .await
            .unwrap();
    }
    let mut bruno = app.user("bruno").await;
    assert_eq!(sessions(&app).await, 100);
    assert_eq!(bruno.get("/api/conversations").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_login_changes_the_session_and_the_logout_ends_it() {
    let app = TestApp::start().await;
    let mut guest = app.guest().await;
    let login = json!({ "login": "Ana ", "password": "clarim" });
    guest.post("/api/login", login.clone()).await;
    let first = guest.cookies.clone();
    let (_, session) = guest.get("/api/session").await;
    session["csrf"].as_str().unwrap().clone_into(&mut guest.token);
    guest.post("/api/login", login).await;
    assert_ne!(guest.cookies, first, "the session ID changes at login");
    let mut user = app.user("ana").await;
    let cookies = user.cookies.clone();
    let (status, session) = user.post("/api/logout", json!({})).await;
    assert_eq!((status, &session["user"]), (StatusCode::OK, &Value::Null));
    user.cookies = cookies;
    assert_eq!(user.get("/api/conversations").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn requests_without_the_csrf_token_are_rejected() {
    let app = TestApp::start().await;
    let mut user = app.user("ana").await;
    for token in ["", "0123456789abcdef0123456789abcdef"] {
        token.clone_into(&mut user.token);
        for path in ["/api/conversations/1/messages", "/api/logout", "/broadcasting/auth"] {
            let (status, body) = user.post(path, json!({})).await;
            assert_eq!((status.as_u16(), &body["code"]), (419, &json!("csrf")), "{path}");
        }
    }
}

#[tokio::test]
async fn the_content_security_policy_allows_only_own_scripts() {
    let app = TestApp::start().await;
    for path in ["/", "/api/session", "/assets/none.js"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = app.router.clone().oneshot(request).await.unwrap();
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'; script-src 'self'; style-src 'self';"));
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}

#[tokio::test]
async fn events_exclude_the_sending_page_but_not_the_users_other_pages() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let message = |n: u32| json!({ "id": Uuid::from_u128(n.into()), "body": "Oi" });
    for (socket, n) in [(Some("12.34"), 1), (None, 2)] {
        ana.socket = socket;
        ana.post("/api/conversations/2/messages", message(n)).await;
        // A message from another user, so that there is something to read.
        app.user("bruno").await.post("/api/conversations/2/messages", message(n + 10)).await;
        ana.post("/api/conversations/2/read", json!({ "seq": n * 2 })).await;
        ana.post("/api/notifications/read", json!({ "ids": null })).await;
        // An empty update of Yjs.
        ana.post("/api/documents/1/updates", json!({ "update": "AAA=" })).await;
        let expected = socket.map(|id| id.parse().unwrap());
        let sent = app.sent().await.sent();
        let names = ["MessageSent", "ConversationRead", "NotificationsRead", "DocumentUpdated"];
        for name in names {
            let name = format!("App\\Events\\{name}");
            let events = sent.iter().filter(|one| one.name == name);
            let excepted: Vec<_> = events.map(|one| one.except).collect();
            assert!(excepted.contains(&expected), "{name} is not for {socket:?}: {excepted:?}");
            let others = excepted.iter().filter(|one| **one != expected).count();
            assert!(others == 0 || name.ends_with("MessageSent"), "{name}: {excepted:?}");
        }
        app.sent().await.clear();
    }
}

/// Caching and compression.
#[tokio::test]
async fn built_files_are_cached_and_compressed_and_user_data_is_not_cached() {
    let app = TestApp::start().await;
    app.build("index.html", "<!doctype html>");
    app.build("assets/index-1234.js", &"export const a = 1;".repeat(100));
    let ask = async |path: &str| {
        let request = Request::get(path).header(header::ACCEPT_ENCODING, "gzip");
        let request = request.body(Body::empty()).unwrap();
        app.router.clone().oneshot(request).await.unwrap()
    };
    let header = |response: &Response, name| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let asset = ask("/assets/index-1234.js").await;
    assert_eq!(
        header(&asset, header::CACHE_CONTROL).unwrap(),
        "public, max-age=31536000, immutable"
    );
    assert_eq!(header(&asset, header::CONTENT_ENCODING).unwrap(), "gzip");
    assert!(header(&asset, header::VARY).unwrap().contains("accept-encoding"));
    let page = ask("/chat/1").await;
    assert_eq!(header(&page, header::CACHE_CONTROL).unwrap(), "no-cache");
    let session = ask("/api/session").await;
    assert_eq!(header(&session, header::CACHE_CONTROL).unwrap(), "no-store");
    // A file of an old build: not cached, and not the page in place of a script.
    let gone = ask("/assets/index-0000.js").await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    assert_eq!(header(&gone, header::CACHE_CONTROL).unwrap(), "no-cache");
}

//! The routes for authorization.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{Request, StatusCode, header};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clarim::authorization::{Channels, Member, UserData};
use clarim::{Broadcast, Channel, Clarim, MasterKey, Settings, SocketId};
use clarim_protocol::auth::AppKey;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::support::{MASTER_KEY, World, log};

#[derive(Debug, Clone)]
struct User {
    id: u64,
}

#[derive(Clone)]
struct Db {
    owner: u64,
}

#[derive(Clone)]
struct AppState {
    db: Db,
}

impl FromRef<AppState> for Db {
    fn from_ref(state: &AppState) -> Self {
        state.db.clone()
    }
}

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        user_of(parts, "x-user").ok_or(StatusCode::UNAUTHORIZED)
    }
}

fn user_of(parts: &Parts, header: &str) -> Option<User> {
    let id = parts.headers.get(header)?.to_str().ok()?.parse().ok()?;
    Some(User { id })
}

fn key() -> AppKey {
    AppKey::new("reverb-key", "reverb-secret")
}

fn clarim() -> Clarim {
    let settings = Settings::default().app_key(key()).master_key(MasterKey::new(MASTER_KEY));
    Clarim::new(settings).unwrap()
}

/// Every form of closure.
fn channels() -> Channels<User, AppState> {
    Channels::new()
        .private("users.{id}", |user: User, id: u64| user.id == id)
        .private("orders.{order}", |user: User, order: u64, State(db): State<Db>| async move {
            order == 1 && user.id == db.owner
        })
        .private("teams.{team}.{role}", |_: User, team: String, role: String| async move {
            Ok::<_, std::num::ParseIntError>(team.parse::<u32>()? == 1 && role == "lead")
        })
        .private("open", |_: User| true)
        .private("panics.{how}", |_: User, how: String| {
            assert!(how != "now", "a bug of the application");
            async { panic!("another one") as bool }
        })
        .private("broken", |_: User| Err::<bool, _>("the database is down"))
        .private("audit", |_: User| true)
        .guard("admin")
        .encrypted("vault.{id}", |user: User, id: u64| user.id == id)
        .presence("rooms.{room}", |user: User, room: u32| async move {
            (room < 10).then(|| Member::new(user.id).info(json!({ "name": "Ana", "n": user.id })))
        })
        .presence("lobby", |user: User| Member::new(user.id))
        .authenticate_as("admin", |parts| async move { user_of(&parts, "x-admin") })
        .sign_in(|user: User, State(db): State<Db>| {
            UserData::new(user.id).info(json!({ "owner": db.owner })).watchlist([8, 9])
        })
}

fn app() -> Router {
    let routes = channels().routes(|parts| user_of(&parts, "x-user"), clarim()).unwrap();
    routes.with_state(AppState { db: Db { owner: 7 } })
}

fn form() -> axum::http::request::Builder {
    Request::post("/broadcasting/auth")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("x-user", "7")
}

async fn ask(app: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Sends the request of pusher-js for a channel, as user 7.
async fn ask_for(channel: &str) -> (StatusCode, String) {
    let body = format!("socket_id=1.2&channel_name={channel}");
    ask(&app(), form().body(Body::from(body)).unwrap()).await
}

fn socket() -> clarim_protocol::SocketId {
    "1.2".parse().unwrap()
}

fn refused(message: &str) -> String {
    json!({ "message": message }).to_string()
}

#[tokio::test]
async fn an_authorized_private_channel_is_signed() {
    let expected =
        format!(r#"{{"auth":"{}"}}"#, key().sign_channel(socket(), "private-users.7", None));
    assert_eq!(ask_for("private-users.7").await, (StatusCode::OK, expected.clone()));
    for channel in
        ["private-orders.1", "private-teams.1.lead", "private-open", "private-cache-open"]
    {
        let (status, body) = ask_for(channel).await;
        assert_eq!(status, StatusCode::OK, "{channel} {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let auth = body["auth"].as_str().unwrap();
        key().verify_channel(auth, socket(), channel, None).unwrap();
    }
}

#[tokio::test]
async fn a_presence_channel_gets_the_member_with_its_id_as_text() {
    let data = r#"{"user_id":"7","user_info":{"n":7,"name":"Ana"}}"#;
    let auth = key().sign_channel(socket(), "presence-rooms.3", Some(data));
    let quoted = Value::from(data);
    let expected = format!(r#"{{"auth":"{auth}","channel_data":{quoted}}}"#);
    assert_eq!(ask_for("presence-rooms.3").await, (StatusCode::OK, expected));

    let (_, body) = ask_for("presence-lobby").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["channel_data"], r#"{"user_id":"7"}"#, "no info was set");
}

#[tokio::test]
async fn an_encrypted_channel_gets_its_key() {
    let channel = "private-encrypted-vault.7";
    let auth = key().sign_channel(socket(), channel, None);
    let secret = STANDARD.encode(Sha256::digest([channel.as_bytes(), &MASTER_KEY].concat()));
    let expected = format!(r#"{{"auth":"{auth}","shared_secret":"{secret}"}}"#);
    assert_eq!(ask_for(channel).await, (StatusCode::OK, expected));
}

#[tokio::test]
async fn denied_requests_get_403_without_a_reason() {
    for channel in [
        "private-users.8",
        "private-users.seven",
        "private-users.-7",
        "private-users.7.8",
        "private-orders.2",
        "private-unknown",
        "presence-rooms.11",
        "presence-rooms.99999999999",
        // The kind differs from that of the pattern.
        "private-rooms.3",
        "presence-users.7",
        "private-vault.7",
        "private-encrypted-users.7",
        "news",
        "%23server-to-user-7",
        "private-what%20ever",
        "",
    ] {
        assert_eq!(ask_for(channel).await, (StatusCode::FORBIDDEN, refused("")), "{channel}");
    }
    let guest = Request::post("/broadcasting/auth")
        .body(Body::from("socket_id=1.2&channel_name=private-open"))
        .unwrap();
    assert_eq!(ask(&app(), guest).await, (StatusCode::FORBIDDEN, refused("")));
}

#[tokio::test]
async fn the_reason_is_in_the_log_with_the_pattern() {
    let log = log();
    for channel in ["private-users.8", "private-users.seven", "private-unknown", "private-broken"] {
        ask_for(channel).await;
    }
    let log = log();
    let lines: Vec<&str> =
        log.lines().map(|line| line.split_once("authorization ").unwrap().1).collect();
    for (line, expected) in lines.iter().zip([
        r#"denied pattern="private-users.{id}" channel="private-users.8" reason="the closure denied it" status=403"#,
        r#"denied pattern="private-users.{id}" channel="private-users.seven" reason="\"seven\" is not a valid u64" status=403"#,
        r#"denied pattern="" channel="private-unknown" reason="no pattern matches" status=403"#,
        r#"failed pattern="private-broken" channel="private-broken" reason="the database is down" status=500"#,
    ]) {
        assert!(line.ends_with(expected), "{line}");
    }
    assert_eq!(lines.len(), 4);
}

#[tokio::test]
async fn errors_and_panics_of_a_closure_are_500_and_the_process_lives() {
    for channel in
        ["private-broken", "private-panics.now", "private-panics.later", "private-teams.x.y"]
    {
        let expected = (StatusCode::INTERNAL_SERVER_ERROR, refused(""));
        assert_eq!(ask_for(channel).await, expected, "{channel}");
    }
    assert_eq!(ask_for("private-open").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_bad_socket_id_is_422_with_the_reason() {
    for id in ["", "1", "1.2.3", "a.b", "1.2%0A"] {
        let body = format!("socket_id={id}&channel_name=private-open");
        let request = form().body(Body::from(body)).unwrap();
        let (status, body) = ask(&app(), request).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{id}");
        assert!(body.contains("a socket_id is two numbers"), "{body}");
    }
    for (body, status) in
        [("%", 422), ("socket_id=1.2&socket_id=1.3", 422), (&*"x".repeat(20_000), 413)]
    {
        let request = form().body(Body::from(body.to_owned())).unwrap();
        assert_eq!(ask(&app(), request).await.0, status);
    }
}

#[tokio::test]
async fn json_and_get_are_answered_like_a_form() {
    let expected = ask_for("private-open").await;
    let json = json!({ "socket_id": "1.2", "channel_name": "private-open", "more": [1] });
    let request = Request::post("/broadcasting/auth")
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .header("x-user", "7")
        .body(Body::from(json.to_string()))
        .unwrap();
    assert_eq!(ask(&app(), request).await, expected);
    let request = Request::get("/broadcasting/auth?channel_name=private-open&socket_id=1.2")
        .header("x-user", "7")
        .body(Body::empty())
        .unwrap();
    assert_eq!(ask(&app(), request).await, expected);
}

#[tokio::test]
async fn a_guard_authenticates_differently() {
    assert_eq!(ask_for("private-audit").await.0, StatusCode::FORBIDDEN);
    let request = form()
        .header("x-admin", "1")
        .body(Body::from("socket_id=1.2&channel_name=private-audit"))
        .unwrap();
    assert_eq!(ask(&app(), request).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_user_signs_in() {
    let request = |user: &str| {
        Request::post("/broadcasting/user-auth")
            .header("x-user", user)
            .body(Body::from("socket_id=1.2"))
            .unwrap()
    };
    let data = r#"{"id":"7","user_info":{"owner":7},"watchlist":["8","9"]}"#;
    let auth = key().sign_user(socket(), data);
    let expected = format!(r#"{{"auth":"{auth}","user_data":{}}}"#, Value::from(data));
    assert_eq!(ask(&app(), request("7")).await, (StatusCode::OK, expected));
    assert_eq!(ask(&app(), request("nobody")).await.0, StatusCode::FORBIDDEN);
    let without = Channels::<User, ()>::new().routes(|_| Some(User { id: 7 }), clarim()).unwrap();
    assert_eq!(ask(&without, request("7")).await, (StatusCode::FORBIDDEN, refused("")));
}

#[tokio::test]
async fn the_user_can_be_an_extractor() {
    let channels = Channels::new().private("users.{id}", |user: User, id: u64| user.id == id);
    let app: Router = channels.routes_by_extractor(clarim()).unwrap();
    for (user, status) in
        [("7", StatusCode::OK), ("8", StatusCode::FORBIDDEN), ("", StatusCode::FORBIDDEN)]
    {
        let request = Request::post("/broadcasting/auth")
            .header("x-user", user)
            .body(Body::from("socket_id=1.2&channel_name=private-users.7"))
            .unwrap();
        assert_eq!(ask(&app, request).await.0, status, "{user:?}");
    }
}

#[test]
fn all_problems_are_returned_when_the_routes_are_created() {
    let channels = Channels::<User, ()>::new()
        .guard("nothing before it")
        .private("orders.{id}", |_: User, _: u64| true)
        .private("orders.new", |_: User| true)
        .presence("orders.new", |user: User| Member::new(user.id))
        .private("users.{id}", |_: User| true)
        .private("private-x", |_: User| true)
        .private("secret", |_: User| true)
        .guard("unknown")
        .encrypted("vault", |_: User| true);
    let without_keys = Clarim::new(Settings::default()).unwrap();
    let error = channels.routes(|_| None, without_keys).unwrap_err().to_string();
    for problem in [
        "guard \"nothing before it\" has no pattern before it",
        "private-orders.new can never match: private-orders.{id} comes first",
        "\"users.{id}\" has 1 placeholders, and its closure takes 0 parameters after the user",
        "\"private-x\": write the name without prefix",
        "private-secret: unknown guard \"unknown\"",
        "REVERB_APP_KEY",
        "private-encrypted-vault is encrypted and there is no master key",
    ] {
        assert!(error.contains(problem), "{problem} is not in {error}");
    }
    assert!(!error.contains("presence-orders.new"), "{error}");
}

#[derive(Serialize, Broadcast)]
#[broadcast(private = "users.7", now)]
struct Said {
    text: String,
}

#[tokio::test]
async fn a_page_is_authorized_and_receives_events_of_the_application() {
    let world = World::start();
    let clarim = world.clarim();
    let say = |State(clarim): State<Clarim>, socket: Option<SocketId>, text: String| async move {
        clarim.broadcast(Said { text }).to_others(socket).await.unwrap();
    };
    let channels = Channels::new().private("users.{id}", |user: User, id: u64| user.id == id);
    let app: Router = Router::new()
        .route("/say", post(say))
        .merge(channels.routes_by_extractor(clarim.clone()).unwrap())
        .with_state(clarim);

    let mut own = world.connect().await;
    let mut other = world.connect().await;
    let channel = Channel::private("users.7").unwrap();
    for client in [&mut own, &mut other] {
        let body = format!("socket_id={}&channel_name={channel}", client.id);
        let (_, answer) = ask(&app, form().body(Body::from(body)).unwrap()).await;
        let mut data: Value = serde_json::from_str(&answer).unwrap();
        data["channel"] = channel.as_str().into();
        client.subscribe_with(&data).await;
    }
    let say = |socket: &str, text: &'static str| {
        let builder = Request::post("/say").header("x-socket-id", socket);
        app.clone().oneshot(builder.body(Body::from(text)).unwrap())
    };
    assert_eq!(say(&own.id.to_string(), "Olá").await.unwrap().status(), StatusCode::OK);
    assert_eq!(other.event().await.2, json!({ "text": "Olá" }));
    own.expect_nothing().await;
    assert_eq!(say("undefined", "to all").await.unwrap().status(), StatusCode::OK);
    assert_eq!(own.event().await.2, json!({ "text": "to all" }));
    assert_eq!(say("x", "").await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn other_forms_of_a_body_are_refused_with_those_that_are_read() {
    for content_type in ["multipart/form-data; boundary=x", "text/plain"] {
        let request = Request::post("/broadcasting/auth").header("x-user", "7");
        let request = request.header(header::CONTENT_TYPE, content_type);
        let (status, body) = ask(&app(), request.body(Body::from("--x--")).unwrap()).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(
            body.contains("application/x-www-form-urlencoded or as application/json"),
            "{body}"
        );
    }
    // Without a content type it is a form.
    let body = Body::from("socket_id=1.2&channel_name=private-open");
    let request = Request::post("/broadcasting/auth").header("x-user", "7").body(body).unwrap();
    assert_eq!(ask(&app(), request).await.0, StatusCode::OK);
}

async fn ask_for_batch(body: Value) -> (StatusCode, Value) {
    let request = Request::post("/broadcasting/auth/batch").header("x-user", "7");
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let (status, body) = ask(&app(), request.body(Body::from(body.to_string())).unwrap()).await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn many_channels_are_authorized_at_once_each_with_its_own_answer() {
    let names =
        ["private-users.7", "presence-rooms.3", "private-users.8", "private-broken", "news"];
    let (status, answers) =
        ask_for_batch(json!({ "socket_id": "1.2", "channel_names": names })).await;
    assert_eq!(status, StatusCode::OK);
    let statuses: Vec<_> = names.iter().map(|name| &answers[*name]["status"]).collect();
    assert_eq!(statuses, [200, 200, 403, 500, 403]);
    let auth = key().sign_channel(socket(), names[0], None);
    assert_eq!(answers[names[0]]["data"], json!({ "auth": auth }));
    assert!(answers[names[1]]["data"]["channel_data"].is_string());
    assert_eq!(answers[names[2]]["data"], json!({ "message": "" }));
}

#[tokio::test]
async fn a_batch_has_a_limit() {
    let batch = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("private-users.{n}")).collect();
        json!({ "socket_id": "1.2", "channel_names": names })
    };
    assert_eq!(ask_for_batch(batch(100)).await.1.as_object().unwrap().len(), 100);
    assert_eq!(ask_for_batch(batch(101)).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ask_for_batch(json!([])).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

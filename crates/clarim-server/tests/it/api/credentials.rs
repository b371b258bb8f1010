//! Keys, ids and secrets with any characters, which Reverb accepts.

use clarim_protocol::rest;
use clarim_server::App;
use serde_json::json;

use crate::support::{Setup, unix_time};

const KEY: &str = "a+b/c \"d'==";
const ID: &str = "team/1 'x'+=";
const SECRET: &str = "s/e+c \"r'et==";

#[tokio::test]
async fn keys_with_any_characters_connect() {
    let server = Setup::default().start(vec![App::new(ID, KEY, SECRET)]);
    let encoded = rest::encode_segment(KEY);
    for path in [
        // As browsers write it.
        "/app/a+b/c%20%22d'==?protocol=7".to_owned(),
        format!("/app/{encoded}?protocol=7"),
        format!("/app/~page-1/app/{encoded}?protocol=7"),
        "/app/~page-1/app/a+b/c%20%22d'==?protocol=7".to_owned(),
    ] {
        let mut client = server.open(&path, &[]).await;
        client.greeted().await;
        client.subscribe("private-orders").await;
    }
    for path in ["/pusher/app/a+b/c%20%22d'==/1/session1/xhr_send", "/pusher/app/a/1/s/x"] {
        let status = server.request("OPTIONS", path, b"").await.status;
        assert_eq!(status, if path.ends_with('x') { 404 } else { 204 }, "{path}");
    }
    for path in ["/app/a+b/d", "/app/a/b/c/d", "/app"] {
        assert_eq!(server.request("GET", path, b"").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn ids_with_any_characters_are_signed_as_typed_or_encoded() {
    let server = Setup::default().start(vec![App::new(ID, KEY, SECRET)]);
    let body = json!({ "name": "e", "channel": "c", "data": "{}" }).to_string();
    assert_eq!(server.api().post_text("/events", &body).await.status, 200);
    let reply = server.api().get("/channels/presence-a", &[]).await;
    assert_eq!(reply.status, 200);
    // PHP's SDK signs the path before its HTTP library encodes it.
    let api = server.api();
    let key = api.app_key();
    let typed = format!("/apps/{ID}/events");
    let query = rest::sign(key, "POST", &typed, &[], body.as_bytes(), unix_time());
    let target = format!("/apps/team/1%20'x'+=/events?{query}");
    assert_eq!(server.request("POST", &target, body.as_bytes()).await.status, 200);
    let other = target.replace("/1%20", "/2%20");
    assert_eq!(server.request("POST", &other, body.as_bytes()).await.status, 404);
}

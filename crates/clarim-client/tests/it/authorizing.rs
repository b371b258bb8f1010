//! Authorization of subscriptions, and its errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use clarim_client::{
    Authorization, Authorizer, BoxFuture, Client, Error, HttpAuthorizer, KeyAuthorizer, Options,
    Update, UserAuthorization,
};
use clarim_protocol::auth::AppKey;
use clarim_protocol::rest::Params;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{WithKey, World, event, next, seal, subscribed, within};

/// The application: authorizes clients that have the token, except for `private-closed`, and never answers
/// for `private-slow`.
async fn application() -> String {
    let auth = async |headers: HeaderMap, body: String| {
        let params = Params::decode(&body).unwrap();
        let socket_id = params.get("socket_id").unwrap();
        let channel = params.get("channel_name").unwrap();
        if channel == "private-slow" {
            std::future::pending::<()>().await;
        }
        let token = headers.get("authorization").is_some_and(|token| token == "Bearer t");
        if !token || channel == "private-closed" {
            return (StatusCode::FORBIDDEN, String::new());
        }
        let key = AppKey::new("key", "secret");
        let auth = key.sign_channel(socket_id.parse().unwrap(), channel, None);
        (StatusCode::OK, json!({ "auth": auth }).to_string())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/broadcasting/auth", listener.local_addr().unwrap());
    let app = Router::new().route("/broadcasting/auth", post(auth));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

fn connect(world: &World, authorizer: impl Authorizer) -> Client {
    let options = Options::new("key")
        .host("127.0.0.1", world.port())
        .authorization_timeout(Duration::from_millis(500))
        .authorizer(authorizer);
    Client::connect(options).unwrap()
}

#[tokio::test]
async fn a_denied_channel_does_not_affect_others() {
    let world = World::start();
    let url = application().await;
    let authorizer =
        HttpAuthorizer::new(&url).unwrap().header("Authorization", "Bearer t").unwrap();
    let client = connect(&world, authorizer);
    let mut open = client.private("open");
    let mut closed = client.private("closed");
    let slow = client.private("slow");
    subscribed(&open).await;
    let error = within(closed.subscribed()).await.unwrap_err();
    let Error::Authorization { subject, source } = &error else { panic!("{error}") };
    assert_eq!(subject, "private-closed");
    assert!(source.to_string().ends_with("answered 403 Forbidden"), "{source}");
    assert_eq!(error.code(), "not_authorized");
    assert!(matches!(next(&mut closed).await, Update::Refused(Error::Authorization { .. })));
    let error = within(slow.subscribed()).await.unwrap_err().to_string();
    assert!(error.contains("no answer within 500ms"), "{error}");
    world.publish("private-open", "e", &json!({})).await;
    assert_eq!(event(&mut open).await.0, "e");
}

#[tokio::test]
async fn the_error_names_an_application_that_is_down() {
    let world = World::start();
    let client = connect(&world, HttpAuthorizer::new("http://127.0.0.1:1/auth").unwrap());
    let error = within(client.private("x").subscribed()).await.unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:1/auth") && error.contains("refused"), "{error}");
    let without = Options::new("key").host("127.0.0.1", world.port());
    let client = Client::connect(without).unwrap();
    let error = within(client.private("x").subscribed()).await.unwrap_err().to_string();
    assert!(error.contains("set Options::authorizer"), "{error}");
    let error = HttpAuthorizer::new("/broadcasting/auth").unwrap_err().to_string();
    assert!(error.contains("begins with http://"), "{error}");
}

/// Answers only after some attempts, as an application that is being deployed.
#[derive(Debug, Default, Clone)]
struct Deployed {
    attempts: Arc<AtomicUsize>,
}

impl Deployed {
    fn is_away(&self) -> bool {
        self.attempts.fetch_add(1, Ordering::Relaxed) < 4
    }
}

impl Authorizer for Deployed {
    fn channel<'a>(
        &'a self,
        socket_id: &'a str,
        channel: &'a str,
    ) -> BoxFuture<'a, Result<Authorization, Error>> {
        Box::pin(async move {
            match self.is_away() {
                true => Err(Error::unavailable(channel, "the application is being deployed")),
                false => KeyAuthorizer::new("key", "secret").channel(socket_id, channel).await,
            }
        })
    }

    fn user<'a>(&'a self, socket_id: &'a str) -> BoxFuture<'a, Result<UserAuthorization, Error>> {
        Box::pin(async move {
            let authorizer = KeyAuthorizer::new("key", "secret").user("7", json!({}));
            match self.is_away() {
                true => Err(Error::unavailable("the user", "the application is being deployed")),
                false => Authorizer::user(&authorizer, socket_id).await,
            }
        })
    }
}

#[tokio::test]
async fn an_application_that_is_away_for_a_moment_is_asked_again() {
    let world = World::start();
    let connect = |authorizer: Deployed| {
        let pause = Duration::from_millis(20);
        let options = Options::new("key").host("127.0.0.1", world.port());
        let options = options.authorizer(authorizer).reconnect_after(pause, pause);
        Client::connect(options).unwrap()
    };
    let client = connect(Deployed::default());
    let mut orders = client.private("orders");
    let mut failures = 0;
    loop {
        match next(&mut orders).await {
            Update::Refused(Error::Unavailable { .. }) => failures += 1,
            Update::Subscribed(_) => break,
            update => panic!("{update:?}"),
        }
    }
    assert_eq!(failures, 4);
    let application = Deployed::default();
    let client = connect(application.clone());
    let error = within(client.sign_in()).await.unwrap_err();
    assert_eq!(error.code(), "authorization_unavailable");
    within(async {
        while application.attempts.load(Ordering::Relaxed) < 5 || client.sign_in().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn statuses_of_a_moment_are_told_from_refusals() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let status = async |Path(status): Path<u16>| StatusCode::from_u16(status).unwrap();
    let app = Router::new().route("/{status}", post(status));
    tokio::spawn(async move { axum::serve(listener, app).await });
    for (status, is_temporary) in
        [(401, false), (403, false), (429, true), (500, true), (503, true)]
    {
        let authorizer = HttpAuthorizer::new(&format!("{url}/{status}")).unwrap();
        let error = authorizer.channel("1.1", "private-x").await.unwrap_err();
        assert_eq!(matches!(error, Error::Unavailable { .. }), is_temporary, "{status}: {error}");
    }
}

#[tokio::test]
async fn a_refused_signature_is_an_error_of_the_channel() {
    let world = World::start();
    let client = connect(&world, KeyAuthorizer::new("key", "wrong"));
    let error = within(client.private("x").subscribed()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Subscription { reason, .. } if reason.contains("401")),
        "{error}"
    );
    let news = client.channel("news");
    subscribed(&news).await;
    let error = within(client.sign_in()).await.unwrap_err();
    assert!(matches!(error, Error::Authorization { .. }), "{error}");
}

#[tokio::test]
async fn an_expired_token_is_fetched_again() {
    let auth = async |headers: HeaderMap| match headers.get("authorization") {
        Some(token) if token == "Bearer 2" => (StatusCode::OK, r#"{"auth":"signed"}"#),
        _ => (StatusCode::UNAUTHORIZED, ""),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/auth", listener.local_addr().unwrap());
    let app = Router::new().route("/auth", post(auth));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = fetched.clone();
    let authorizer = HttpAuthorizer::new(&url).unwrap().token(move || {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok::<_, Error>(number.to_string()) }
    });
    let (a, b) = tokio::join!(
        authorizer.channel("1.1", "private-a"),
        authorizer.channel("1.1", "private-b"),
    );
    assert_eq!([a.unwrap().auth, b.unwrap().auth], ["signed", "signed"]);
    assert_eq!(fetched.load(Ordering::Relaxed), 2, "once for both requests");
    let denied = HttpAuthorizer::new(&url).unwrap().token(|| async { Ok::<_, Error>("0".into()) });
    let error = denied.channel("1.1", "private-a").await.unwrap_err();
    assert!(matches!(error, Error::Authorization { .. }), "{error}");
}

/// Denies the first request.
#[derive(Debug, Default)]
struct Invited(AtomicUsize);

impl Authorizer for Invited {
    fn channel<'a>(
        &'a self,
        socket_id: &'a str,
        channel: &'a str,
    ) -> BoxFuture<'a, Result<Authorization, Error>> {
        Box::pin(async move {
            if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err(Error::authorization(channel, "not invited"));
            }
            KeyAuthorizer::new("key", "secret").channel(socket_id, channel).await
        })
    }
}

#[tokio::test]
async fn a_denied_subscription_is_tried_again_on_request() {
    let world = World::start();
    let client = connect(&world, Invited::default());
    let room = client.private("room");
    assert!(matches!(within(room.subscribed()).await, Err(Error::Authorization { .. })));
    room.retry();
    subscribed(&room).await;
}

#[tokio::test]
async fn encrypted_events_are_decrypted_with_the_key_of_the_channel() {
    let world = World::start();
    let client = connect(&world, WithKey([7; 32]));
    let mut vault = client.encrypted_private("vault");
    subscribed(&vault).await;
    let seal = |key| seal(key, &json!({ "pin": "1234" }));
    // Events that are encrypted with another key, or not at all, are ignored.
    world.publish("private-encrypted-vault", "forged", &seal([8; 32])).await;
    world.publish("private-encrypted-vault", "open", &json!({ "pin": "0000" })).await;
    world.publish("private-encrypted-vault", "sealed", &seal([7; 32])).await;
    assert_eq!(event(&mut vault).await, ("sealed".to_owned(), json!({ "pin": "1234" })));
}

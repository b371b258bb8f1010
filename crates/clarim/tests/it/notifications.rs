//! Notifications, in real databases and as clients receive them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use axum::http::request::Parts;
use clarim::notification::{
    BROADCAST_NOTIFICATION_CREATED, Notice, Notifiable, Notification, NotificationChannel,
    Notifications, Page, StoredNotification, Via,
};
use clarim::publisher::{BoxFuture, Publication, Publisher};
use clarim::queue::Worker;
use clarim::{Channel, Clarim, Delivery, Error, Fake, InvalidChannel, Settings};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tower::ServiceExt;
use uuid::Uuid;

use crate::queue::stores::{Kind, Store};
use crate::support::{TIMEOUT, World};

struct User(u64);

impl Notifiable for User {
    fn notifiable_id(&self) -> String {
        self.0.to_string()
    }

    fn address_for(&self, channel: &str) -> Option<String> {
        (channel == "mail").then(|| format!("{}@example.com", self.0))
    }
}

/// Its ids overlap with those of users.
struct Company(u64);

impl Notifiable for Company {
    fn notifiable_id(&self) -> String {
        self.0.to_string()
    }
}

#[derive(Serialize)]
struct InvoicePaid {
    invoice: u64,
    amount: u64,
}

impl<N: Notifiable> Notification<N> for InvoicePaid {
    fn to_broadcast(&self, _: &N) -> serde_json::Result<Value> {
        Ok(json!({ "invoice": self.invoice, "message": "paid", "id": "not this one" }))
    }
}

fn paid(invoice: u64) -> InvoicePaid {
    InvoicePaid { invoice, amount: 4200 }
}

/// A notification with its own channels and delay.
#[derive(Serialize)]
struct Custom {
    #[serde(skip)]
    via: Vec<Via>,
    #[serde(skip)]
    delay: Option<Duration>,
    text: &'static str,
}

fn custom(via: &[Via]) -> Custom {
    Custom { via: via.to_vec(), delay: None, text: "Olá" }
}

impl Notification<User> for Custom {
    fn via(&self, _: &User) -> Vec<Via> {
        self.via.clone()
    }

    fn delay(&self, _: &User) -> Option<Duration> {
        self.delay
    }

    fn delivery(&self) -> Delivery {
        Delivery::queued().backoff([Duration::from_millis(10)])
    }
}

async fn sqlite() -> Notifications {
    let table = Notifications::connect("sqlite::memory:").await.unwrap();
    table.migrate().await.unwrap();
    table
}

/// An application with a table and a queue in memory, whose publisher is a fake.
fn application(table: &Notifications) -> (Clarim, Fake) {
    let fake = Fake::default();
    let builder = Clarim::builder(Settings::default()).publisher(Arc::new(fake.clone()));
    (builder.build().unwrap().with_notifications(table.clone()), fake)
}

fn invoices(found: &[StoredNotification]) -> Vec<u64> {
    found.iter().map(|one| one.data["invoice"].as_u64().unwrap()).collect()
}

/// The behaviour of both databases.
async fn keeps_notifications(table: Notifications) {
    table.migrate().await.unwrap();
    table.migrate().await.expect("the second time there is nothing to do");
    let (clarim, _) = application(&table);
    let ana = User(7);
    let rui = User(8);
    let company = Company(7);
    assert!(table.all(&ana, Page::default()).await.unwrap().is_empty());
    for invoice in 1..=5 {
        clarim.notify(&ana, paid(invoice)).await.unwrap();
    }
    clarim.notify_all([&rui], paid(6)).await.unwrap();
    clarim.notify(&company, paid(7)).await.unwrap();

    let first = table.all(&ana, Page::of(2)).await.unwrap();
    assert_eq!(invoices(&first), [5, 4], "newest first");
    assert_eq!(first[0].notification_type, "App\\Notifications\\InvoicePaid");
    assert_eq!(first[0].data, json!({ "invoice": 5, "amount": 4200 }));
    // New notifications don't shift pages.
    clarim.notify(&ana, paid(8)).await.unwrap();
    let second = table.all(&ana, Page::of(2).before(&first[1])).await.unwrap();
    assert_eq!(invoices(&second), [3, 2]);
    let last = table.all(&ana, Page::of(2).before(&second[1])).await.unwrap();
    assert_eq!(invoices(&last), [1]);
    assert_eq!(invoices(&table.all(&rui, Page::default()).await.unwrap()), [6]);
    assert_eq!(invoices(&table.all(&company, Page::default()).await.unwrap()), [7]);

    let newest = &first[0];
    let id = first[0].id;
    assert_eq!(table.count_unread(&ana).await.unwrap(), 6);
    for stranger in [&rui as &dyn Notifiable, &company] {
        assert!(!table.mark_as_read(stranger, id).await.unwrap(), "of another user");
        assert!(!table.delete(stranger, id).await.unwrap(), "of another user");
        assert_eq!(table.find(stranger, id).await.unwrap(), None, "of another user");
    }
    assert_eq!(table.find(&ana, id).await.unwrap().as_ref(), Some(newest));
    assert_eq!(newest.read_at, None);
    assert!(table.mark_as_read(&ana, id).await.unwrap());
    let read = table.find(&ana, id).await.unwrap().unwrap();
    assert!(read.read_at.unwrap() >= read.created_at);
    assert!(table.mark_as_read(&ana, id).await.unwrap(), "again");
    assert_eq!(table.find(&ana, id).await.unwrap().unwrap(), read, "the first time counts");
    let unread = table.unread(&ana, Page::default()).await.unwrap();
    assert_eq!(invoices(&unread), [8, 4, 3, 2, 1]);
    assert_eq!(
        invoices(&table.unread(&ana, Page::of(9).before(&unread[2])).await.unwrap()),
        [2, 1]
    );

    assert_eq!(table.mark_all_as_read(&ana).await.unwrap(), 5);
    assert_eq!(table.mark_all_as_read(&ana).await.unwrap(), 0);
    assert_eq!(table.find(&ana, id).await.unwrap().unwrap(), read, "was read before");
    assert_eq!(table.count_unread(&ana).await.unwrap(), 0);
    assert_eq!(table.count_unread(&rui).await.unwrap(), 1);
    assert_eq!(table.count_unread(&company).await.unwrap(), 1);

    assert!(table.delete(&ana, id).await.unwrap());
    assert!(!table.delete(&ana, id).await.unwrap());
    assert!(!table.mark_as_read(&ana, Uuid::nil()).await.unwrap());
    assert_eq!(table.all(&ana, Page::default()).await.unwrap().len(), 5);

    writes_a_row_once(&table).await;
}

async fn writes_a_row_once(table: &Notifications) {
    let ana = User(7);
    let before = table.all(&ana, Page::default()).await.unwrap();
    let notice: Notice = serde_json::from_value(json!({
        "id": Uuid::now_v7(),
        "via": "database",
        "notification_type": "Twice",
        "notifiable_type": ana.notifiable_type(),
        "notifiable_id": ana.notifiable_id(),
        "data": { "text": "'; DROP TABLE notifications; -- ção \u{1f4e3}" },
    }))
    .unwrap();
    for _ in 0..2 {
        table.send(&notice).await.unwrap();
    }
    let found = table.all(&ana, Page::default()).await.unwrap();
    assert_eq!(found[1..], before, "one row however often it is written");
    assert_eq!(found[0].data, notice.data);
}

#[tokio::test]
async fn sqlite_keeps_notifications() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("app.sqlite").display());
    keeps_notifications(Notifications::connect(&url).await.unwrap()).await;
    keeps_notifications(sqlite().await).await;
}

fn postgres() -> (Store, String) {
    let store = Store::new(Kind::Postgres);
    let [_, (_, url)] = store.variables();
    (store, url)
}

#[tokio::test]
async fn postgresql_keeps_notifications() {
    let (_store, url) = postgres();
    let table = Notifications::connect(&url).await.unwrap();
    let missing = table.count_unread(&User(7)).await.unwrap_err();
    assert!(
        missing.to_string().ends_with("create the table with Notifications::migrate"),
        "{missing}"
    );
    assert!(!missing.is_temporary());
    keeps_notifications(table).await;
}

#[tokio::test]
async fn an_unreachable_database_is_a_temporary_error() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let impatient = PgPoolOptions::new().acquire_timeout(Duration::from_millis(200));
    let pool = impatient.connect_lazy(&format!("postgres://test@127.0.0.1:{port}/gone")).unwrap();
    let away = Notifications::new(pool).count_unread(&User(7)).await.unwrap_err();
    assert!(away.is_temporary(), "{away}");
}

#[tokio::test]
async fn two_processes_can_migrate_at_the_same_time() {
    let (_store, url) = postgres();
    let connect = || async { Notifications::connect(&url).await.unwrap() };
    let (a, b) = tokio::join!(connect(), connect());
    let (a, b) = tokio::join!(a.migrate(), b.migrate());
    a.unwrap();
    b.unwrap();
}

#[tokio::test]
async fn the_page_gets_the_broadcast_with_the_id_of_the_row() {
    let world = World::start();
    let table = sqlite().await;
    let clarim = world.clarim().with_notifications(table.clone());
    let mut client = world.connect().await;
    client.subscribe("private-App.Models.User.7").await;
    clarim.notify(&User(7), paid(1)).await.unwrap();
    let (name, channel, data) = client.event().await;
    assert_eq!(name, "Illuminate\\Notifications\\Events\\BroadcastNotificationCreated");
    assert_eq!(channel, "private-App.Models.User.7");
    let row = &table.all(&User(7), Page::default()).await.unwrap()[0];
    let kind = "App\\Notifications\\InvoicePaid";
    let expected = json!({ "id": row.id, "type": kind, "invoice": 1, "message": "paid" });
    assert_eq!(data, expected);
}

/// A publisher that counts the rows of the table.
#[derive(Debug)]
struct Looking {
    table: Notifications,
    rows: Arc<Mutex<Vec<usize>>>,
}

impl Publisher for Looking {
    fn publish<'a>(&'a self, _: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            let rows = self.table.all(&User(7), Page::default()).await?.len();
            self.rows.lock().unwrap().push(rows);
            Ok(())
        })
    }
}

#[tokio::test]
async fn the_row_is_written_before_the_broadcast_in_any_order_and_with_any_delay() {
    let table = sqlite().await;
    let rows = Arc::<Mutex<Vec<usize>>>::default();
    let looking = Looking { table: table.clone(), rows: rows.clone() };
    let builder = Clarim::builder(Settings::default()).publisher(Arc::new(looking));
    let clarim = builder.build().unwrap().with_notifications(table.clone());
    let both = [Via::Broadcast, Via::Database];
    clarim.notify(&User(7), custom(&both)).await.unwrap();
    clarim.idle().await;
    let late = |delay| Custom { delay: Some(delay), ..custom(&both) };
    clarim.notify(&User(7), late(Duration::from_millis(50))).await.unwrap();
    clarim.idle().await;
    assert_eq!(*rows.lock().unwrap(), [1, 2]);
    clarim.notify(&User(7), late(Duration::from_secs(86_400))).await.unwrap();
    assert_eq!(table.count_unread(&User(7)).await.unwrap(), 2, "the row waits too");
}

/// A channel that records notifications, and may refuse them.
#[derive(Debug, Clone, Default)]
struct Mail {
    got: Arc<Mutex<Vec<Notice>>>,
    refuses: bool,
}

impl NotificationChannel for Mail {
    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), Error>> {
        self.got.lock().unwrap().push(notice.clone());
        let refused = Err(Error::undelivered(&notice.via, "mailbox full", false));
        Box::pin(std::future::ready(if self.refuses { refused } else { Ok(()) }))
    }
}

#[tokio::test]
async fn a_channel_of_the_application_gets_address_and_data() {
    let (clarim, fake) = application(&sqlite().await);
    let mail = Mail::default();
    let clarim = clarim.with_notification_channel("mail", mail.clone());
    let via = [Via::channel("mail"), Via::Broadcast];
    clarim.notify(&User(7), custom(&via)).await.unwrap();
    let late = Custom { delay: Some(Duration::ZERO), ..custom(&via) };
    clarim.notify(&User(8), late).await.unwrap();
    clarim.idle().await;
    let got = mail.got.lock().unwrap();
    let addresses: Vec<_> = got.iter().map(|notice| notice.address.as_deref()).collect();
    assert_eq!(addresses, [Some("7@example.com"), Some("8@example.com")]);
    assert_eq!(got[0].data, json!({ "text": "Olá" }));
    let broadcast = fake.sent().into_iter().map(|sent| sent.data["id"].clone());
    assert!(broadcast.eq(got.iter().map(|notice| json!(notice.id))), "the same ids");
}

#[tokio::test]
async fn one_failure_does_not_stop_the_others_and_is_named() {
    // There is no table, and the mailbox is full.
    let fake = Fake::default();
    let builder = Clarim::builder(Settings::default()).publisher(Arc::new(fake.clone()));
    let mail = Mail { refuses: true, ..Mail::default() };
    let clarim = builder.build().unwrap().with_notification_channel("mail", mail);
    let via = [Via::Database, Via::channel("mail"), Via::Broadcast, Via::channel("fax")];
    let error = clarim.notify_all(&[User(7), User(8)], custom(&via)).await.unwrap_err();
    clarim.idle().await;
    assert_eq!(fake.sent().len(), 2, "both broadcasts went out");
    let table = "this process has no table for notifications; add Clarim::with_notifications";
    let fax = "this process has no such channel; add Clarim::with_notification_channel";
    let of = |user: u64| {
        format!(
            "to App\\Models\\User {user} via database: database: {table}; \
             to App\\Models\\User {user} via mail: mail: mailbox full; \
             to App\\Models\\User {user} via fax: fax: {fax}"
        )
    };
    assert_eq!(error.to_string(), format!("App\\Notifications\\Custom: {}; {}", of(7), of(8)));
    assert!(!error.is_temporary());
}

/// A table that is locked the first time. It records the number of broadcasts before each call.
#[derive(Debug, Clone)]
struct Locked {
    table: Notifications,
    fake: Fake,
    sent: Arc<Mutex<Vec<usize>>>,
}

impl NotificationChannel for Locked {
    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), Error>> {
        let mut sent = self.sent.lock().unwrap();
        sent.push(self.fake.sent().len());
        if sent.len() == 1 {
            let locked = Error::Database { source: "locked".into(), hint: "", temporary: true };
            return Box::pin(std::future::ready(Err(locked)));
        }
        self.table.send(notice)
    }
}

#[tokio::test]
async fn a_delayed_notification_is_stored_and_another_process_delivers_it() {
    let store = Store::new(Kind::Sqlite);
    let fake = Fake::default();
    let table = sqlite().await;
    let application = || {
        let settings = Settings::default().queue(store.connection());
        Clarim::builder(settings).publisher(Arc::new(fake.clone())).build().unwrap()
    };
    let late = Custom {
        delay: Some(Duration::from_millis(50)),
        ..custom(&[Via::Database, Via::Broadcast, Via::channel("mail")])
    };
    let started = Instant::now();
    application().notify(&User(7), late).await.unwrap();

    let sent = Arc::default();
    let locked = Locked { table: table.clone(), fake: fake.clone(), sent: Arc::clone(&sent) };
    let worker = application()
        .with_notification_channel("database", locked)
        .with_notification_channel("mail", Mail { refuses: true, ..Mail::default() });
    let storage = worker.storage().unwrap();
    let finished = async {
        while fake.sent().is_empty() || storage.failed().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let worker = Worker::new(&worker).unwrap().poll(Duration::from_millis(5));
    timeout(TIMEOUT, worker.run_until(finished)).await.expect("in time");
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert_eq!(*sent.lock().unwrap(), [0, 0], "the broadcast waited for the row");
    let rows = table.all(&User(7), Page::default()).await.unwrap();
    assert_eq!(fake.sent()[0].data["id"], json!(rows[0].id));
    assert_eq!((rows.len(), fake.sent().len()), (1, 1));
    let failed = storage.failed().await.unwrap();
    assert_eq!((failed.len(), failed[0].error.as_str()), (1, "mail: mailbox full"));
}

#[tokio::test]
async fn a_row_that_cannot_be_written_does_not_block_the_broadcast() {
    let (clarim, fake) = Clarim::fake();
    drop(clarim);
    let builder = Clarim::builder(Settings::default()).publisher(Arc::new(fake.clone()));
    let clarim = builder.build().unwrap();
    let late = Custom { delay: Some(Duration::ZERO), ..custom(&[Via::Database, Via::Broadcast]) };
    clarim.notify(&User(7), late).await.unwrap();
    clarim.idle().await;
    fake.assert_broadcast_as(BROADCAST_NOTIFICATION_CREATED, |sent| sent.data["text"] == "Olá");
}

/// A notification without any of the defaults.
#[derive(Serialize)]
struct Renamed(&'static str);

struct Team;

impl Notifiable for Team {
    fn notifiable_id(&self) -> String {
        "red".to_owned()
    }

    fn receives_broadcast_notifications_on(&self) -> Result<Channel, InvalidChannel> {
        Channel::private("teams.red")
    }
}

impl Notification<Team> for Renamed {
    fn to_broadcast(&self, _: &Team) -> serde_json::Result<Value> {
        Ok(Value::Null)
    }

    fn notification_type(&self) -> std::borrow::Cow<'static, str> {
        "renamed".into()
    }

    fn broadcast_as(&self) -> clarim::EventName {
        "team.renamed".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::queued().queue("high")
    }
}

#[tokio::test]
async fn type_name_channel_and_queue_can_be_changed() {
    let (clarim, fake) = Clarim::fake();
    clarim.notify(&Team, Renamed("Reds")).await.unwrap();
    let sent = fake.sent().remove(0);
    assert_eq!(
        (sent.name.as_str(), sent.channels),
        ("team.renamed", vec![Channel::private("teams.red").unwrap()])
    );
    assert_eq!(sent.queue.as_deref(), Some("high"));
    assert_eq!(sent.data["type"], "renamed");
    assert_eq!(sent.data.as_object().unwrap().len(), 2, "id and type");
}

/// A notification whose payload is not an object.
#[derive(Serialize)]
struct Bare(u64);

impl Notification<User> for Bare {
    fn via(&self, _: &User) -> Vec<Via> {
        vec![Via::Broadcast]
    }
}

#[tokio::test]
async fn a_payload_that_is_not_an_object_is_an_error() {
    let (clarim, fake) = Clarim::fake();
    let error = clarim.notify(&User(7), Bare(1)).await.unwrap_err();
    assert!(error.to_string().contains("must be an object"), "{error}");
    assert!(fake.sent().is_empty());
}

#[tokio::test]
async fn the_fake_records_notifications() {
    let (clarim, fake) = Clarim::fake();
    fake.assert_nothing_notified();
    clarim.notify_all(&[User(7), User(8)], paid(1)).await.unwrap();
    clarim.notify(&User(7), paid(2)).await.unwrap();
    fake.assert_notified::<InvoicePaid>(&User(7), |sent| sent.invoice == 2);
    fake.assert_notified::<InvoicePaid>(&User(8), |sent| sent.amount == 4200);
    fake.assert_not_notified::<InvoicePaid>(&User(8), |sent| sent.invoice == 2);
    fake.assert_not_notified::<InvoicePaid>(&Company(7), |_| true);
    fake.assert_not_notified::<Custom>(&User(7), |_| true);
    fake.assert_broadcast_on(Channel::private("App.Models.User.8"));
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        fake.assert_notified::<InvoicePaid>(&User(9), |_| true);
    }));
    let message = failed.unwrap_err().downcast_ref::<String>().unwrap().clone();
    let who = "App\\Models\\User 7, App\\Models\\User 8, App\\Models\\User 7";
    assert_eq!(
        message,
        format!("App\\Models\\User 9 got no such InvoicePaid; notified with this type: {who}")
    );
    fake.clear();
    fake.assert_nothing_notified();
}

/// Status and body of the answer to a user.
async fn ask(router: &axum::Router, method: &str, path: &str, user: &str) -> (u16, Value) {
    send(router, method, path, user, String::new()).await
}

async fn send(
    router: &axum::Router,
    method: &str,
    path: &str,
    user: &str,
    body: String,
) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("x-user", user);
    let request = request.header("content-type", "application/json");
    let request = request.body(Body::from(body)).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn a_page_lists_reads_and_deletes_its_notifications() {
    let table = sqlite().await;
    let (clarim, _) = application(&table);
    let router: axum::Router = table.routes(|parts: Parts| {
        Some(User(parts.headers.get("x-user")?.to_str().ok()?.parse().ok()?))
    });
    for invoice in 1..=3 {
        clarim.notify(&User(7), paid(invoice)).await.unwrap();
    }
    let (status, list) = ask(&router, "GET", "/notifications?limit=2", "7").await;
    assert_eq!((status, &list["unread"]), (200, &json!(3)));
    let newest = &list["data"][0];
    assert_eq!(newest["type"], "App\\Notifications\\InvoicePaid");
    assert_eq!((&newest["data"]["invoice"], &newest["read_at"]), (&json!(3), &Value::Null));
    assert!(newest["created_at"].as_str().unwrap().ends_with('Z'), "{newest}");
    let id = newest["id"].as_str().unwrap();
    let last = list["data"][1]["id"].as_str().unwrap();

    let older = format!("/notifications?before={last}");
    let (_, rest) = ask(&router, "GET", &older, "7").await;
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);
    assert_eq!(ask(&router, "GET", &older, "8").await.0, 404, "of another user");
    assert_eq!(ask(&router, "GET", "/notifications", "guest").await.0, 401);

    let read = format!("/notifications/{id}/read");
    assert_eq!(ask(&router, "POST", &read, "8").await.0, 404, "of another user");
    assert_eq!(ask(&router, "POST", &read, "7").await.0, 204);
    let (_, unread) = ask(&router, "GET", "/notifications?unread=true", "7").await;
    assert_eq!(unread["data"].as_array().unwrap().len(), 2);
    // Several at once, among them one of another user.
    clarim.notify(&User(8), paid(4)).await.unwrap();
    let (_, of_another) = ask(&router, "GET", "/notifications", "8").await;
    let ids = json!({ "ids": [id, last, of_another["data"][0]["id"]] });
    let several = |ids: Value| send(&router, "POST", "/notifications/read", "7", ids.to_string());
    assert_eq!(several(ids).await.0, 204);
    let (_, list) = ask(&router, "GET", "/notifications", "7").await;
    assert_eq!((&list["unread"], &list["data"][1]["id"]), (&json!(1), &json!(last)));
    assert_ne!(list["data"][1]["read_at"], Value::Null);
    assert_eq!(ask(&router, "GET", "/notifications", "8").await.1["unread"], 1);
    assert_eq!(several(json!({ "ids": vec![id; 101] })).await.0, 413);
    assert_eq!(several(json!([id])).await.0, 422);
    assert_eq!(ask(&router, "POST", "/notifications/read-all", "7").await.0, 204);
    let one = format!("/notifications/{id}");
    assert_eq!(ask(&router, "DELETE", &one, "guest").await.0, 401);
    assert_eq!(ask(&router, "DELETE", &one, "7").await.0, 204);
    assert_eq!(ask(&router, "DELETE", &one, "7").await.0, 404);
    let (_, list) = ask(&router, "GET", "/notifications", "7").await;
    assert_eq!((&list["unread"], list["data"].as_array().unwrap().len()), (&json!(0), 2));
}

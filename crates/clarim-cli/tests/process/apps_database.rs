//! Apps in a table of SQLite and of PostgreSQL, changed by SQL while the server runs.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use clarim_testing::{Certificate, Postgres, Proxy, free_port};
use rustix::process::Signal;
use tempfile::TempDir;

use super::server::{Client, Process, eventually};

pub(super) const ONE: (&str, &str, &str) = ("1", "key", "s3cret-of-the-app");
pub(super) const TWO: (&str, &str, &str) = ("2", "two", "s3cret-of-two");
pub(super) const FOUR: (&str, &str, &str) = ("4", "four", "s3cret-of-four");

/// A database, and how to write to it.
pub(super) enum Database {
    Sqlite(TempDir),
    Postgres(Box<Postgres>),
}

impl Database {
    pub(super) fn sqlite() -> Self {
        Self::Sqlite(TempDir::new().unwrap())
    }

    pub(super) fn postgres() -> Self {
        Self::Postgres(Box::new(Postgres::start()))
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.path().join("apps.db").display()),
            Self::Postgres(server) => server.url("postgres"),
        }
    }

    pub(super) fn run(&self, statement: &str) {
        match self {
            Self::Sqlite(folder) => sqlite(&folder.path().join("apps.db"), statement),
            Self::Postgres(server) => server.run("postgres", statement),
        }
    }

    pub(super) fn insert(&self, (id, key, secret): (&str, &str, &str), settings: &str) {
        self.run(&format!(
            "INSERT INTO clarim_apps (id, key, secret, settings)
             VALUES ('{id}', '{key}', '{secret}', '{settings}')"
        ));
    }

    /// A server with this database and without files.
    pub(super) fn start(&self) -> Process {
        Process::start(
            "unset REVERB_APP_ID REVERB_APP_KEY REVERB_APP_SECRET;",
            "",
            &[("CLARIM_APPS_DATABASE_URL", &self.url())],
        )
    }
}

/// Runs a statement with Python, which includes SQLite.
fn sqlite(file: &Path, statement: &str) {
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=20); \
        c.executescript(sys.argv[2]); c.commit()";
    let ran = Command::new("python3").args(["-c", script]).arg(file).arg(statement).output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// Connects with this key, or returns the code of the refusal.
pub(super) fn lets_in(process: &Process, key: &str) -> Result<Client, u16> {
    let mut client = process.connect_as(key);
    while !contains(&client, "connection_established") {
        if contains(&client, "pusher:error") {
            return Err(client.read_close());
        }
        assert!(client.has_more(), "neither let in nor refused");
    }
    Ok(client)
}

fn contains(client: &Client, text: &str) -> bool {
    String::from_utf8_lossy(&client.unread).contains(text)
}

/// The server's complete output, which must not contain a password or secret.
fn said(process: &Process) -> String {
    let said = process.read("err") + &process.read("out");
    for secret in [Postgres::PASSWORD, "s3cret-of"] {
        assert!(!said.contains(secret), "{said}");
    }
    said
}

fn times(text: &str, wanted: &str) -> usize {
    text.matches(wanted).count()
}

/// Runs a test with each kind of database.
macro_rules! with_each_database {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test] fn $name() { super::$name(&super::Database::sqlite()); })*
        }
        mod on_postgres {
            $(#[test] fn $name() { super::$name(&super::Database::postgres()); })*
        }
    };
}

with_each_database!(
    rows_are_added_changed_disabled_and_removed_while_other_apps_stay,
    an_invalid_row_affects_no_other_and_is_logged_once,
    a_start_with_an_invalid_row_is_refused,
    apps_of_the_file_are_served_with_those_of_the_database,
    commands_find_the_app_in_the_database,
);

fn rows_are_added_changed_disabled_and_removed_while_other_apps_stay(database: &Database) {
    let process = database.start();
    let log = said(&process);
    assert!(
        log.contains("there is no app yet") && log.contains("INSERT INTO clarim_apps"),
        "{log}"
    );
    assert!(
        !log.contains("development") && !process.directory.path().join(".clarim/app.toml").exists()
    );
    assert_eq!(lets_in(&process, "key").err(), Some(4001));

    // Noticed without a signal, within a few seconds.
    database.insert(ONE, "{}");
    database.insert(TWO, r#"{"max_connections": 1, "allowed_origins": ["*"]}"#);
    let begun = Instant::now();
    eventually("app one is let in", || lets_in(&process, "key").is_ok());
    eventually("app two is let in", || lets_in(&process, "two").is_ok());
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let mut one = process.subscribe("news");
    // The earlier connection ends after a moment.
    let mut two = None;
    eventually("app two has a place", || {
        two = lets_in(&process, "two").ok();
        two.is_some()
    });
    let mut two = two.unwrap();
    assert_eq!(lets_in(&process, "two").err(), Some(4004));
    assert!(process.publish_as(TWO, "news", "short").starts_with("HTTP/1.1 200"));

    // A changed limit applies to existing connections, immediately after a signal.
    database.run(
        r#"UPDATE clarim_apps SET settings = '{"max_event_size": 10, "history": "news:5:60s"}' WHERE id = '1'"#,
    );
    process.signal(Signal::HUP);
    eventually("the limit is in force", || {
        process.publish("news", "much longer than that").starts_with("HTTP/1.1 413")
    });
    assert!(process.publish("news", "few").starts_with("HTTP/1.1 200"));
    one.read_until(r#""data":"few","offset":1}"#);

    database.run("UPDATE clarim_apps SET enabled = FALSE WHERE id = '2'");
    assert_eq!(two.read_close(), 4003);
    assert_eq!(lets_in(&process, "two").err(), Some(4001));
    database.run("UPDATE clarim_apps SET enabled = TRUE, settings = '{}' WHERE id = '2'");
    eventually("app two is back", || lets_in(&process, "two").is_ok());
    let mut two = process.subscribe_as("two", "news");
    database.run("DELETE FROM clarim_apps WHERE id = '2'");
    process.signal(Signal::HUP);
    assert_eq!(two.read_close(), 4003);
    assert!(process.publish("news", "still").starts_with("HTTP/1.1 200"));
    one.read_until("still");

    // Rows that have not changed are not logged.
    let before = times(&said(&process), "apps of the database changed");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(times(&said(&process), "apps of the database changed"), before);
}

fn an_invalid_row_affects_no_other_and_is_logged_once(database: &Database) {
    let process = database.start();
    database.insert(ONE, r#"{"max_event_size": 10}"#);
    eventually("app one is let in", || lets_in(&process, "key").is_ok());
    let mut one = process.subscribe("news");
    database
        .run(r#"UPDATE clarim_apps SET settings = '{"max_event_size": "many"}' WHERE id = '1'"#);
    database.insert(TWO, r#"{"max_conections": 3}"#);
    database.insert(FOUR, "{}");
    eventually("app four is let in", || lets_in(&process, "four").is_ok());
    // The existing app is as it was, and the new one does not exist.
    assert!(process.publish("news", "much longer than that").starts_with("HTTP/1.1 413"));
    assert!(process.publish("news", "few").starts_with("HTTP/1.1 200"));
    one.read_until("few");
    assert_eq!(lets_in(&process, "two").err(), Some(4001));
    let wrong = [
        r#"max_event_size of app "1" in clarim_apps: "many" is not a number; expected a whole number of bytes"#,
        r#"max_conections of app "2" in clarim_apps: is not a setting; did you mean max_connections?"#,
    ];
    process.signal(Signal::HUP);
    std::thread::sleep(Duration::from_secs(5));
    let log = said(&process);
    for wrong in wrong {
        assert_eq!(times(&log, wrong), 1, "{log}");
    }
    // After another change both rows are valid.
    database.run("UPDATE clarim_apps SET settings = '{}'");
    eventually("app two is let in", || lets_in(&process, "two").is_ok());
    assert!(process.publish("news", "much longer than that").starts_with("HTTP/1.1 200"));
    one.read_until("much longer than that");
}

/// Runs `clarim` until it exits.
fn refused(arguments: &[&str], url: &str) -> (Output, String) {
    let folder = TempDir::new().unwrap();
    let output = Command::new("timeout")
        .args(["30", env!("CARGO_BIN_EXE_clarim")])
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("CLARIM_APPS_DATABASE_URL", url)
        .env("CLARIM_SERVER_HOST", "127.0.0.1")
        .env("CLARIM_SERVER_PORT", free_port().to_string())
        .output()
        .unwrap();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(!said.contains("s3cret-of") && !said.contains("hush"), "{said}");
    (output, said)
}

fn a_start_with_an_invalid_row_is_refused(database: &Database) {
    // Creates the table.
    drop(database.start());
    database.insert(ONE, r#"{"ping_interval": 0}"#);
    database.insert(TWO, "{}");
    for command in [&["start"][..], &["config", "check"]] {
        let (output, said) = refused(command, &database.url());
        assert_eq!(output.status.code(), Some(1), "{said}");
        let wrong = r#"ping_interval of app "1" in clarim_apps: 0 is out of range; expected a whole number of seconds from 1"#;
        assert!(said.contains("1 problem in the settings") && said.contains(wrong), "{said}");
    }
}

fn apps_of_the_file_are_served_with_those_of_the_database(database: &Database) {
    drop(database.start());
    database.insert(TWO, "{}");
    let environment = [("CLARIM_APPS_DATABASE_URL", &*database.url())];
    let process = Process::start("", "", &environment);
    let mut one = process.subscribe("news");
    let mut two = process.subscribe_as("two", "news");
    for (who, client) in [(ONE, &mut one), (TWO, &mut two)] {
        assert!(process.publish_as(who, "news", "for-its-own").starts_with("HTTP/1.1 200"));
        client.read_until("for-its-own");
    }
    // The later app with the same id or key is refused: a row of the database, then an app of the file.
    database.insert(("1", "other", "s3cret-of-another"), "{}");
    process.logs(
        r#"app "1" in clarim_apps: has the same id as an app of the file or the environment"#,
    );
    assert_eq!(lets_in(&process, "other").err(), Some(4001));
    let app = "[[apps]]\nid = \"1\"\nkey = \"key\"\nsecret = \"s3cret-of-the-app\"\n";
    let clash = app.replace("\"1\"", "\"7\"").replace("\"key\"", "\"two\"");
    std::fs::write(process.directory.path().join("clarim.toml"), format!("{app}{clash}")).unwrap();
    process.signal(Signal::HUP);
    process.logs("invalid settings are ignored");
    process.logs(r#"app "7": has the same key as app "2" in clarim_apps"#);
    for (who, client) in [(ONE, &mut one), (TWO, &mut two)] {
        assert!(process.publish_as(who, "news", "still-there").starts_with("HTTP/1.1 200"));
        client.read_until("still-there");
    }
    said(&process);
}

fn commands_find_the_app_in_the_database(database: &Database) {
    let (output, said) = refused(&["config", "check"], &database.url());
    assert!(output.status.success() && said.contains("Apps in the database: none."), "{said}");
    assert!(said.contains("(set, not shown)"), "{said}");
    if let Database::Sqlite(folder) = database {
        assert!(!folder.path().join("apps.db").exists(), "a check writes nothing");
    }
    let process = database.start();
    database.insert(TWO, "{}");
    eventually("app two is let in", || lets_in(&process, "two").is_ok());
    let output = Command::new(env!("CARGO_BIN_EXE_clarim"))
        .args(["stats", "--json"])
        .current_dir(process.directory.path())
        .env_clear()
        .env("CLARIM_APPS_DATABASE_URL", database.url())
        .env("CLARIM_SERVER_PORT", process.port.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (output, said) = refused(&["config", "check"], &database.url());
    assert!(output.status.success() && said.contains("Apps in the database: 2."), "{said}");
}

#[test]
fn an_unreachable_database_changes_nothing_and_is_logged_once() {
    let mut server = Postgres::start();
    let way = Proxy::to(server.port());
    let database =
        server.database("apps").replace(&server.port().to_string(), &way.port.to_string());
    let insert = |server: &Postgres, id: &str, key: &str| {
        server.run(
            "apps",
            &format!(
                "INSERT INTO clarim_apps (id, key, secret) VALUES ('{id}', '{key}', 's3cret-of-it')"
            ),
        );
    };
    let process = Process::start(
        "unset REVERB_APP_ID REVERB_APP_KEY REVERB_APP_SECRET;",
        "",
        &[("CLARIM_APPS_DATABASE_URL", &database), ("CLARIM_LOG_LEVEL", "debug")],
    );
    insert(&server, "2", "two");
    eventually("app two is let in", || lets_in(&process, "two").is_ok());
    let mut two = process.subscribe_as("two", "news");
    let app = ("2", "two", "s3cret-of-it");
    let away = "the database of apps cannot be read";
    let back = "the database of apps is reachable again";

    server.stop();
    process.logs(away);
    process.signal(Signal::HUP);
    std::thread::sleep(Duration::from_secs(5));
    assert!(process.publish_as(app, "news", "without-it").starts_with("HTTP/1.1 200"));
    two.read_until("without-it");
    assert!(lets_in(&process, "two").is_ok());
    assert_eq!((times(&said(&process), away), times(&said(&process), back)), (1, 0));

    server.restart();
    process.logs(back);
    insert(&server, "3", "three");
    eventually("app three is let in", || lets_in(&process, "three").is_ok());
    assert_eq!((times(&said(&process), away), times(&said(&process), back)), (1, 1));

    // A database that does not answer delays neither connections nor changes of the files.
    way.hold();
    eventually("it is logged again", || times(&said(&process), away) == 2);
    assert!(process.publish_as(app, "news", "it-is-silent").starts_with("HTTP/1.1 200"));
    two.read_until("it-is-silent");
    let file = "[[apps]]\nid = \"8\"\nkey = \"eight\"\nsecret = \"s3cret-of-eight\"\n";
    std::fs::write(process.directory.path().join("clarim.toml"), file).unwrap();
    process.signal(Signal::HUP);
    let begun = Instant::now();
    eventually("app eight is let in", || lets_in(&process, "eight").is_ok());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    way.mend();
    eventually("it is logged again", || times(&said(&process), back) == 2);
    insert(&server, "4", "four");
    eventually("app four is let in", || lets_in(&process, "four").is_ok());
}

#[test]
fn a_lost_session_is_not_logged() {
    let server = Postgres::start();
    let database = server.database("apps");
    let process = Process::start("", "", &[("CLARIM_APPS_DATABASE_URL", &database)]);
    for id in ["5", "6"] {
        server.run(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'apps'",
        );
        let row =
            format!("INSERT INTO clarim_apps (id, key, secret) VALUES ('{id}', 'k{id}', 's')");
        server.run("apps", &row);
        eventually("it is let in", || lets_in(&process, &format!("k{id}")).is_ok());
    }
    assert_eq!(times(&said(&process), "WARN"), 0, "{}", said(&process));
}

#[test]
fn read_access_is_sufficient_and_the_table_may_be_a_view() {
    let server = Postgres::start();
    let database = server.database("apps");
    for statement in [
        "CREATE TABLE tenants (number BIGINT PRIMARY KEY, name VARCHAR(20), hidden TEXT, limits JSONB, state INT)",
        r#"INSERT INTO tenants VALUES (2, 'two', 's3cret-of-two', '{"max_event_size": 10}', 1), (3, 'three', 's', '{}', 0)"#,
        "CREATE VIEW clarim_apps AS SELECT number AS id, name AS key, hidden AS secret, limits AS settings, \
         state = 1 AS enabled FROM tenants",
        "CREATE USER reader PASSWORD 's3cret-of-reader'",
        "GRANT SELECT ON clarim_apps TO reader",
    ] {
        server.run("apps", statement);
    }
    let url = database.replace(&format!("test:{}", Postgres::PASSWORD), "reader:s3cret-of-reader");
    let process = Process::start("", "", &[("CLARIM_APPS_DATABASE_URL", &url)]);
    assert!(process.publish_as(TWO, "news", "much longer than that").starts_with("HTTP/1.1 413"));
    assert_eq!(lets_in(&process, "three").err(), Some(4001));
    server.run("apps", "UPDATE tenants SET state = 1");
    eventually("app three is let in", || lets_in(&process, "three").is_ok());
    // Without read access the start is refused.
    server.run("apps", "REVOKE SELECT ON clarim_apps FROM reader");
    let (output, said) = refused(&["start"], &url);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("permission denied") && said.contains("may read the table"), "{said}");
}

#[test]
fn a_start_without_its_database_is_refused_with_cause_and_remedy() {
    let begun = Instant::now();
    let closed = format!("postgres://ana:hush@127.0.0.1:{}/apps", free_port());
    let (output, said) = refused(&["start"], &closed);
    assert_eq!(output.status.code(), Some(1));
    for part in
        ["CLARIM_APPS_DATABASE_URL", "postgres://127.0.0.1:", "refused", "check that it is running"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    let folder = TempDir::new().unwrap();
    let nowhere = format!("sqlite:{}/no/such/apps.db", folder.path().display());
    let (_, said) = refused(&["start"], &nowhere);
    assert!(said.contains("No such file") && said.contains("its directory must exist"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(10));

    // The start waits for a database that does not answer, but not for long.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let begun = Instant::now();
    let port = silent.local_addr().unwrap().port();
    let (output, said) = refused(&["start"], &format!("postgres://ana:hush@127.0.0.1:{port}/apps"));
    assert!(said.contains("no answer within 10s"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(13), "{:?}", begun.elapsed());

    let server = Postgres::start();
    let wrong = server.url("postgres").replace(Postgres::PASSWORD, "hush");
    let (_, said) = refused(&["start"], &wrong);
    assert!(said.contains("password authentication failed"), "{said}");
    for url in ["postgres://ana:hu@sh@db/apps", "mysql://ana:hush@db/apps"] {
        let (output, said) = refused(&["config", "check"], url);
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains("%40") || said.contains("expected sqlite:FILE"), "{said}");
    }
}

#[test]
fn a_database_file_is_private_and_may_be_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let database = Database::sqlite();
    let process = database.start();
    let Database::Sqlite(folder) = &database else { unreachable!() };
    let [file, new] = ["apps.db", "new.db"].map(|name| folder.path().join(name));
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    database.insert(TWO, "{}");
    eventually("app two is let in", || lets_in(&process, "two").is_ok());
    // A backup is restored: another file replaces it.
    std::fs::copy(&file, &new).unwrap();
    sqlite(&new, "INSERT INTO clarim_apps (id, key, secret) VALUES ('3', 'three', 's')");
    std::fs::rename(&new, &file).unwrap();
    eventually("app three is let in", || lets_in(&process, "three").is_ok());
    // Without the file all apps stay, and no empty file is created.
    std::fs::remove_file(&file).unwrap();
    process.logs("the database of apps cannot be read");
    assert!(lets_in(&process, "two").is_ok() && !file.exists());
}

#[test]
fn postgres_is_used_with_tls() {
    let certificate = Certificate::new();
    let server = Postgres::with_tls(&certificate);
    let url = format!("{}?sslmode=verify-full", server.database("apps"));
    // Its issuer is not trusted by this machine.
    let (_, said) = refused(&["start"], &url);
    assert!(said.contains("certificate"), "{said}");
    let url = format!("{url}&sslrootcert={}", certificate.file);
    let process = Process::start("", "", &[("CLARIM_APPS_DATABASE_URL", &url)]);
    server.run("apps", "INSERT INTO clarim_apps (id, key, secret) VALUES ('2', 'two', 's')");
    eventually("app two is let in", || lets_in(&process, "two").is_ok());
}

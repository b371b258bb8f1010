//! An empty store for each test: SQLite in a file, PostgreSQL and Redis on servers that the test process
//! starts once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};

use clarim::{QueueConnection, Settings};
use clarim_testing::{Postgres, Program, redis_with};
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    Redis,
}

/// A store of one test.
pub(crate) struct Store {
    kind: Kind,
    url: String,
    _files: TempDir,
}

impl Store {
    pub(crate) fn new(kind: Kind) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static POSTGRES: OnceLock<&Postgres> = OnceLock::new();
        static REDIS: OnceLock<&Program> = OnceLock::new();
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let files = tempfile::tempdir().unwrap();
        let url = match kind {
            Kind::Sqlite => format!("sqlite:{}", files.path().join("queue.sqlite").display()),
            Kind::Postgres => {
                let server = POSTGRES.get_or_init(|| start(Postgres::start));
                server.database(&format!("queue{number}"))
            }
            Kind::Redis => {
                let server = REDIS.get_or_init(|| start(|| redis_with(&["--databases", "10000"])));
                format!("redis://127.0.0.1:{}/{number}", server.port)
            }
        };
        Self { kind, url, _files: files }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The environment variables of an application that uses the store.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        let (name, variable) = match self.kind {
            Kind::Sqlite => ("sqlite", "DATABASE_URL"),
            Kind::Postgres => ("postgres", "DATABASE_URL"),
            Kind::Redis => ("redis", "REDIS_URL"),
        };
        [("QUEUE_CONNECTION", name.to_owned()), (variable, self.url.clone())]
    }

    pub(crate) fn connection(&self) -> QueueConnection {
        let variables = self.variables();
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        };
        Settings::from_variables(find).unwrap().queue
    }
}

/// Starts a server for all tests of this process. It ends with the thread that started it.
fn start<T: Send + Sync + 'static>(server: impl FnOnce() -> T + Send + 'static) -> &'static T {
    let (sender, started) = mpsc::channel();
    std::thread::spawn(move || {
        let server: &'static T = Box::leak(Box::new(server()));
        sender.send(server).unwrap();
        loop {
            std::thread::park();
        }
    });
    started.recv().unwrap()
}

/// Runs each of these tests with each store, or with each SQL database. Those with PostgreSQL are one test,
/// since its server is slow to start.
macro_rules! with_each_store {
    (sql: $($name:ident),* $(,)?) => {
        crate::queue::stores::with_each_store!(@ sqlite Sqlite: $($name)*);
        crate::queue::stores::with_each_store!(@ postgres: $($name)*);
    };
    ($($name:ident),* $(,)?) => {
        crate::queue::stores::with_each_store!(@ sqlite Sqlite: $($name)*);
        crate::queue::stores::with_each_store!(@ redis Redis: $($name)*);
        crate::queue::stores::with_each_store!(@ postgres: $($name)*);
    };
    (@ postgres: $($name:ident)*) => {
        #[tokio::test]
        async fn postgres() {
            use crate::queue::stores::{Kind, Store};
            use crate::support::TIMEOUT;

            $(
                println!("{}", stringify!($name));
                let test = $name(Store::new(Kind::Postgres));
                tokio::time::timeout(TIMEOUT * 2, test).await.expect("in time");
            )*
        }
    };
    (@ $module:ident $kind:ident: $($name:ident)*) => {
        mod $module {
            use crate::queue::stores::{Kind, Store};
            use crate::support::TIMEOUT;

            $(
                #[tokio::test]
                async fn $name() {
                    let store = Store::new(Kind::$kind);
                    tokio::time::timeout(TIMEOUT * 2, super::$name(store)).await.expect("in time");
                }
            )*
        }
    };
}

pub(crate) use with_each_store;

//! An empty store for each test: SQLite in a file, PostgreSQL and Redis on servers that the test process
//! starts once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use clarim_queue::testing::TestStore;
use clarim_queue::{RedisStorage, SqlStorage, Storage};
use clarim_testing::{Postgres, Program, redis_with};
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    Redis,
}

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
}

impl Store {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl TestStore for Store {
    fn connect(&self) -> Arc<dyn Storage> {
        match self.kind {
            Kind::Sqlite => Arc::new(SqlStorage::sqlite(&self.url)),
            Kind::Postgres => Arc::new(SqlStorage::postgres(&self.url)),
            Kind::Redis => Arc::new(RedisStorage::new(&self.url)),
        }
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

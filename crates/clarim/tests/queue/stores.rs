//! A real store for each test: SQLite in a file, PostgreSQL and Redis started here once, on free ports.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use clarim::{QueueConnection, Settings};
use clarim_testing::{Postgres, free_port};
use tempfile::TempDir;

/// Far more than anything here takes, even on a machine that is busy with something else.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    Redis,
}

/// A store that nobody else has, and how an application is told of it.
pub(crate) struct Store {
    kind: Kind,
    url: String,
    _files: TempDir,
}

impl Store {
    pub(crate) fn new(kind: Kind) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let files = tempfile::tempdir().unwrap();
        let url = match kind {
            Kind::Sqlite => format!("sqlite:{}", files.path().join("queue.sqlite").display()),
            Kind::Postgres => postgres_database(number),
            // Redis has as many databases as it was started with.
            Kind::Redis => format!("redis://127.0.0.1:{}/{number}", redis()),
        };
        Self { kind, url, _files: files }
    }

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

/// Runs for as long as this process: the kernel ends it with the thread that has started it.
fn start(mut command: Command, port: u16) {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    std::thread::spawn(move || {
        let status = command.status().unwrap();
        panic!("{command:?} has ended: {status}");
    });
    let until = Instant::now() + TIMEOUT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < until, "nobody listens on {port}");
        std::thread::yield_now();
    }
}

fn postgres_database(number: u32) -> String {
    static SERVER: OnceLock<&Postgres> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let (tell, told) = mpsc::channel();
        // One server for all tests: it ends with the thread that has started it.
        std::thread::spawn(move || {
            tell.send(&*Box::leak(Box::new(Postgres::start()))).unwrap();
            loop {
                std::thread::park();
            }
        });
        told.recv().unwrap()
    });
    server.database(&format!("queue{number}"))
}

fn redis() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let port = free_port();
        let mut server = Command::new("setpriv");
        server.args(["--pdeathsig", "KILL", "redis-server", "--port", &port.to_string()]);
        server.args(["--bind", "127.0.0.1", "--save", "", "--databases", "10000"]);
        start(server, port);
        port
    })
}

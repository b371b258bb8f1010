//! A real store for each test: SQLite in a file, PostgreSQL and Redis started here once, on free ports.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use clarim::{QueueConnection, Settings};
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

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
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

/// The command, run as the user `postgres` where this process is root's, since PostgreSQL refuses that.
fn as_postgres(program: &Path, signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]);
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.arg(program);
    command
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Debian keeps the programs of PostgreSQL out of the path.
fn postgres_program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found =
        versions.map(|version| version.path().join("bin").join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| name.into())
}

/// Where the user `postgres` may go. Those of processes that have ended are cleared away.
fn postgres_folder() -> PathBuf {
    let (place, name) = (std::env::temp_dir(), "clarim-test-postgres-");
    for entry in fs::read_dir(&place).unwrap().flatten() {
        let file = entry.file_name();
        let process = file.to_str().and_then(|file| file.strip_prefix(name));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    place.join(format!("{name}{}", std::process::id()))
}

fn postgres() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(|| {
        let folder = postgres_folder();
        fs::create_dir(&folder).unwrap();
        if is_root() {
            let user = Command::new("id").args(["-u", "postgres"]).output().unwrap();
            let id = String::from_utf8(user.stdout).unwrap().trim().parse().unwrap();
            chown(&folder, Some(id), None).unwrap();
        }
        let mut init = as_postgres(&postgres_program("initdb"), "KILL");
        init.args(["--no-sync", "--auth=trust", "--username=test", "--encoding=UTF8", "-D"]);
        let made = init.arg(&folder).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let mut server = as_postgres(&postgres_program("postgres"), "INT");
        server.arg("-D").arg(&folder).args(["-p", &port.to_string()]);
        for option in ["fsync=off", "listen_addresses=127.0.0.1", "unix_socket_directories="] {
            server.args(["-c", option]);
        }
        start(server, port);
        port
    })
}

fn postgres_database(number: u32) -> String {
    let url = |name: &str| format!("postgres://test@127.0.0.1:{}/{name}", postgres());
    let name = format!("queue{number}");
    let create = format!("CREATE DATABASE {name}");
    let until = Instant::now() + TIMEOUT;
    loop {
        let psql = ["-q", "-c", &create, &url("postgres")];
        let made = Command::new("psql").args(psql).output().unwrap();
        if made.status.success() {
            return url(&name);
        }
        // It listens before it lets anybody in.
        let error = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(error.contains("starting up") && Instant::now() < until, "{error}");
    }
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

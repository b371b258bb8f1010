//! A PostgreSQL server with databases of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Certificate, Program, free_port, wait_until};

/// A PostgreSQL server whose user `test` has a password. The server ends, and its files are deleted, when
/// this value is dropped. The server also ends with the thread that started it.
#[derive(Debug)]
pub struct Postgres {
    program: Program,
    folder: PathBuf,
}

impl Postgres {
    /// The password of the user `test`.
    pub const PASSWORD: &'static str = "s3cret-of-postgres";

    /// Starts a server and waits until it accepts clients.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a server that accepts TLS too, with this certificate.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn with_tls(certificate: &Certificate) -> Self {
        Self::start_with(Some(certificate))
    }

    fn start_with(certificate: Option<&Certificate>) -> Self {
        let folder = folder();
        let data = folder.join("data");
        fs::create_dir(&folder).unwrap();
        give_to_postgres(&folder);
        copy(&template(), &data);
        let port = free_port();
        let mut arguments = as_postgres(&program("postgres"));
        let data = data.to_string_lossy().into_owned();
        arguments.extend(["-D".to_owned(), data, "-p".to_owned(), port.to_string()]);
        for option in ["fsync=off", "listen_addresses=127.0.0.1", "unix_socket_directories="] {
            arguments.extend(["-c".to_owned(), option.to_owned()]);
        }
        if let Some(certificate) = certificate {
            arguments.extend(["-c", "ssl=on"].map(str::to_owned));
            for (name, from) in [("cert", &certificate.file), ("key", &certificate.key)] {
                // PostgreSQL refuses a key that another user owns.
                let own = folder.join(name);
                fs::copy(from, &own).unwrap();
                fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).unwrap();
                give_to_postgres(&own);
                arguments.extend(["-c".to_owned(), format!("ssl_{name}_file={}", own.display())]);
            }
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = Self { program: Program::start("setpriv", &arguments, port), folder };
        server.wait();
        server
    }

    /// The address of a database, with user and password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password = Self::PASSWORD;
        let port = self.port();
        format!("postgres://test:{password}@127.0.0.1:{port}/{database}")
    }

    /// Creates an empty database and returns its address.
    ///
    /// # Panics
    /// If it can't be created.
    #[must_use]
    pub fn database(&self, name: &str) -> String {
        self.run("postgres", &format!("CREATE DATABASE {name}"));
        self.url(name)
    }

    /// Runs a statement.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, database: &str, statement: &str) {
        let ran = self.psql(database, statement);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.program.port
    }

    /// Stops the server. Its data stays.
    pub fn stop(&mut self) {
        self.program.interrupt();
    }

    /// Starts the server again after [`stop`](Self::stop), at the same address.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.program.restart();
        self.wait();
    }

    fn psql(&self, database: &str, statement: &str) -> std::process::Output {
        Command::new("psql").args(["-q", "-c", statement, &self.url(database)]).output().unwrap()
    }

    /// Waits until the server accepts clients, which is later than it listens.
    fn wait(&self) {
        let is_open = || self.psql("postgres", "SELECT 1").status.success();
        wait_until("PostgreSQL accepts clients", 30, is_open);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its processes would otherwise write into the folder for a moment more.
        self.program.interrupt();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Arguments of `setpriv`, which ends the program with the thread that starts it. If this process runs as
/// root, which PostgreSQL refuses, it runs the program as the user `postgres`.
fn as_postgres(program: &Path) -> Vec<String> {
    let mut arguments = vec!["--pdeathsig", "INT"];
    if is_root() {
        arguments.extend(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    let program = program.to_string_lossy().into_owned();
    arguments.into_iter().map(str::to_owned).chain([program]).collect()
}

/// Makes the user `postgres` the owner if the server runs as that user.
fn give_to_postgres(path: &Path) {
    if is_root() {
        let user = Command::new("id").args(["-u", "postgres"]).output().unwrap();
        let id = String::from_utf8(user.stdout).unwrap().trim().parse().unwrap();
        chown(path, Some(id), None).unwrap();
    }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// The path of a program of PostgreSQL. On Debian these are not in `PATH`.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found =
        versions.map(|version| version.path().join("bin").join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| name.into())
}

/// A new path for the files of a server, accessible to the user `postgres`. Deletes folders of processes that
/// have ended.
fn folder() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let place = std::env::temp_dir();
    let name = "clarim-test-postgres-";
    for entry in fs::read_dir(&place).unwrap().flatten() {
        let file = entry.file_name();
        let rest = file.to_str().and_then(|file| file.strip_prefix(name));
        let process = rest.and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    place.join(format!("{name}{}-{number}", std::process::id()))
}

/// The files of an empty server. They are created once and kept, since this takes longer than most tests.
fn template() -> PathBuf {
    let initdb = program("initdb");
    let user = rustix::process::getuid().as_raw();
    let version = initdb.to_string_lossy().replace('/', "-");
    let kept = std::env::temp_dir().join(format!("clarim-testing{version}-of-{user}"));
    if kept.exists() {
        return kept;
    }
    let folder = folder();
    let data = folder.join("data");
    let password = folder.join("password");
    fs::create_dir(&folder).unwrap();
    fs::write(&password, Postgres::PASSWORD).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    give_to_postgres(&folder);
    let made = Command::new("setpriv")
        .args(as_postgres(&initdb))
        .args(["--no-sync", "--auth=password", "--username=test", "--encoding=UTF8"])
        .arg(format!("--pwfile={}", password.display()))
        .arg("-D")
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // Another test may have created it in the meantime.
    let _ = fs::rename(&data, &kept);
    fs::remove_dir_all(&folder).unwrap();
    kept
}

/// Copies a folder with its owner and permissions, which PostgreSQL checks.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success(), "cannot copy {}", from.display());
}

//! A PostgreSQL server of its own for a test: Debian's, on a free port, in a temporary folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::TIMEOUT;

/// A server that runs, stopped at the end of the test.
pub(crate) struct Postgres {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("clarim-pg").tempdir().unwrap();
        // Another user has to get into it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let data = folder.path().join("data");
        let made = command("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D"])
            .arg(&data)
            .output()
            .expect("initdb, of Debian's package postgresql");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut server = command("postgres");
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        server.args(["-c", "unix_socket_directories=", "-p", &port.to_string(), "-D"]).arg(&data);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = server.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let server = Self { child, port, _folder: folder };
        server.wait();
        server
    }

    /// Of a database that is there and empty.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Until it lets clients in, and not only listens.
    fn wait(&self) {
        let end = Instant::now() + TIMEOUT;
        let port = self.port.to_string();
        loop {
            let args = ["-q", "-h", "127.0.0.1", "-p", &port];
            let ready = Command::new(program("pg_isready")).args(args).status().unwrap();
            if ready.success() {
                return;
            }
            let log = fs::read_to_string(self._folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "PostgreSQL does not start:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT ends it and its processes at once, and it has nothing that is to be kept.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let _ = self.child.wait();
    }
}

/// One of its programs; root is refused by them, and runs them as the user that Debian has made for them.
/// The server ends with the test, whatever happens to that.
fn command(name: &str) -> Command {
    let id = Command::new("id").arg("-u").output().unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if id.stdout.trim_ascii() == b"0" {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg("--").arg(program(name)).current_dir("/");
    command
}

/// Debian does not have them on the path, but in a folder for each version.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin").join(name));
    let newest = programs.filter(|path| path.exists()).max();
    newest.unwrap_or_else(|| Path::new(name).to_owned())
}

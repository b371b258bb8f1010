//! A server, the doctor, and nginx between them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use clarim_testing::{Program, free_port, wait_until};
use tempfile::TempDir;

pub(crate) const APP: [(&str, &str); 3] =
    [("REVERB_APP_ID", "1"), ("REVERB_APP_KEY", "key"), ("REVERB_APP_SECRET", "s3cret-of-the-app")];

/// Flags for servers of other directories.
pub(crate) const AS_APP: [&str; 6] =
    ["--app-id", "1", "--key", "key", "--secret", "s3cret-of-the-app"];

/// A running server.
pub(crate) struct Server {
    child: Child,
    _directory: TempDir,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        Self::start_by(&[env!("CARGO_BIN_EXE_clarim")], environment)
    }

    /// Starts it with another command, which gets the server's command line as arguments.
    pub(crate) fn start_by(command: &[&str], environment: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let port = free_port();
        let child = Command::new(command[0])
            .args(&command[1..])
            .args(["start", "--host", "127.0.0.1", "--port", &port.to_string()])
            .current_dir(directory.path())
            .env_clear()
            .envs(APP)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait_until("the server listens", 20, listens);
        Self { child, _directory: directory, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits until the server's node has found its bus.
    pub(crate) fn wait_for_bus(&self) {
        wait_until("the node is on the bus", 20, || {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
            let mut answer = String::new();
            stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n").is_ok()
                && stream.read_to_string(&mut answer).is_ok()
                && answer.contains(" 200 ")
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output of the doctor.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    pub(crate) is_ok: bool,
    pub(crate) text: String,
}

impl Diagnosis {
    /// Asserts that there is a problem, with these words in its cause and remedy.
    #[track_caller]
    pub(crate) fn has(&self, words: &[&str]) {
        assert!(!self.is_ok && self.text.contains("PROBLEM"), "{}", self.text);
        self.mentions(words);
    }

    #[track_caller]
    pub(crate) fn mentions(&self, words: &[&str]) {
        for word in words {
            assert!(self.text.contains(word), "no {word:?} in:\n{}", self.text);
        }
    }

    #[track_caller]
    pub(crate) fn is_without_problems(&self) {
        assert!(self.is_ok && self.text.contains("No problem found."), "{}", self.text);
    }
}

/// Runs the doctor in a directory without settings.
pub(crate) fn doctor(arguments: &[&str], environment: &[(&str, &str)]) -> Diagnosis {
    doctor_by(&[env!("CARGO_BIN_EXE_clarim")], arguments, environment)
}

/// Runs it with another command, which gets the doctor's command line as arguments.
pub(crate) fn doctor_by(
    command: &[&str],
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Diagnosis {
    let directory = TempDir::new().unwrap();
    let output = Command::new(command[0])
        .args(&command[1..])
        .arg("doctor")
        .args(arguments)
        .current_dir(directory.path())
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap()
    );
    Diagnosis { is_ok: output.status.success(), text }
}

/// Runs it for a URL, with the credentials of the app.
pub(crate) fn doctor_at(url: &str, more: &[&str]) -> Diagnosis {
    doctor(&[&[url], &AS_APP[..], more].concat(), &[])
}

/// nginx with a `server` block, and lines next to it.
pub(crate) struct Nginx {
    _program: Program,
    _directory: TempDir,
    pub(crate) port: u16,
}

impl Nginx {
    pub(crate) fn start(server: &str, beside: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let port = free_port();
        let listen = if server.contains("ssl_certificate") { " ssl" } else { "" };
        Self::listening(
            &format!("listen 127.0.0.1:{port}{listen}; {server}"),
            beside,
            directory,
            port,
        )
    }

    fn listening(server: &str, beside: &str, directory: TempDir, port: u16) -> Self {
        let path = |name: &str| directory.path().join(name).display().to_string();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {};", path(name)))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {}; error_log stderr; events {{ }}
             http {{ access_log off; {temporary} {beside} server {{ {server} }} }}",
            path("pid"),
        );
        std::fs::write(path("nginx.conf"), config).unwrap();
        let arguments = ["-e", "stderr", "-p", &path(""), "-c", &path("nginx.conf")];
        Self { _program: Program::start("nginx", &arguments, port), _directory: directory, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// HAProxy in front of a server, with these lines in its defaults and its backend.
pub(crate) struct HaProxy {
    _program: Program,
    _directory: TempDir,
    pub(crate) port: u16,
}

impl HaProxy {
    pub(crate) fn start(server: u16, defaults: &str, backend: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let port = free_port();
        let config = format!(
            "global\n maxconn 100\ndefaults\n mode http\n timeout connect 5s\n {defaults}\n\
             frontend all\n bind 127.0.0.1:{port}\n default_backend clarim\n\
             backend clarim\n {backend}\n server node 127.0.0.1:{server}\n"
        );
        let path = directory.path().join("haproxy.cfg");
        std::fs::write(&path, config).unwrap();
        let program = Program::start("haproxy", &["-db", "-f", &path.display().to_string()], port);
        Self { _program: program, _directory: directory, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// The lines that nginx needs for WebSockets.
pub(crate) const UPGRADE: &str = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
    proxy_set_header Connection \"upgrade\"; proxy_set_header Host $host;";

/// An application that answers every request with `answer`.
pub(crate) fn application(answer: impl Into<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.into();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 4096];
            if stream.read(&mut request).is_ok_and(|read| read > 0) {
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    format!("http://{address}/broadcasting/auth")
}

/// Paths of a certificate and its key; `change` sets the parameters.
pub(crate) fn certificate(
    directory: &Path,
    name: &str,
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> (String, String) {
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    change(&mut params);
    let key = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    let file = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    (file("cert.pem", made.pem()), file("key.pem", key.serialize_pem()))
}

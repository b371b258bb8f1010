//! NATS: servers, alone or together, and users with credentials.

use std::path::Path;

use nkeys::KeyPair;
use tempfile::TempDir;

use crate::{Program, free_port};

/// Starts a NATS server with these arguments, on a free port.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn nats(arguments: &[&str]) -> Program {
    let port = free_port();
    let port_text = port.to_string();
    let all = [&["-a", "127.0.0.1", "-p", &port_text], arguments].concat();
    Program::start("nats-server", &all, port)
}

/// Starts a NATS server with JetStream, which keeps its data in this folder.
///
/// # Panics
/// If it does not start.
#[must_use]
pub fn nats_with_jetstream(folder: &Path, arguments: &[&str]) -> Program {
    nats(&[&["-js", "-sd", &*folder.to_string_lossy()], arguments].concat())
}

/// Starts NATS servers that form a cluster.
///
/// # Panics
/// If they do not start.
#[must_use]
pub fn nats_cluster(servers: usize) -> Vec<Program> {
    let ports: Vec<u16> = (0..servers).map(|_| free_port()).collect();
    let urls: Vec<String> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    let routes = urls.join(",");
    let start =
        |url: &String| nats(&["--cluster_name", "clarim", "--cluster", url, "--routes", &routes]);
    urls.iter().map(start).collect()
}

/// A NATS operator, whose account issues the credentials of users.
#[derive(Debug)]
pub struct Operator {
    account: KeyPair,
    folder: TempDir,
}

impl Operator {
    /// Creates an operator with one account.
    ///
    /// # Panics
    /// If the system provides no random numbers or no temporary folder.
    #[must_use]
    pub fn new() -> Self {
        let operator = KeyPair::new_operator();
        let account = KeyPair::new_account();
        let folder = tempfile::tempdir().unwrap();
        let limits = r#""limits":{"subs":-1,"data":-1,"payload":-1,"conn":-1,"imports":-1,"exports":-1,"wildcards":true}"#;
        let own = token(&operator, &operator.public_key(), r#""type":"operator""#);
        let of_account =
            token(&operator, &account.public_key(), &format!(r#""type":"account",{limits}"#));
        let settings = format!(
            "operator: {own}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account} }}\n",
            account.public_key()
        );
        std::fs::write(folder.path().join("nats.conf"), settings).unwrap();
        Self { account, folder }
    }

    /// Path to the configuration of a server that trusts this operator.
    #[must_use]
    pub fn settings(&self) -> String {
        self.folder.path().join("nats.conf").to_string_lossy().into_owned()
    }

    /// Creates a user. Returns the path to the file with its credentials.
    ///
    /// # Panics
    /// If it can't be written.
    #[must_use]
    pub fn credentials(&self) -> String {
        let user = KeyPair::new_user();
        let limits = r#""subs":-1,"data":-1,"payload":-1"#;
        let jwt = token(&self.account, &user.public_key(), &format!(r#""type":"user",{limits}"#));
        let seed = user.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        let file = self.folder.path().join("user.creds");
        std::fs::write(&file, text).unwrap();
        file.to_string_lossy().into_owned()
    }
}

impl Default for Operator {
    fn default() -> Self {
        Self::new()
    }
}

/// A JWT about `subject`, signed by `issuer`.
fn token(issuer: &KeyPair, subject: &str, claims: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

    let head = BASE64.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let body = BASE64.encode(format!(
        r#"{{"jti":"{subject}","iat":1700000000,"iss":"{}","name":"test","sub":"{subject}","nats":{{{claims},"version":2}}}}"#,
        issuer.public_key()
    ));
    let signed = format!("{head}.{body}");
    let signature = BASE64.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

//! Rejected certificates of Clarim's own TLS and of nginx.

use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::support::{AS_APP, Diagnosis, Nginx, Server, UPGRADE, certificate, doctor};

/// The diagnosis of the server on this port if only these certificates are trusted.
fn trusting(trusted: &str, port: u16) -> Diagnosis {
    let url = format!("https://localhost:{port}");
    doctor(&[&[url.as_str()], &AS_APP[..]].concat(), &[("SSL_CERT_FILE", trusted)])
}

fn with_tls(cert: &str, key: &str) -> Server {
    Server::start(&[("CLARIM_TLS_CERT", cert), ("CLARIM_TLS_KEY", key)])
}

#[test]
fn a_certificate_for_another_name_or_of_another_time() {
    let directory = TempDir::new().unwrap();
    let diagnose = |name: &str, change: fn(&mut CertificateParams)| {
        let (cert, key) = certificate(directory.path(), name, change);
        trusting(&cert, with_tls(&cert, &key).port)
    };
    diagnose("localhost", |_| {}).is_without_problems();
    diagnose("example.com", |_| {})
        .has(&["the certificate is not valid for localhost, but for example.com", "wsHost"]);
    let expired = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    };
    diagnose("localhost", expired).has(&["has expired", "renew"]);
    let early =
        |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(3000, 1, 1);
    diagnose("localhost", early).has(&["not valid yet", "clock"]);
}

#[test]
fn a_self_signed_certificate() {
    let directory = TempDir::new().unwrap();
    let (cert, key) = certificate(directory.path(), "localhost", |_| {});
    let server = with_tls(&cert, &key);
    let url = format!("https://localhost:{}", server.port);
    // With the authorities of this machine.
    let diagnosis = doctor(&[&[url.as_str()], &AS_APP[..]].concat(), &[]);
    diagnosis.has(&["is self-signed", "Let's Encrypt"]);
    assert!(!diagnosis.text.contains("incomplete"), "{}", diagnosis.text);
}

#[test]
fn a_certificate_of_an_authority_as_openssl_creates_it() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let cert = file("own.pem");
    let key = file("own.key");
    let names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-keyout", &key, "-out", &cert, "-days", "2"])
        .args(names)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let server = with_tls(&cert, &key);
    trusting(&cert, server.port).has(&["belongs to an authority (CA:TRUE)", "CA:FALSE"]);
}

/// A root, an intermediate authority, and a certificate for localhost.
struct Authorities {
    directory: TempDir,
    own: String,
    between: String,
    root: String,
    key: String,
}

impl Authorities {
    fn new(root: &str) -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params, KeyPair::generate().unwrap())
        };
        let (root_params, root_key) = authority(root);
        let root = root_params.self_signed(&root_key).unwrap().pem();
        let by_root = Issuer::new(root_params, root_key);
        let (between_params, between_key) = authority("Test Between");
        let between = between_params.signed_by(&between_key, &by_root).unwrap().pem();
        let by_between = Issuer::new(between_params, between_key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let own = params.signed_by(&key, &by_between).unwrap().pem();
        let directory = TempDir::new().unwrap();
        let key = write(directory.path(), "key.pem", &key.serialize_pem());
        Self { directory, own, between, root, key }
    }

    fn file(&self, name: &str, certificates: &[&str]) -> String {
        write(self.directory.path(), name, &certificates.concat())
    }
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_chain_without_the_intermediate_authority() {
    let made = Authorities::new("Test Root");
    let Authorities { own, between, root, key, .. } = &made;
    let cert = made.file("cert.pem", &[own]);
    let fullchain = made.file("fullchain.pem", &[own, between]);
    let root = made.file("root.pem", &[root]);
    let incomplete = [
        "the chain is incomplete: the certificate of \"Test Between\", which issued that of localhost, is missing",
        "fullchain.pem and not cert.pem",
    ];

    let alone = with_tls(&cert, key);
    let whole = with_tls(&fullchain, key);
    trusting(&root, alone.port).has(&incomplete);
    trusting(&root, whole.port).is_without_problems();
    // A complete chain of an unknown authority is another problem,
    let by_others = |name: &str| {
        let others = Authorities::new(name);
        trusting(&others.file("root.pem", &[&others.root]), whole.port)
    };
    let diagnosis = by_others("Another Root");
    diagnosis.has(&["signed by \"Test Root\", which is not a trusted authority", "SSL_CERT_FILE"]);
    assert!(!diagnosis.text.contains("incomplete"), "{}", diagnosis.text);
    // and so is an authority of the same name that was created again.
    by_others("Test Root")
        .has(&["another key than that of the authority in the chain", "recreated"]);

    let server = Server::start(&[]);
    let nginx = |file: &str| {
        let pass =
            format!("location / {{ proxy_pass http://127.0.0.1:{}; {UPGRADE} }}", server.port);
        Nginx::start(&format!("ssl_certificate {file}; ssl_certificate_key {key}; {pass}"), "")
    };
    let alone = nginx(&cert);
    let whole = nginx(&fullchain);
    trusting(&root, alone.port).has(&incomplete);
    trusting(&root, whole.port).is_without_problems();
}

//! Addresses, keys, names, and responses of the application.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use clarim_protocol::auth::AppKey;
use clarim_testing::free_port;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::support::{APP, AS_APP, Server, application, certificate, doctor, doctor_at, doctor_by};

#[test]
fn a_server_without_problems() {
    let server = Server::start(&[]);
    let diagnosis =
        doctor_at(&server.url(), &["--origin", "https://app.example.com", "--idle", "1"]);
    diagnosis.is_without_problems();
    diagnosis.mentions(&["an event reaches 6 connections", "stays open for at least 1 s"]);
    // With the settings only.
    let port = server.port.to_string();
    let settings = [&APP[..], &[("REVERB_SERVER_PORT", &port)]].concat();
    let diagnosis = doctor(&[], &settings);
    diagnosis.is_without_problems();
    assert!(!diagnosis.text.contains("s3cret"), "{}", diagnosis.text);
}

#[test]
fn an_unreachable_address() {
    let closed = format!("http://127.0.0.1:{}", free_port());
    doctor_at(&closed, &[]).has(&["nothing is listening on", "clarim start", "wsPort"]);
    doctor_at("http://nowhere.invalid", &[])
        .has(&["the host nowhere.invalid cannot be resolved", "wsHost"]);
    doctor_at("nonsense", &[]).mentions(&["is not the URL of a server"]);
}

#[test]
fn an_address_behind_a_firewall() {
    // A connection to a full queue gets no answer, as behind a firewall.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    socket.bind(&address.into()).unwrap();
    socket.listen(0).unwrap();
    let mut waiting = Vec::new();
    while let Ok(one) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(one);
        assert!(waiting.len() < 100, "the queue has no end");
    }
    doctor_at(&format!("http://{address}"), &[]).has(&["does not respond", "firewalls"]);
}

#[test]
fn a_server_that_does_not_respond() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    doctor_at(&url, &[])
        .has(&["accepts connections but does not respond", "what the proxy there is waiting for"]);
}

#[test]
fn an_app_that_is_full() {
    let server = Server::start(&[("REVERB_APP_MAX_CONNECTIONS", "1")]);
    let mut only = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let asks = "GET /app/key?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    only.write_all(asks.as_bytes()).unwrap();
    let mut heard = String::new();
    while !heard.contains("pusher:connection_established") {
        let mut some = [0; 1024];
        let read = only.read(&mut some).unwrap();
        assert_ne!(read, 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    doctor_at(&server.url(), &[]).has(&[
        "4004: the app has reached its maximum number of connections",
        "raise APP_MAX_CONNECTIONS",
    ]);
}

#[test]
fn a_wrong_path() {
    let server = Server::start(&[("REVERB_SERVER_PATH", "/ws")]);
    doctor_at(&server.url(), &[]).has(&["the server is there, but not at", "wsPath"]);
    doctor_at(&format!("{}/ws", server.url()), &[]).is_without_problems();
    let server = Server::start(&[]);
    let url = format!("{}/ws", server.url());
    doctor_at(&url, &[]).has(&["not at /ws but at /", "REVERB_SERVER_PATH=/ws"]);
}

#[test]
fn wrong_keys() {
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let with = |name: &'static str, value: &'static str| {
        let settings = [&[(name, value)], &APP[..], &[("REVERB_SERVER_PORT", &*port)]].concat();
        let mut seen = std::collections::HashSet::new();
        let settings: Vec<_> =
            settings.into_iter().filter(|(name, _)| seen.insert(*name)).collect();
        doctor(&[], &settings)
    };
    with("REVERB_APP_KEY", "other").has(&["4001: no app of this server has the key other"]);
    with("REVERB_APP_ID", "7").has(&["No matching application for ID [7]", "REVERB_APP_ID"]);
    with("REVERB_APP_SECRET", "another").has(&["the signature is wrong", "REVERB_APP_SECRET"]);
    // The settings contain the keys.
    let settings = [&APP[..], &[("REVERB_SERVER_PORT", &*port)]].concat();
    let wrong = [server.url(), "--key".to_owned(), "typo".to_owned()];
    doctor(&wrong.each_ref().map(String::as_str), &settings)
        .has(&["no app of this server has the key typo; its keys are key", "VITE_REVERB_APP_KEY"]);
}

#[test]
fn each_flag_replaces_one_setting() {
    let server = Server::start(&[]);
    let url = server.url();
    let secret = APP[2].1;
    let settings = [APP[0], APP[1], ("REVERB_APP_SECRET", "another")];
    doctor(&[&url], &settings).has(&["the signature is wrong"]);
    doctor(&[&url, "--secret", secret], &settings).is_without_problems();
    doctor(&[&url, "--secret", "wrong"], &APP).has(&["the signature is wrong"]);
    // An app that the settings do not have has to be given whole.
    let settings = [("REVERB_APP_ID", "7"), ("REVERB_APP_KEY", "k7"), ("REVERB_APP_SECRET", "s7")];
    let part = doctor(&[&url, "--app-id", "1", "--key", "key"], &settings);
    assert!(!part.is_ok, "{}", part.text);
    part.mentions(&["1", "key"]);
    let whole = [&[&*url], &AS_APP[..]].concat();
    doctor(&whole, &settings).is_without_problems();
}

#[test]
fn a_wrong_clock() {
    let server = Server::start(&[]);
    let url = server.url();
    let arguments = [&[url.as_str()], &AS_APP[..]].concat();
    let at = |shift: &str| {
        let clock = ["faketime", "-f", shift, env!("CARGO_BIN_EXE_clarim")];
        doctor_by(&clock, &arguments, &[])
    };
    at("-2h").has(&["s behind the server's", "NTP"]);
    at("+2h").has(&["s ahead of the server's", "NTP"]);
}

#[test]
fn an_origin_that_may_not_connect() {
    let server = Server::start(&[("REVERB_APP_ALLOWED_ORIGINS", "app.example.com")]);
    let at = |origin| doctor_at(&server.url(), &["--origin", origin]);
    at("https://other.example.com")
        .has(&["4009: pages of https://other.example.com may not connect", "ALLOWED_ORIGINS"]);
    at("https://app.example.com").is_without_problems();
}

#[test]
fn names_that_echo_changes() {
    let server = Server::start(&[]);
    let names = |event, listen| doctor_at(&server.url(), &["--event", event, "--listen", listen]);
    names("order.shipped", "order.shipped")
        .has(&["receives App\\Events\\order\\shipped", "'.order.shipped'"]);
    names("App\\Events\\OrderShipped", "OrderShipped").is_without_problems();
}

#[test]
fn tls_on_one_side_only() {
    let server = Server::start(&[]);
    let url = server.url().replace("http:", "wss:");
    doctor_at(&url, &[]).has(&["this port does not use TLS", "forceTLS: false"]);
    let directory = TempDir::new().unwrap();
    let (cert, key) = certificate(directory.path(), "localhost", |_| {});
    let server = Server::start(&[("CLARIM_TLS_CERT", &cert), ("CLARIM_TLS_KEY", &key)]);
    doctor_at(&server.url(), &[]).has(&["it probably expects TLS", "forceTLS: true"]);
}

#[test]
fn an_application_that_does_not_authorize() {
    let server = Server::start(&[]);
    let ask = |answer: &str, more: &[&str]| {
        let endpoint = application(answer);
        doctor_at(&server.url(), &[&["--auth", &endpoint], more].concat())
    };
    let with = |status: &str, headers: &str, body: &str| {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    };
    for (status, words) in [
        (
            "403 Forbidden",
            ["403: this user may not subscribe to private-clarim-doctor", "channels.php"],
        ),
        ("419 Page Expired", ["419: the CSRF token", "csrf-token"]),
        ("401 Unauthorized", ["401: the user is not logged in", "cookie"]),
        ("404 Not Found", ["404: the route does not exist", "authEndpoint"]),
        ("500 Oh", ["it answered 500", "log"]),
    ] {
        ask(&with(status, "", ""), &[]).has(&words);
    }
    ask(&with("302 Found", "location: /login\r\n", ""), &[])
        .has(&["it redirects to /login, which may be a login page"]);
    ask(&with("200 OK", "", "<!doctype html>"), &[]).has(&["not JSON: \"<!doctype html>\""]);
    ask(&with("200 OK", "", "{}"), &[]).has(&["has no \"auth\""]);
    let socket = "1234.5678".parse().unwrap();
    let signed = |key: &str, secret: &str, channel: &str| {
        let auth = AppKey::new(key, secret).sign_channel(socket, channel, None);
        with("200 OK", "", &format!("{{\"auth\":\"{auth}\"}}"))
    };
    let channel = "private-clarim-doctor";
    ask(&signed("other", "s3cret-of-the-app", channel), &[]).has(&["another key than key"]);
    ask(&signed("key", "other", channel), &[]).has(&["another secret", "REVERB_APP_SECRET"]);
    ask(&signed("key", "s3cret-of-the-app", channel), &[]).is_without_problems();
    let presence = ["--channel", "presence-room"];
    ask(&signed("key", "s3cret-of-the-app", "presence-room"), &presence).has(&["channel_data"]);
}

#[test]
fn headers_of_the_page_are_sent() {
    let server = Server::start(&[]);
    let endpoint = application("HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let more = ["--auth", &endpoint, "--header", "no header"];
    doctor_at(&server.url(), &more).mentions(&["--header expects 'Name: value'"]);
}

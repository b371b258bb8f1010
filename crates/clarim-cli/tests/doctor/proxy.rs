//! nginx and HAProxy with configurations that do not work.

use std::time::Duration;

use clarim_testing::{Proxy, free_port};
use tempfile::TempDir;

use crate::support::{HaProxy, Nginx, Server, UPGRADE, certificate, doctor_at};

fn to(server: &Server, more: &str) -> String {
    format!("location / {{ proxy_pass http://127.0.0.1:{}; {more} }}", server.port)
}

#[test]
fn nginx_with_a_correct_configuration() {
    let server = Server::start(&[]);
    let nginx = Nginx::start(&to(&server, UPGRADE), "");
    doctor_at(&nginx.url(), &[]).is_without_problems();
}

#[test]
fn the_headers_of_the_upgrade_are_dropped() {
    let server = Server::start(&[]);
    let nginx = Nginx::start(&to(&server, "proxy_http_version 1.1;"), "");
    doctor_at(&nginx.url(), &[])
        .has(&["drops the headers Upgrade and Connection", "proxy_set_header Upgrade"]);
}

#[test]
fn the_proxy_has_no_server() {
    let nginx = Nginx::start(
        &format!("location / {{ proxy_pass http://127.0.0.1:{}; {UPGRADE} }}", free_port()),
        "",
    );
    doctor_at(&nginx.url(), &[]).has(&["nginx", "502", "SERVER_PORT"]);
}

#[test]
fn only_some_paths_are_forwarded() {
    let server = Server::start(&[]);
    let port = server.port;
    let only = |path: &str| {
        let nginx = Nginx::start(
            &format!("location {path} {{ proxy_pass http://127.0.0.1:{port}; {UPGRADE} }}"),
            "",
        );
        doctor_at(&nginx.url(), &[])
    };
    only("/app/").has(&["answered 404 for /apps/", "must match /apps/ too"]);
    only("/apps/").has(&["answered 404 for /app/", "no location for /app/"]);
}

#[test]
fn the_query_string_is_dropped() {
    let server = Server::start(&[]);
    let address = format!("http://127.0.0.1:{}", server.port);
    // A variable in the address replaces the whole URL.
    let site = format!(
        "location / {{ proxy_pass {address}; {UPGRADE} }} location /apps/ {{ proxy_pass {address}$uri; }}"
    );
    doctor_at(&Nginx::start(&site, "").url(), &[])
        .has(&["nginx", "forwards requests without their query string"]);
}

#[test]
fn the_path_is_rewritten() {
    let server = Server::start(&[]);
    let site =
        format!("location /ws/ {{ proxy_pass http://127.0.0.1:{}/; {UPGRADE} }}", server.port);
    let nginx = Nginx::start(&site, "");
    let url = format!("{}/ws", nginx.url());
    doctor_at(&url, &[]).has(&["the path was changed on its way", "proxy_pass"]);
}

#[test]
fn the_body_is_rewritten() {
    let server = Server::start(&[]);
    let site = format!(
        "{} location ~ ^/apps/.*/events {{ proxy_pass http://127.0.0.1:{}; proxy_set_body '{{}}'; }}",
        to(&server, UPGRADE),
        server.port,
    );
    let nginx = Nginx::start(&site, "");
    doctor_at(&nginx.url(), &[]).has(&["the body was changed on its way", "a proxy rewrites it"]);
}

#[test]
fn an_idle_connection_is_cut() {
    let server = Server::start(&[]);
    let more = format!("{UPGRADE} proxy_read_timeout 2s;");
    let nginx = Nginx::start(&to(&server, &more), "");
    let diagnosis = doctor_at(&nginx.url(), &["--idle", "20"]);
    diagnosis.has(&["cuts an idle connection after 2 s", "proxy_read_timeout"]);
}

#[test]
fn haproxy_cuts_an_idle_connection() {
    let server = Server::start(&[]);
    let diagnose = |defaults: &str, idle: &str| {
        let haproxy = HaProxy::start(server.port, defaults, "");
        doctor_at(&haproxy.url(), &["--idle", idle])
    };
    // Without a timeout for tunnels, those of requests apply to WebSockets.
    diagnose("timeout client 2s\n timeout server 30s", "20").has(&[
        "cuts an idle connection after 2 s",
        "idle for up to 30 s",
        "timeout client",
    ]);
    diagnose("timeout client 30s\n timeout server 30s\n timeout tunnel 3s", "20")
        .has(&["cuts an idle connection after 3 s", "timeout tunnel in HAProxy"]);
    let diagnosis = diagnose("timeout client 2s\n timeout server 2s\n timeout tunnel 75s", "4");
    diagnosis.is_without_problems();
    diagnosis.mentions(&["an idle connection stays open for at least 4 s"]);
}

#[test]
fn delays_are_reported() {
    let server = Server::start(&[]);
    let proxy = Proxy::to(server.port);
    proxy.delay(Duration::from_millis(800));
    let diagnosis = doctor_at(&format!("http://127.0.0.1:{}", proxy.port), &[]);
    diagnosis.mentions(&["warning", "an event arrives only after", "buffering"]);
    diagnosis.mentions(&["a page without WebSocket receives a line only after"]);
    assert!(diagnosis.is_ok, "{}", diagnosis.text);
}

#[test]
fn the_proxy_redirects() {
    let nginx = Nginx::start("return 301 https://$host$request_uri;", "");
    doctor_at(&nginx.url(), &[]).has(&["redirects to https://127.0.0.1/up"]);
}

#[test]
fn plain_http_at_the_port_of_tls() {
    let directory = TempDir::new().unwrap();
    let (cert, key) = certificate(directory.path(), "localhost", |_| {});
    let nginx = Nginx::start(&format!("ssl_certificate {cert}; ssl_certificate_key {key};"), "");
    doctor_at(&nginx.url(), &[]).has(&["expects TLS on this port", "forceTLS: true"]);
}

#[test]
fn nodes_without_a_cluster() {
    let nodes = [Server::start(&[]), Server::start(&[])];
    let both: String =
        nodes.iter().map(|node| format!("server 127.0.0.1:{};", node.port)).collect();
    let beside = format!("upstream nodes {{ {both} }}");
    let nginx =
        Nginx::start(&format!("location / {{ proxy_pass http://nodes; {UPGRADE} }}"), &beside);
    doctor_at(&nginx.url(), &[])
        .has(&["only 3 of 6 connections receive an event", "REVERB_SCALING_ENABLED"]);
    let apart = format!(
        "location / {{ proxy_pass http://127.0.0.1:{}; {UPGRADE} }}
         location /apps/ {{ proxy_pass http://127.0.0.1:{}; }}",
        nodes[0].port, nodes[1].port,
    );
    let nginx = Nginx::start(&apart, "");
    doctor_at(&nginx.url(), &[]).has(&["reaches no subscriber", "different servers"]);
}

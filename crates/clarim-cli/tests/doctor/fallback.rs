//! Pages without WebSocket behind real proxies: buffered lines, and requests that reach the wrong node.

use crate::support::{HaProxy, Nginx, Server, UPGRADE, doctor_at};

const CONNECTED: &str = "a page without WebSocket is connected after";

#[test]
fn nginx_buffers_only_if_it_ignores_the_header() {
    let server = Server::start(&[]);
    let diagnose = |lines: &str| {
        let pass = format!("proxy_pass http://127.0.0.1:{};", server.port);
        let site =
            format!("location / {{ {pass} {UPGRADE} }} location /pusher/ {{ {pass} {lines} }}");
        doctor_at(&Nginx::start(&site, "").url(), &[])
    };
    // A header of the response asks nginx not to buffer.
    diagnose("proxy_buffering on;").mentions(&[CONNECTED]);
    let ignore = "proxy_ignore_headers X-Accel-Buffering;";
    let diagnosis = diagnose(&format!("{ignore} proxy_buffering on;"));
    diagnosis.mentions(&[
        "warning",
        "buffers responses until they end",
        "nginx: proxy_buffering off",
    ]);
    // WebSockets are not buffered.
    diagnosis.is_without_problems();
    diagnosis.mentions(&["an event reaches 6 connections"]);
    diagnose(&format!("{ignore} proxy_buffering off;")).mentions(&[CONNECTED]);
    // nginx forwards chunks at once. The server sends chunks with HTTP/1.1 only.
    diagnose(&format!("{ignore} proxy_buffering on; proxy_http_version 1.1;"))
        .mentions(&[CONNECTED]);
}

#[test]
fn haproxy_waits_for_a_complete_response() {
    let server = Server::start(&[]);
    let diagnose = |backend: &str| {
        let timeouts = "timeout client 30s\n timeout server 30s";
        doctor_at(&HaProxy::start(server.port, timeouts, backend).url(), &[])
    };
    let waits = "http-request set-var(txn.path) path\n \
         http-response wait-for-body time 2s at-least 8000 if { var(txn.path) -m beg /pusher/ }";
    // HAProxy gives up after this time.
    diagnose(waits).mentions(&[
        "warning",
        "until they end: a page without WebSocket is answered with 504",
        "no http-response wait-for-body",
    ]);
    diagnose("").mentions(&[CONNECTED]);
}

#[test]
fn pages_without_websocket_are_not_forwarded() {
    let server = Server::start(&[]);
    let site =
        format!("location ~ ^/apps?/ {{ proxy_pass http://127.0.0.1:{}; {UPGRADE} }}", server.port);
    let diagnosis = doctor_at(&Nginx::start(&site, "").url(), &[]);
    diagnosis.is_without_problems();
    diagnosis.mentions(&["warning", "/pusher/ is not forwarded", "location match /pusher/ too"]);
}

#[test]
fn a_disabled_fallback_is_not_a_fault_of_the_proxy() {
    let server = Server::start(&[("CLARIM_FALLBACK", "false")]);
    let diagnosis = doctor_at(&server.url(), &[]);
    diagnosis.is_without_problems();
    diagnosis.mentions(&["ok       fallback       the HTTP fallback is disabled (FALLBACK)"]);
}

#[test]
fn requests_of_a_page_reach_several_nodes() {
    let nodes = [Server::start(&[]), Server::start(&[])];
    let both: String =
        nodes.iter().map(|node| format!("server 127.0.0.1:{};", node.port)).collect();
    let diagnose = |how: &str| {
        let beside = format!("upstream nodes {{ {how} {both} }}");
        let site = format!("location / {{ proxy_pass http://nodes; {UPGRADE} }}");
        doctor_at(&Nginx::start(&site, &beside).url(), &[])
    };
    diagnose("").mentions(&["reach different nodes", "hash by the first five"]);
    diagnose("ip_hash;").mentions(&[CONNECTED]);
}

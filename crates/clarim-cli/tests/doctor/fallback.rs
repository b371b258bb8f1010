//! Pages without WebSockets behind real proxies: lines that are held back, and requests that go astray.

use crate::support::{HaProxy, Nginx, Server, UPGRADE, doctor_at};

const CONNECTED: &str = "a page without WebSocket is connected after";

#[test]
fn nginx_buffers_only_if_it_does_not_heed_the_server() {
    let server = Server::start(&[]);
    let told = |lines: &str| {
        let pass = format!("proxy_pass http://127.0.0.1:{};", server.port);
        let site =
            format!("location / {{ {pass} {UPGRADE} }} location /pusher/ {{ {pass} {lines} }}");
        doctor_at(&Nginx::start(&site, "").url(), &[])
    };
    // The server asks nginx not to buffer, by a header of its answer.
    told("proxy_buffering on;").mentions(&[CONNECTED]);
    let ignore = "proxy_ignore_headers X-Accel-Buffering;";
    let said = told(&format!("{ignore} proxy_buffering on;"));
    said.mentions(&["warning", "buffers responses until they end", "nginx: proxy_buffering off"]);
    // WebSockets are not buffered.
    said.all_is_well();
    said.mentions(&["an event reaches 6 connections"]);
    told(&format!("{ignore} proxy_buffering off;")).mentions(&[CONNECTED]);
    // Nor does nginx wait for more of what comes in chunks, which the server sends by HTTP/1.1 alone.
    told(&format!("{ignore} proxy_buffering on; proxy_http_version 1.1;")).mentions(&[CONNECTED]);
}

#[test]
fn haproxy_waits_for_the_whole_of_an_answer() {
    let server = Server::start(&[]);
    let told = |backend: &str| {
        let timeouts = "timeout client 30s\n timeout server 30s";
        doctor_at(&HaProxy::start(server.port, timeouts, backend).url(), &[])
    };
    let waits = "http-request set-var(txn.path) path\n \
         http-response wait-for-body time 2s at-least 8000 if { var(txn.path) -m beg /pusher/ }";
    // It gives up when it has waited for so long.
    told(waits).mentions(&[
        "warning",
        "until they end: a page without WebSocket is answered with 504",
        "no http-response wait-for-body",
    ]);
    told("").mentions(&[CONNECTED]);
}

#[test]
fn pages_without_websockets_are_not_passed_on() {
    let server = Server::start(&[]);
    let site =
        format!("location ~ ^/apps?/ {{ proxy_pass http://127.0.0.1:{}; {UPGRADE} }}", server.port);
    let said = doctor_at(&Nginx::start(&site, "").url(), &[]);
    said.all_is_well();
    said.mentions(&["warning", "/pusher/ is not forwarded", "location match /pusher/ too"]);
}

#[test]
fn requests_of_a_page_come_to_several_nodes() {
    let nodes = [Server::start(&[]), Server::start(&[])];
    let both: String =
        nodes.iter().map(|node| format!("server 127.0.0.1:{};", node.port)).collect();
    let told = |how: &str| {
        let beside = format!("upstream nodes {{ {how} {both} }}");
        let site = format!("location / {{ proxy_pass http://nodes; {UPGRADE} }}");
        doctor_at(&Nginx::start(&site, &beside).url(), &[])
    };
    told("").mentions(&["reach different nodes", "hash by the path"]);
    told("ip_hash;").mentions(&[CONNECTED]);
}

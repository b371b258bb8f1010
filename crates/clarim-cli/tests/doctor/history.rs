//! Histories that are not kept, and page ids that do not reach the server.

use std::process::Command;

use clarim_testing::{free_port, nats, nats_with_jetstream, redis_with};
use tempfile::TempDir;

use crate::support::{APP, AS_APP, Diagnosis, Nginx, Server, UPGRADE, doctor};

const RULE: (&str, &str) = ("CLARIM_APP_HISTORY", "presence-orders.*:10:1m");

fn with_bus<'a>(url: &'a str, port: &'a str) -> Vec<(&'a str, &'a str)> {
    [&APP[..], &[RULE, ("CLARIM_SCALING_URL", url), ("REVERB_SERVER_PORT", port)]].concat()
}

#[test]
fn a_bus_that_keeps_no_events() {
    let server = nats(&[]);
    let url = server.url("nats");
    let port = free_port().to_string();
    let reasons = ["nats keeps no events of channels with history", "nats-server -js"];
    doctor(&[], &with_bus(&url, &port)).has(&reasons);
    // Nor does the server start.
    let directory = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_clarim"))
        .arg("start")
        .current_dir(directory.path())
        .env_clear()
        .envs(with_bus(&url, &port))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(reasons.iter().all(|reason| text.contains(reason)), "{text}");
}

#[test]
fn a_bus_that_keeps_events() {
    let folder = TempDir::new().unwrap();
    let server = nats_with_jetstream(folder.path(), &[]);
    let url = server.url("nats");
    let port = free_port().to_string();
    doctor(&[], &with_bus(&url, &port)).mentions(&["nats keeps the events of channels"]);
}

#[test]
fn a_redis_that_drops_histories() {
    let server = redis_with(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]);
    let url = server.url("redis");
    let port = free_port().to_string();
    doctor(&[], &with_bus(&url, &port)).mentions(&[
        "warning",
        "(maxmemory-policy allkeys-lru)",
        "maxmemory-policy noeviction",
    ]);
}

#[test]
fn proxies_and_page_ids() {
    for pattern in ["presence-orders.*:10:1m", "private-orders.*:10:1m"] {
        page_ids_through_proxies(("CLARIM_APP_HISTORY", pattern));
    }
}

fn page_ids_through_proxies(rule: (&str, &str)) {
    let server = Server::start(&[rule]);
    let address = format!("http://127.0.0.1:{}", server.port);
    let whole = format!("location / {{ proxy_pass {address}; {UPGRADE} }}");
    let diagnose = |more: &str| -> Diagnosis {
        let nginx = Nginx::start(&format!("{whole} {more}"), "");
        let url = nginx.url();
        doctor(&[&[&*url], &AS_APP[..]].concat(), &[&APP[..], &[rule]].concat())
    };
    let forwarded = diagnose("");
    forwarded.is_without_problems();
    forwarded.mentions(&["the id in a page's path reaches the server"]);
    let path = "location ~ ^/app/~[^/]*(/app/.*)$";
    let removed = diagnose(&format!("{path} {{ proxy_pass {address}$1$is_args$args; {UPGRADE} }}"));
    removed.mentions(&["warning", "does not reach the server", "paths that begin with /app/"]);
    let refused = diagnose(&format!("{path} {{ return 404; }}"));
    refused.mentions(&["warning", "a page with an id in its path cannot subscribe", "404"]);
}

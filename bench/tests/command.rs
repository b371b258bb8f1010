//! The command line, against the floor server.
#![expect(clippy::unwrap_used, reason = "an unexpected error fails the test")]

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use clarim_testing::free_port;

const BINARY: &str = env!("CARGO_BIN_EXE_clarim-bench");

/// Runs a load on one core, which every machine has. The figures do not matter.
fn run(server: &str, load: &[&str]) -> Output {
    Command::new(BINARY)
        .args(["run", "--json", "--client-core", "0", "--port", &free_port().to_string()])
        .args(["--command", server])
        .args(load)
        .output()
        .unwrap()
}

fn figures(load: &[&str]) -> serde_json::Value {
    let output = run(&format!("{BINARY} floor --port {{port}}"), load);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["figures"].clone()
}

#[test]
fn each_load_reports_its_figures() {
    let idle = ["idle", "--connections", "50", "--own-channels", "--seconds", "1", "--after", "1"];
    assert!(figures(&idle)["bytes per connection"].is_number());
    let open = figures(&["fanout", "--subscribers", "50", "--rate", "20", "--seconds", "1"]);
    assert!(open["CPU per delivery, µs"].is_number() && open["p99, ms"].is_number());
    let closed = figures(&["fanout", "--subscribers", "50", "--closed", "--events", "50"]);
    assert!(closed["CPU per delivery, µs"].as_f64() > Some(0.0));
    assert!(figures(&["publish", "--requests", "100"])["CPU per request, µs"].as_f64() > Some(0.0));
    assert!(figures(&["churn", "--count", "50"])["CPU per cycle, µs"].is_number());
    assert!(figures(&["batch", "--requests", "50"])["CPU per event, µs"].is_number());
    let channels = ["channels", "--channels", "100", "--connections", "10", "--seconds", "1"];
    assert!(figures(&channels)["bytes per subscription"].is_number());
    let whispers = figures(&["whispers", "--clients", "10", "--seconds", "1"]);
    assert!(whispers["CPU per delivery, µs"].is_number());
    let slow = figures(&["slow", "--subscribers", "50", "--percent", "4", "--seconds", "1"]);
    assert_eq!(slow["slow readers still open"].as_f64(), Some(2.0));
}

#[test]
fn a_server_that_exits_at_once_is_an_error() {
    let output = run("false", &["churn"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("exited at once"));
}

#[test]
fn a_server_without_an_inspector_is_an_error() {
    let load = ["watched", "--connections", "10", "--seconds", "1", "--rounds", "1"];
    let output = run(&format!("{BINARY} floor --port {{port}}"), &load);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("no inspector"), "{error}");
}

#[test]
fn the_server_is_killed_with_the_load_generator() {
    let port = free_port();
    let mut child = Command::new(BINARY)
        .args(["run", "--client-core", "0", "--port", &port.to_string()])
        .args(["--command", &format!("{BINARY} floor --port {{port}}")])
        .args(["fanout", "--subscribers", "1", "--rate", "1", "--seconds", "60"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let listens = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    let until = |what: bool| (0..200).any(|_| listens() == what || pause());
    assert!(until(true), "the server never listened");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(until(false), "the server still listens");
}

fn pause() -> bool {
    sleep(Duration::from_millis(50));
    false
}

//! The process for documents. Its other tests are in the program itself. They need the program built, and
//! Cargo builds programs for integration tests only.

use std::io::Write as _;
use std::process::{Command, Stdio};

#[test]
fn a_task_that_is_none_ends_the_process_with_an_error() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_clarim-demo"))
        .arg("document-sandbox")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(b"?").unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
}

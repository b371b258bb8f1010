//! The example, as a program.

use std::process::Stdio;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::{World, within};

#[tokio::test]
async fn listen_prints_the_events_of_a_channel() {
    listens(&World::start(), &[]).await;
}

#[tokio::test]
async fn listen_connects_with_tls_to_a_server_with_a_trusted_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (world, cert) = World::with_tls(folder.path());
    let trusted = cert.to_str().unwrap();
    listens(&world, &[("REVERB_SCHEME", "https"), ("SSL_CERT_FILE", trusted)]).await;
}

async fn listens(world: &World, more: &[(&str, &str)]) {
    let mut command = Command::new(clarim_testing::example("listen"));
    command.arg("news");
    command.envs([("REVERB_APP_KEY", "key"), ("REVERB_APP_SECRET", "secret")]);
    command.env("REVERB_PORT", world.port().to_string()).envs(more.iter().copied());
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "listening to news");
    world.publish("news", "order.shipped", &json!({ "order": 7 })).await;
    let line = within(lines.next_line()).await.unwrap().unwrap();
    assert_eq!(line, r#"order.shipped {"order":7}"#);
}

//! The unmodified crate `pusher` against a Clarim server: publishing, queries, and signatures. Usage:
//! `sdk-rust PORT SOCKET_ID`. The connection SOCKET_ID is subscribed to `news` and `presence-room`, and the
//! test checks what it receives.

use std::collections::HashMap;

use pusher::{PusherBuilder, QueryParameters};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, port, socket_id] = &args[..] else { panic!("usage: sdk-rust PORT SOCKET_ID") };
    let host = format!("127.0.0.1:{port}");
    let with_secret =
        |secret| PusherBuilder::new("123456", "reverb-key", secret).host(&host).finalize();
    let pusher = with_secret("reverb-secret");

    pusher.trigger("news", "text", "olá").await.expect("trigger");
    let data = HashMap::from([("n", 7)]);
    pusher.trigger_multi(&["news", "other"], "object", &data).await.expect("trigger_multi");
    pusher.trigger_exclusive("news", "excluded", "x", socket_id).await.expect("trigger_exclusive");
    pusher.trigger("news", "last", "x").await.expect("trigger");

    let query: QueryParameters = [("filter_by_prefix", "presence-"), ("info", "user_count")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    let list = pusher.channels_with_options(query).await.expect("channels");
    let room = list.channels.get("presence-room").expect("presence-room is occupied");
    assert_eq!(room.user_count, Some(1));
    let channel = pusher.channel("news").await.expect("channel");
    assert!(channel.occupied.unwrap_or_default());
    let users = pusher.channel_users("presence-room").await.expect("users");
    let ids: Vec<&str> = users.users.iter().map(|user| user.id.as_str()).collect();
    assert_eq!(ids, ["7"]);

    let rejected = with_secret("wrong").trigger("news", "text", "x").await;
    assert!(rejected.is_err(), "the server accepted a wrong secret");
}

//! Prints the events of a channel: `cargo run -p clarim-client --example listen -- private-orders.7`. It
//! connects to a server on this machine, with the variables `REVERB_APP_KEY`, `REVERB_APP_SECRET` (for
//! channels that are not public), `REVERB_PORT` and `REVERB_SCHEME`.
#![expect(clippy::print_stdout, reason = "the example prints events")]

use clarim_client::{Client, KeyAuthorizer, Options, Update};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name: &str| std::env::var(format!("REVERB_{name}"));
    let name = std::env::args().nth(1).ok_or("usage: listen <channel>")?;
    let port = variable("PORT").map_or(Ok(8080), |port| port.parse())?;
    let key = variable("APP_KEY")?;
    let secret = variable("APP_SECRET").unwrap_or_default();
    let authorizer = KeyAuthorizer::new(&key, secret).user("listener", json!({}));
    let tls = variable("SCHEME").is_ok_and(|scheme| scheme == "https");
    let options = Options::new(key).host("127.0.0.1", port).tls(tls).authorizer(authorizer);
    let client = Client::connect(options)?;
    let mut channel = match name.split_once('-') {
        Some(("private", rest)) => client.private(rest),
        Some(("presence", rest)) => client.join(rest),
        _ => client.channel(&name),
    };
    client.connected().await?;
    while let Some(update) = channel.next().await {
        match update {
            Update::Subscribed(_) => println!("listening to {name}"),
            Update::Joining(member) => println!("{} has come", member.id),
            Update::Leaving(member) => println!("{} has gone", member.id),
            Update::Event(event) => println!("{} {}", event.name, event.json),
            Update::Gap { reason, .. } => println!("events were missed: {reason}"),
            Update::Refused(error) => return Err(error.into()),
            Update::Missed(count) => println!("{count} updates came too fast"),
            _ => {}
        }
    }
    Ok(())
}

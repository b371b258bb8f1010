//! A demo application with chat, notifications, a live dashboard and a shared editor; see README.md.
#![expect(clippy::print_stdout, reason = "prints the address and the demo users at start")]

mod app;
mod chat;
mod dashboard;
mod database;
mod editor;
mod error;
mod limits;
mod notifications;
mod orders;
mod parts;
mod seed;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod web;

use anyhow::Result;
use clarim::types::Types;
use tracing_subscriber::EnvFilter;

use app::App;
use seed::Seed;
use session::User;
use settings::Settings;

/// The TypeScript types of the events, which `clarim-demo types FILE` writes.
fn types() -> Types {
    let types = Types::new().member::<User>().member::<session::SessionInfo>();
    editor::types(dashboard::types(notifications::types(chat::types(types))))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["types", file] => Ok(types().write(file)?),
        [editor::SANDBOX] => editor::sandbox(),
        _ => serve(),
    }
}

#[tokio::main]
async fn serve() -> Result<()> {
    dotenvy::dotenv().ok();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let app = App::open(Settings::from_env()?).await?;
    let seed = app.settings.seed;
    if seed::fill(&app.db, seed).await?
        && let Seed::Content(language) = seed
    {
        notifications::notify_all(&app, language).await?;
    }
    parts::run(app).await
}

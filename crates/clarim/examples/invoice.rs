//! A notification that is stored in a table and shown on the page at once. Start a server (`cargo run`),
//! set its `REVERB_APP_*` variables, and run `cargo run -p clarim --example invoice`. The front end listens
//! with `Echo.private('App.Models.User.7').notification(…)`. `POST /invoices/1/pay` by user 7 sends the
//! notification, and `GET /notifications` lists it. Set `DATABASE_URL` to keep notifications after the
//! example ends.
#![expect(clippy::print_stdout, reason = "the example prints its address")]

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::post;
use clarim::Clarim;
use clarim::authorization::Channels;
use clarim::notification::{Notifiable, Notification, Notifications};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The user of a request; in an application, from a session or a token.
struct User {
    id: u64,
}

impl Notifiable for User {
    fn notifiable_id(&self) -> String {
        self.id.to_string()
    }
}

fn user(parts: &Parts) -> Option<User> {
    let id = parts.headers.get("x-user")?.to_str().ok()?.parse().ok()?;
    Some(User { id })
}

#[derive(Serialize)]
struct InvoicePaid {
    invoice_id: u64,
    amount: u64,
}

impl Notification<User> for InvoicePaid {
    fn to_broadcast(&self, _: &User) -> serde_json::Result<Value> {
        let message = format!("Fatura #{} foi paga!", self.invoice_id);
        Ok(json!({ "invoice_id": self.invoice_id, "amount": self.amount, "message": message }))
    }
}

async fn pay(
    State(clarim): State<Clarim>,
    Path(invoice_id): Path<u64>,
    parts: Parts,
) -> StatusCode {
    let Some(user) = user(&parts) else { return StatusCode::UNAUTHORIZED };
    if let Err(error) = clarim.notify(&user, InvoicePaid { invoice_id, amount: 4200 }).await {
        tracing::error!(%error, "the invoice is paid, but not everybody knows");
    }
    StatusCode::OK
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let database = std::env::var("DATABASE_URL").unwrap_or_else(|_| "sqlite::memory:".to_owned());
    let table = Notifications::connect(&database).await?;
    table.migrate().await?;
    let clarim = Clarim::from_env()?.with_notifications(table.clone());
    let channels =
        Channels::new().private("App.Models.User.{id}", |user: User, id: u64| user.id == id);
    let app = Router::new()
        .route("/invoices/{invoice}/pay", post(pay))
        .merge(table.routes(|parts| user(&parts)))
        .merge(channels.routes(|parts| user(&parts), clarim.clone())?)
        .with_state(clarim);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

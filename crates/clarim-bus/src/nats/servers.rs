//! The servers of a NATS bus, and how to connect to them.

use std::future::ready;
use std::path::PathBuf;

use async_nats::{ConnectOptions, ServerAddr};
use tokio::sync::mpsc::unbounded_channel;

use super::error::NatsError;
use super::session::{CHECK_INTERVAL, NatsSession, TIMEOUT};
use crate::backend::Backend;
use crate::error::BusError;
use crate::event::EventSender;
use crate::log::{Log, LogSupport};

/// Maximum number of messages of one subject that wait in the client library.
const SUBSCRIPTION_CAPACITY: usize = 64 << 10;

/// The servers of a NATS bus.
#[derive(Clone)]
pub(crate) struct Servers {
    pub(super) addresses: Vec<ServerAddr>,
    pub(super) login: Login,
    pub(super) is_tls: bool,
    /// Path to the certificate authority to trust in place of those of the system.
    pub(super) authority: Option<PathBuf>,
}

/// How to authenticate.
#[derive(Clone)]
pub(super) enum Login {
    Anonymous,
    Password {
        user: String,
        password: String,
    },
    Token(String),
    /// The text of a credentials file: a user's JWT and key.
    Credentials(String),
}

impl Backend for Servers {
    type Session = NatsSession;

    fn kind(&self) -> &'static str {
        "nats"
    }

    async fn connect(&self, events: EventSender) -> Result<NatsSession, BusError> {
        let options = match &self.login {
            Login::Anonymous => ConnectOptions::new(),
            Login::Password { user, password } => {
                ConnectOptions::with_user_and_password(user.clone(), password.clone())
            }
            Login::Token(token) => ConnectOptions::with_token(token.clone()),
            Login::Credentials(text) => {
                ConnectOptions::with_credentials(text).map_err(NatsError::InvalidCredentials)?
            }
        };
        let (sender, client_events) = unbounded_channel();
        let options = match &self.authority {
            Some(path) => options.add_root_certificates(path.clone()),
            None => options,
        };
        let options = options
            .require_tls(self.is_tls)
            .name("clarim")
            // Nodes on the same server of a NATS cluster receive messages in a consistent order.
            .retain_servers_order()
            .connection_timeout(TIMEOUT)
            .ping_interval(CHECK_INTERVAL)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .event_callback(move |event| {
                // The session may have ended already.
                let _ = sender.send(event);
                ready(())
            });
        let client = options.connect(&self.addresses).await.map_err(BusError::backend)?;
        NatsSession::new(client, client_events, events).await
    }

    /// Nothing more than an entry in the log, which the caller appends.
    async fn check_logs(&self, _log: &Log) -> Result<LogSupport, BusError> {
        Ok(LogSupport::Kept)
    }
}

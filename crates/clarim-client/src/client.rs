//! The client.

use std::sync::Arc;

use clarim_protocol::ChannelKind;
use tokio::sync::{mpsc, oneshot, watch};

use crate::channel::Channel;
use crate::driver::Driver;
use crate::error::Error;
use crate::options::Options;
use crate::shared::{Command, Commands, Shared, Status};
use crate::state::State;
use crate::topic::Position;

/// A connection to a server, with its channels. It reconnects automatically. Clones are cheap; when the last
/// clone is dropped, the connection is closed and all its channels end.
///
/// ```no_run
/// use clarim_client::{Client, HttpAuthorizer, Options};
///
/// # async fn run() -> Result<(), clarim_client::Error> {
/// let options = Options::new("my-key")
///     .host("127.0.0.1", 8080)
///     .authorizer(HttpAuthorizer::new("http://127.0.0.1:8000/broadcasting/auth")?);
/// let client = Client::connect(options)?;
/// let mut room = client.join("room.1");
/// room.subscribed().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

impl Client {
    /// Starts to connect, in a task of the current runtime.
    ///
    /// # Errors
    /// Returns an error if the options are invalid.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn connect(options: Options) -> Result<Self, Error> {
        let url = options.url()?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let status =
            Status { state: State::Initialized, socket_id: None, refusal: None, user: None };
        let (sender, status) = watch::channel(status);
        let shared = Arc::new(Shared::new(options.namespace.clone(), options.buffer, status));
        let driver = Driver::new(options, url, shared.clone(), sender);
        tokio::spawn(driver.run(inbox));
        let client = Self { commands, shared };
        client.reconnect();
        Ok(client)
    }

    /// Connects again after [`disconnect`](Self::disconnect), or after the server has refused the client.
    pub fn reconnect(&self) {
        self.send(Command::Connect);
    }

    /// Closes the connection. Channels stay and are subscribed again after [`reconnect`](Self::reconnect).
    pub fn disconnect(&self) {
        self.send(Command::Disconnect);
    }

    /// Subscribes to a public channel.
    #[must_use]
    pub fn channel(&self, name: &str) -> Channel {
        self.open(ChannelKind::Public, name)
    }

    /// Subscribes to a private channel, by its name without prefix.
    #[must_use]
    pub fn private(&self, name: &str) -> Channel {
        self.open(ChannelKind::Private, name)
    }

    /// Subscribes to an encrypted private channel, by its name without prefix.
    #[must_use]
    pub fn encrypted_private(&self, name: &str) -> Channel {
        self.open(ChannelKind::Encrypted, name)
    }

    /// Subscribes to a presence channel, by its name without prefix.
    #[must_use]
    pub fn join(&self, name: &str) -> Channel {
        self.open(ChannelKind::Presence, name)
    }

    /// Subscribes to a channel, by its name with prefix, since a position. Events since then arrive first.
    /// The backend reads the position before the state, and sends both.
    ///
    /// ```no_run
    /// # use clarim_client::{Client, Options, Position};
    /// # let client = Client::connect(Options::new("my-key"))?;
    /// #[derive(serde::Deserialize)]
    /// struct Page {
    ///     orders: Vec<u64>,
    ///     position: Position,
    /// }
    ///
    /// # let answer = "";
    /// let page: Page = serde_json::from_str(answer).expect("the backend sends both");
    /// let orders = client.subscribe_since("private-orders", page.position)?;
    /// # Ok::<(), clarim_client::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns an error if the channel has other handles: it is subscribed already, from another position.
    pub fn subscribe_since(&self, channel: &str, position: Position) -> Result<Channel, Error> {
        let commands = Commands(self.commands.downgrade());
        let feed = self.shared.want_since(channel, position, &commands)?;
        Ok(Channel::new(feed, self.shared.clone(), commands))
    }

    /// Signs in as the authorizer's user, now and after each reconnection. Returns the user's channel, which
    /// receives events for the user on every connection.
    ///
    /// # Errors
    /// Returns an error if the application or the server refuses.
    pub async fn sign_in(&self) -> Result<Channel, Error> {
        self.send(Command::SignIn);
        let mut status = self.shared.status.clone();
        let decided = |status: &Status| status.user.is_some() || status.refusal.is_some();
        let decided = status.wait_for(decided).await.map_err(|_| Error::Dropped)?.clone();
        match (decided.user, decided.refusal) {
            (Some(user), _) => Ok(self.open(ChannelKind::User, &user?)),
            (None, refusal) => Err(refusal.unwrap_or(Error::Dropped)),
        }
    }

    /// Waits until the client is connected.
    ///
    /// # Errors
    /// Returns an error if the server has refused the client, or the client was disconnected.
    pub async fn connected(&self) -> Result<(), Error> {
        // Earlier commands must take effect first.
        let (done, is_done) = oneshot::channel();
        self.send(Command::Flush(done));
        is_done.await.map_err(|_| Error::Dropped)?;
        let mut status = self.shared.status.clone();
        let decided = |status: &Status| {
            matches!(status.state, State::Connected | State::Failed | State::Disconnected)
        };
        let decided = status.wait_for(decided).await.map_err(|_| Error::Dropped)?.clone();
        match (decided.state, decided.refusal) {
            (State::Connected, _) => Ok(()),
            (_, Some(refusal)) => Err(refusal),
            (state, None) => Err(Error::NotConnected { state }),
        }
    }

    /// The state of the connection.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Waits for another state than `known`.
    pub async fn state_after(&self, known: State) -> State {
        let mut status = self.shared.status.clone();
        match status.wait_for(|status| status.state != known).await {
            Ok(status) => status.state,
            // The client is alive, so its driver has ended with its runtime.
            Err(_) => State::Disconnected,
        }
    }

    /// The connection's id, which a backend excludes from broadcasts (`X-Socket-ID`).
    #[must_use]
    pub fn socket_id(&self) -> Option<String> {
        self.shared.status.borrow().socket_id.clone()
    }

    fn open(&self, kind: ChannelKind, name: &str) -> Channel {
        let commands = Commands(self.commands.downgrade());
        let feed = self.shared.want(&format!("{}{name}", kind.prefix()), &commands);
        Channel::new(feed, self.shared.clone(), commands)
    }

    fn send(&self, command: Command) {
        // Without a driver, whose runtime has ended, the command has no effect.
        let _ = self.commands.send(command);
    }
}

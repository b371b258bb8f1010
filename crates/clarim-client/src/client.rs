//! The client.

use std::sync::Arc;

use clarim_protocol::ChannelKind;
use tokio::sync::{mpsc, watch};

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
        let status = Status { state: State::Initialized, socket_id: None, cause: None, user: None };
        let (sender, status) = watch::channel(status);
        let shared = Arc::new(Shared::new(&options, status));
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
    /// Returns an error if the application or the server refuses, if there is no connection (as
    /// [`connected`](Self::connected)), or if the server does not answer. Without a connection, the client
    /// signs in when it is connected.
    pub async fn sign_in(&self) -> Result<Channel, Error> {
        self.send(Command::SignIn);
        self.flush().await?;
        let mut status = self.shared.status.clone();
        let user = tokio::select! {
            biased;
            decided = status.wait_for(|status| status.user.is_some()) => {
                decided.map_err(|_| Error::Dropped)?.user.clone()
            }
            error = self.shared.no_answer("the user") => return Err(error),
        };
        Ok(self.open(ChannelKind::User, &user.ok_or(Error::Dropped)??))
    }

    /// Waits until the client is connected.
    ///
    /// # Errors
    /// Returns an error if the server has refused the client, the client was disconnected, or there has been
    /// no connection for ten seconds. In the last case the client keeps trying; wait for
    /// [`state_after`](Self::state_after).
    pub async fn connected(&self) -> Result<(), Error> {
        // Earlier commands must take effect first.
        self.flush().await?;
        let mut status = self.shared.status.clone();
        tokio::select! {
            biased;
            connected = status.wait_for(|status| status.state == State::Connected) => {
                connected.map(drop).map_err(|_| Error::Dropped)
            }
            error = self.shared.down() => Err(error),
        }
    }

    /// Why there is no connection: the error of the last attempt, or of the lost connection. `None` while the
    /// client is connected, and before its first attempt has ended.
    ///
    /// ```no_run
    /// use clarim_client::{Client, Options};
    ///
    /// # async fn run() -> Result<(), clarim_client::Error> {
    /// let client = Client::connect(Options::new("my-key"))?;
    /// let mut state = client.state();
    /// loop {
    ///     state = client.state_after(state).await;
    ///     match client.cause() {
    ///         Some(cause) => println!("{state}: {cause}"),
    ///         None => println!("{state}"),
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn cause(&self) -> Option<Error> {
        self.shared.status.borrow().cause.clone()
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

    async fn flush(&self) -> Result<(), Error> {
        Commands(self.commands.downgrade()).flush().await
    }

    fn send(&self, command: Command) {
        // Without a driver, whose runtime has ended, the command has no effect.
        let _ = self.commands.send(command);
    }
}

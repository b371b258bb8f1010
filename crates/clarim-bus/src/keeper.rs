//! Keeps a connection: finds it, listens again to all that was listened to, and goes on until it breaks.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

use crate::Event;
use crate::line::{Command, Line, News, Pauses};

/// Commands that are carried out together.
const BATCH: usize = 256;

/// The next commands, in their order, as many as there are; pends when there will be none.
pub(crate) async fn next_batch(commands: &mut UnboundedReceiver<Command>) -> Vec<Command> {
    let mut batch = Vec::new();
    if commands.recv_many(&mut batch, BATCH).await == 0 {
        // The owner has gone, and ends this task.
        std::future::pending().await
    }
    batch
}

/// Where a bus is.
pub(crate) trait Place: Send + Sync + 'static {
    /// A connection to it.
    type Session: Session;

    /// Connects.
    fn open(&self, news: &News) -> impl Future<Output = Result<Self::Session, String>> + Send;
}

/// A connection, from its beginning to its end.
pub(crate) trait Session: Send {
    /// Listens to all of these; when it returns, the bus has confirmed it.
    fn listen(
        &mut self,
        subjects: Vec<Arc<str>>,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Does what is asked for, and keeps `wanted` as it should be, until the connection breaks. Why it has.
    fn run(
        self,
        commands: &mut UnboundedReceiver<Command>,
        wanted: &mut HashSet<Arc<str>>,
    ) -> impl Future<Output = String> + Send;
}

/// A connection to `place`, kept by a task.
pub(crate) fn keep(place: impl Place) -> Line {
    Line::start(|commands, news| Keeper { commands, news, wanted: HashSet::new() }.run(place))
}

struct Keeper {
    commands: UnboundedReceiver<Command>,
    news: News,
    /// The subjects to listen to.
    wanted: HashSet<Arc<str>>,
}

impl Keeper {
    async fn run(mut self, place: impl Place) {
        let mut pauses = Pauses::new();
        let mut is_told = false;
        loop {
            let news = self.news.clone();
            let reason = match self.connect(place.open(&news)).await {
                Ok(session) => {
                    (pauses, is_told) = (Pauses::new(), false);
                    self.news.tell(Event::Up);
                    session.run(&mut self.commands, &mut self.wanted).await
                }
                Err(reason) => reason,
            };
            if !is_told {
                self.news.tell(Event::Down(reason));
                is_told = true;
            }
            self.meanwhile(sleep(pauses.next())).await;
        }
    }

    /// A connection on which all that is wanted is listened to.
    async fn connect<S: Session>(
        &mut self,
        opening: impl Future<Output = Result<S, String>>,
    ) -> Result<S, String> {
        let mut session = self.meanwhile(opening).await?;
        let wanted = self.wanted.clone();
        self.meanwhile(session.listen(wanted.iter().cloned().collect())).await?;
        // What has been asked for meanwhile; that is quick.
        let more = self.wanted.difference(&wanted).cloned().collect();
        session.listen(more).await?;
        Ok(session)
    }

    /// Waits for something while there is no connection: what is published now is lost.
    async fn meanwhile<T>(&mut self, something: impl Future<Output = T>) -> T {
        tokio::pin!(something);
        loop {
            tokio::select! {
                done = &mut something => return done,
                Some(command) = self.commands.recv() => match command {
                    Command::Subscribe(subject) => {
                        self.wanted.insert(subject);
                    }
                    Command::Unsubscribe(subject) => {
                        self.wanted.remove(&subject);
                    }
                    Command::Publish(message) => drop(message),
                },
            }
        }
    }
}

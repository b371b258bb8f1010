//! Keeps a connection up: connects, subscribes again, runs the session, and starts over when it ends.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::sleep;

use crate::backend::{Backend, Session};
use crate::commands::{Commands, Wanted};
use crate::connection::Connection;
use crate::error::BusError;
use crate::event::{BusEvent, EventSender};

/// Bounds of the first pause between two attempts to connect are this and twice this, because of the jitter.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// With its jitter, the longest pause is 2 s, the shortest lease of a node: other nodes that have reconnected
/// earlier wait that long for this one.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Connects to `backend`, on the current tokio runtime.
pub(crate) fn connect<B: Backend>(backend: Arc<B>) -> Connection {
    Connection::spawn(|commands, events| Supervisor { backend, commands, events }.run())
}

struct Supervisor<B> {
    backend: Arc<B>,
    commands: Commands,
    events: EventSender,
}

impl<B: Backend> Supervisor<B> {
    async fn run(mut self) {
        let mut pauses = backoff();
        let mut is_reported = false;
        loop {
            let error = match self.connect().await {
                Ok(session) => {
                    pauses = backoff();
                    is_reported = false;
                    self.events.send(BusEvent::Connected);
                    session.run(&mut self.commands).await
                }
                Err(error) => error,
            };
            if !is_reported {
                self.events.send(BusEvent::Disconnected(error));
                is_reported = true;
            }
            let pause = pauses.next().unwrap_or(MAX_PAUSE);
            self.commands.disconnected_until(sleep(pause)).await;
        }
    }

    /// A session with every subscription in place.
    async fn connect(&mut self) -> Result<B::Session, BusError> {
        let connecting = self.backend.connect(self.events.clone());
        let mut session = self.commands.disconnected_until(connecting).await?;
        let wanted = self.commands.wanted().clone();
        self.commands.disconnected_until(restore(&mut session, wanted.clone())).await?;
        // Those that were added while the others were confirmed: few enough to be quick.
        let added = self.commands.wanted().without(&wanted);
        restore(&mut session, added).await?;
        Ok(session)
    }
}

async fn restore(session: &mut impl Session, wanted: Wanted) -> Result<(), BusError> {
    session.subscribe(wanted.subjects.into_iter().collect()).await?;
    if !wanted.logs.is_empty() {
        session.follow(wanted.logs.into_iter().collect()).await?;
    }
    Ok(())
}

/// Growing pauses with jitter, because many nodes lose a bus at the same moment.
fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(MIN_PAUSE)
        .with_max_delay(MAX_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_seconds_at_most() {
        let pauses: Vec<Duration> = backoff().take(1000).collect();
        assert!(pauses[0] >= MIN_PAUSE && pauses[0] <= MIN_PAUSE * 2, "{:?}", pauses[0]);
        assert_eq!(pauses.len(), 1000, "attempts never end");
        assert!(pauses[10..].iter().all(|pause| *pause >= MAX_PAUSE && *pause <= MAX_PAUSE * 2));
    }
}

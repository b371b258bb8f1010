//! A session with every server of the bus. It ends when one of them is lost.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Value};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::unconstrained;
use tokio::time::{MissedTickBehavior, interval};

use super::client::{connect, request};
use super::error::RedisError;
use super::log::{Scripts, log_of, stream_name};
use super::operation::{Operation, Target, perform};
use super::push::{Interruption, PushHandler};
use super::topology::Topology;
use crate::backend::Session;
use crate::commands::{Command, Commands};
use crate::error::BusError;
use crate::event::EventSender;

/// Maximum number of subjects in one command.
const SUBJECTS_PER_COMMAND: usize = 500;

/// Maximum number of commands in flight when all subjects are subscribed to again.
const MAX_IN_FLIGHT: usize = 256;

/// Time between two health checks of a server.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A connection to all servers of a bus.
pub(crate) struct RedisSession {
    topology: Topology,
    /// In the topology's order.
    connections: Vec<ServerConnections>,
    interruptions: UnboundedReceiver<Interruption>,
}

/// The connections to one server.
struct ServerConnections {
    subscriber: MultiplexedConnection,
    publisher: Target,
}

type Request = Pin<Box<dyn Future<Output = Result<(), BusError>> + Send>>;

impl RedisSession {
    /// Connects to every server of the topology.
    pub(super) async fn connect(
        topology: Topology,
        events: &EventSender,
    ) -> Result<Self, BusError> {
        let (sender, interruptions) = mpsc::unbounded_channel();
        let mut connections = Vec::new();
        for server in &topology.servers {
            let handler = PushHandler { events: events.clone(), interruptions: sender.clone() };
            let config = AsyncConnectionConfig::new().set_push_sender(move |push| {
                handler.handle(push);
                Ok::<(), ()>(())
            });
            let subscriber = connect(server, config).await?;
            let mut connection = connect(server, AsyncConnectionConfig::new()).await?;
            let scripts = Scripts::load(&mut connection).await?.into();
            let is_sharded = topology.is_sharded;
            let publisher = Target { connection, scripts, is_sharded };
            connections.push(ServerConnections { subscriber, publisher });
        }
        Ok(Self { topology, connections, interruptions })
    }
}

impl Session for RedisSession {
    async fn subscribe(&mut self, subjects: Vec<Arc<str>>) -> Result<(), BusError> {
        let requests = self.subscriptions(&subjects, true);
        let mut in_flight = futures_util::stream::iter(requests).buffer_unordered(MAX_IN_FLIGHT);
        while let Some(result) = in_flight.next().await {
            result?;
        }
        Ok(())
    }

    async fn follow(&mut self, logs: Vec<Arc<str>>) -> Result<(), BusError> {
        self.subscribe(logs.iter().map(|log| stream_name(log).into()).collect()).await
    }

    async fn run(mut self, commands: &mut Commands) -> BusError {
        let mut in_flight: FuturesUnordered<Request> = FuturesUnordered::new();
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = commands.next_batch() => {
                    for request in self.requests(batch) {
                        let started = start(request).await;
                        in_flight.push(started);
                    }
                }
                Some(result) = in_flight.next() => {
                    if let Err(error) = result {
                        return error;
                    }
                }
                Some(interruption) = self.interruptions.recv() => match interruption {
                    Interruption::Lost(error) => return error,
                    Interruption::Unsubscribed(name) => {
                        let is_wanted = match log_of(&name) {
                            Some(log) => commands.is_following(&log),
                            None => commands.is_subscribed(&name),
                        };
                        if is_wanted {
                            return RedisError::SlotMoved.into();
                        }
                    }
                },
                _ = checks.tick() => {
                    for request in self.health_checks() {
                        let started = start(request).await;
                        in_flight.push(started);
                    }
                }
            }
        }
    }
}

impl RedisSession {
    /// The requests that carry out these commands, in order.
    fn requests(&self, batch: Vec<Command>) -> Vec<Request> {
        let mut requests = Vec::new();
        let mut operations: Vec<Vec<Operation>> =
            self.connections.iter().map(|_| Vec::new()).collect();
        let mut add =
            |operation: Operation| operations[operation.server(&self.topology)].push(operation);
        // Subjects in a row that are all subscribed to, or all unsubscribed from.
        let mut row: Vec<Arc<str>> = Vec::new();
        let mut row_subscribes = true;
        for command in batch {
            let (subject, subscribes) = match command {
                Command::Publish(message) => {
                    add(Operation::Publish(message));
                    continue;
                }
                Command::Append(entry) => {
                    add(Operation::Append(entry));
                    continue;
                }
                Command::Read(read) => {
                    add(Operation::Read(read));
                    continue;
                }
                Command::Subscribe(subject) => (subject, true),
                Command::Unsubscribe(subject) => (subject, false),
                Command::Follow(log) => (stream_name(&log).into(), true),
                Command::Unfollow(log) => (stream_name(&log).into(), false),
            };
            if subscribes != row_subscribes {
                requests.extend(self.subscriptions(&mem::take(&mut row), row_subscribes));
                row_subscribes = subscribes;
            }
            row.push(subject);
        }
        requests.extend(self.subscriptions(&row, row_subscribes));
        for (server, operations) in self.connections.iter().zip(operations) {
            if !operations.is_empty() {
                requests.push(Box::pin(perform(server.publisher.clone(), operations)));
            }
        }
        requests
    }

    /// Subscribes to these subjects, or unsubscribes from them.
    fn subscriptions(&self, subjects: &[Arc<str>], subscribes: bool) -> Vec<Request> {
        if self.topology.is_sharded {
            // One command for each: the subjects of a command would have to share a slot.
            let name = if subscribes { "SSUBSCRIBE" } else { "SUNSUBSCRIBE" };
            let sharded = |subject: &Arc<str>| -> Request {
                let server = self.topology.server_of(subject);
                let mut connection = self.connections[server].subscriber.clone();
                let command = redis::cmd(name).arg(subject.as_bytes()).to_owned();
                Box::pin(async move { request(&mut connection, &command).await.map(|_| ()) })
            };
            return subjects.iter().map(sharded).collect();
        }
        let chunk = |subjects: &[Arc<str>]| -> Request {
            let mut connection = self.connections[0].subscriber.clone();
            let names: Vec<Vec<u8>> = subjects.iter().map(|name| name.as_bytes().into()).collect();
            Box::pin(async move {
                if subscribes {
                    connection.subscribe(names).await?;
                } else {
                    connection.unsubscribe(names).await?;
                }
                Ok(())
            })
        };
        subjects.chunks(SUBJECTS_PER_COMMAND).map(chunk).collect()
    }

    /// Asks each server for its role: after a failover, messages reach only the new master.
    fn health_checks(&self) -> Vec<Request> {
        let check = |connection: &MultiplexedConnection| -> Request {
            let mut connection = connection.clone();
            Box::pin(async move {
                match request(&mut connection, &redis::cmd("ROLE")).await? {
                    Value::Array(role) if !is_master(&role) => Err(RedisError::Demoted.into()),
                    _ => Ok(()),
                }
            })
        };
        let connections =
            self.connections.iter().flat_map(|c| [&c.subscriber, &c.publisher.connection]);
        connections.map(check).collect()
    }
}

/// Polls a request once, so that it is sent before any later one, and returns the rest of it.
///
/// Tokio lets a task that has done much in one turn wait at whatever it polls next. The request would then
/// not be sent, and a later one could come first.
async fn start(mut request: Request) -> Request {
    let first_poll = poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx)));
    match unconstrained(first_poll).await {
        Poll::Ready(result) => Box::pin(std::future::ready(result)),
        Poll::Pending => request,
    }
}

fn is_master(role: &[Value]) -> bool {
    match role.first() {
        Some(Value::BulkString(role)) => role == b"master",
        Some(Value::SimpleString(role)) => role == "master",
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::*;

    #[tokio::test]
    async fn requests_are_sent_in_order_by_a_task_that_has_used_up_its_turn() {
        let (sender, mut sent) = mpsc::channel(10);
        let send = |number: u32| -> Request {
            let sender = sender.clone();
            Box::pin(async move {
                sender.send(number).await.unwrap();
                std::future::pending().await
            })
        };
        while has_budget_remaining() {
            consume_budget().await;
        }
        let mut polled = send(1);
        assert!(poll_fn(|cx| Poll::Ready(polled.as_mut().poll(cx))).await.is_pending());
        assert!(sent.try_recv().is_err(), "a poll alone would not do");
        let _started = start(send(2)).await;
        assert_eq!(sent.try_recv(), Ok(2));
    }
}

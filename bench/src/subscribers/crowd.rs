//! More connections than one process may have open files: each thread has a file descriptor table of its own.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use mio::{Events, Poll};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{Resource, getrlimit};

use crate::servers::server::Target;
use crate::subscribers::clients::Clients;
use crate::wire::deliveries::Verdict;
use crate::wire::event_loop::CHANNEL;

/// File descriptors of a thread that are not clients.
const RESERVED: u64 = 500;
/// Number of connections that are made between two turns of the event loop, which answers the pings of the
/// earlier ones.
const CHUNK: usize = 64;

/// The clients of all threads.
pub(crate) struct Crowd<'a> {
    pub(crate) target: &'a Target,
    /// Whether each client has a channel of its own.
    own_channels: bool,
    pub(crate) started: Instant,
    connected: AtomicUsize,
    pub(crate) published: AtomicU64,
    pub(crate) delivered: AtomicU64,
    /// The longest time from when an event was due until a client had it, in microseconds.
    pub(crate) slowest: AtomicU64,
    over: AtomicBool,
    failure: Mutex<Option<anyhow::Error>>,
}

/// Connects clients and calls `measure` while they are connected. Fails if their deliveries are wrong, too.
pub(crate) fn gather<R>(
    target: &Target,
    connections: usize,
    own_channels: bool,
    measure: impl FnOnce(&Crowd<'_>) -> Result<R>,
) -> Result<R> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let each = usize::try_from(files.saturating_sub(RESERVED))?.min(connections).max(1);
    let crowd = Crowd {
        target,
        own_channels,
        started: Instant::now(),
        connected: AtomicUsize::new(0),
        published: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        slowest: AtomicU64::new(0),
        over: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    std::thread::scope(|scope| {
        let seats: Vec<_> = (0..connections)
            .step_by(each)
            .map(|from| {
                let range = from..(from + each).min(connections);
                let crowd = &crowd;
                scope.spawn(move || crowd.seat(range))
            })
            .collect();
        let measured = measure(&crowd);
        crowd.over.store(true, Ordering::Relaxed);
        let mut verdict = Verdict::default();
        for seat in seats {
            let seat = seat.join().map_err(|_| anyhow!("a client thread panicked"))?;
            verdict.add(seat);
        }
        let result = measured?;
        ensure!(verdict.is_clean(), "invalid measurement: {verdict}");
        Ok(result)
    })
}

impl Crowd<'_> {
    /// Connects these clients and listens until the measurement is over.
    fn seat(&self, range: Range<usize>) -> Verdict {
        self.listen(range).unwrap_or_else(|error| {
            let mut failure =
                self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            failure.get_or_insert(error);
            Verdict::default()
        })
    }

    fn listen(&self, range: Range<usize>) -> Result<Verdict> {
        unshare(CloneFlags::CLONE_FILES)
            .context("cannot create a file descriptor table for the thread")?;
        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(1024);
        let mut clients = Clients::none(range.len());
        for n in range {
            clients.add(self.target, poll.registry(), n, &self.channel(n))?;
            self.connected.fetch_add(1, Ordering::Relaxed);
            if n % CHUNK == 0 {
                self.receive(&mut poll, &mut events, &mut clients, Duration::ZERO)?;
            }
            if self.over.load(Ordering::Relaxed) {
                break;
            }
        }
        while !self.over.load(Ordering::Relaxed) {
            self.receive(&mut poll, &mut events, &mut clients, Duration::from_millis(100))?;
        }
        Ok(clients.verdict(self.published.load(Ordering::Relaxed)))
    }

    fn receive(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        clients: &mut Clients,
        wait: Duration,
    ) -> Result<()> {
        match poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result.context("poll")?,
        }
        let mut count = 0;
        let mut first_due = Duration::MAX;
        for event in &*events {
            clients.receive(event, |arrival| {
                count += 1;
                first_due = first_due.min(arrival.scheduled);
            })?;
        }
        let waited = self.started.elapsed().saturating_sub(first_due).as_micros() as u64;
        self.slowest.fetch_max(waited, Ordering::Relaxed);
        self.delivered.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    fn channel(&self, n: usize) -> Cow<'static, str> {
        if self.own_channels { format!("{CHANNEL}-{n}").into() } else { CHANNEL.into() }
    }

    /// Waits until this many clients are connected.
    pub(crate) fn wait_until_connected(
        &self,
        connections: usize,
        patience: Duration,
    ) -> Result<()> {
        let until = Instant::now() + patience;
        loop {
            self.check()?;
            let connected = self.connected.load(Ordering::Relaxed);
            if connected >= connections {
                return Ok(());
            }
            ensure!(
                Instant::now() < until,
                "only {connected} of {connections} clients connected within {patience:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fails if a thread has failed.
    pub(crate) fn check(&self) -> Result<()> {
        let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failure.take().map_or(Ok(()), Err)
    }
}

//! What is counted: work for the server, done once and then twice as much. The difference is the
//! work's own; start, connecting and end are in both.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clarim_testing::free_port;

use super::callgrind::{Cost, OPTIONS};
use crate::loads::Load;
use crate::loads::connections::Churn;
use crate::servers::peers::Peer;
use crate::servers::server::{Cores, Server};
use crate::subscribers::fanout::Fanout;

/// Where callgrind's files are left, for other programs that read them.
const FOLDER: &str = "target/instructions";
const SUBSCRIBERS: u64 = 200;
/// Events of a batch.
const BATCH: u64 = 8;
/// Bytes of an event's data.
const SIZE: usize = 128;
/// How long nothing may happen before what is missing counts as lost. The first request takes long on a
/// busy machine: valgrind translates what it has not run before.
const QUIET: Duration = Duration::from_secs(30);
/// How long a server may be busy after a load, and what counts as busy.
const REST_LIMIT: Duration = Duration::from_secs(10);
const REST_WINDOW: Duration = Duration::from_millis(50);
const REST_SHARE: u32 = 10;

/// A cost that has a budget.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) name: &'static str,
    /// The unit whose cost it is, such as a request.
    pub(crate) unit: &'static str,
    work: Work,
    /// The initial number of repetitions.
    count: u64,
    /// Units in one piece of work.
    units: u64,
    /// A guard whose cost is included in the measurement and is subtracted.
    beyond: Option<&'static Self>,
}

/// Work for the server.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Publish to one channel.
    Request { subscribers: u64, events: u64 },
    /// Connect, subscribe, close.
    Cycle,
    /// Nothing, for a second, with connections that are subscribed.
    Second,
}

const PUBLISH: Guard = Guard {
    name: "publish",
    unit: "request",
    work: Work::Request { subscribers: 0, events: 1 },
    count: 1_000,
    units: 1,
    beyond: None,
};

const PUBLISH_BATCH: Guard = Guard {
    name: "publish-batch",
    unit: "event",
    work: Work::Request { subscribers: 0, events: BATCH },
    count: 400,
    units: BATCH,
    beyond: None,
};

/// In the order of the table.
pub(crate) const GUARDS: [Guard; 6] = [
    PUBLISH,
    PUBLISH_BATCH,
    Guard {
        name: "delivery",
        unit: "delivery",
        work: Work::Request { subscribers: SUBSCRIBERS, events: 1 },
        count: 300,
        units: SUBSCRIBERS,
        beyond: Some(&PUBLISH),
    },
    Guard {
        name: "delivery-batch",
        unit: "delivery",
        work: Work::Request { subscribers: SUBSCRIBERS, events: BATCH },
        count: 100,
        units: SUBSCRIBERS * BATCH,
        beyond: Some(&PUBLISH_BATCH),
    },
    Guard { name: "churn", unit: "cycle", work: Work::Cycle, count: 800, units: 1, beyond: None },
    Guard { name: "idle", unit: "second", work: Work::Second, count: 6, units: 1, beyond: None },
];

/// Counts, and remembers what it has counted.
pub(crate) struct Counter<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) cores: Cores,
    pub(crate) counted: Vec<(&'static str, Cost)>,
}

impl Counter<'_> {
    /// The cost of one unit.
    pub(crate) fn cost(&mut self, guard: &Guard) -> Result<Cost> {
        let mut cost = self.work(guard)?;
        if let Some(other) = guard.beyond {
            cost = cost.beyond(&self.work(other)?);
        }
        Ok(cost.each(guard.units))
    }

    /// Counts this one again, when it is asked for the next time.
    pub(crate) fn forget(&mut self, guard: &Guard) {
        self.counted.retain(|(name, _)| *name != guard.name);
    }

    /// The cost of one piece of work.
    fn work(&mut self, guard: &Guard) -> Result<Cost> {
        if let Some((_, cost)) = self.counted.iter().find(|(name, _)| *name == guard.name) {
            return Ok(cost.clone());
        }
        let once = self.run(guard, "once", guard.count)?;
        let cost = self.run(guard, "twice", 2 * guard.count)?.beyond(&once).each(guard.count);
        self.counted.push((guard.name, cost.clone()));
        Ok(cost)
    }

    /// One run of the server, from its start to its end.
    fn run(&self, guard: &Guard, times: &str, count: u64) -> Result<Cost> {
        let file = Path::new(FOLDER).join(format!("{}-{times}.callgrind", guard.name));
        std::fs::create_dir_all(FOLDER).with_context(|| format!("cannot create {FOLDER}"))?;
        let valgrind = ["valgrind"].into_iter().chain(OPTIONS).map(str::to_owned);
        let file_option = format!("--callgrind-out-file={}", file.display());
        let peer = Peer {
            command: valgrind.chain([file_option]).chain(self.peer.command.clone()).collect(),
            ..self.peer.clone()
        };
        let mut server = Server::start(&peer, free_port(), self.cores)?;
        guard.work.run(&server, count).with_context(|| guard.name)?;
        wait_for_rest(&server)?;
        server.stop()?;
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("callgrind has not written {}", file.display()))?;
        Cost::parse(&text).with_context(|| format!("in {}", file.display()))
    }
}

impl Work {
    fn run(self, server: &Server, count: u64) -> Result<()> {
        let connect = |subscribers: u64| {
            Fanout::connect(&server.target, usize::try_from(subscribers)?, 1, SIZE)
        };
        match self {
            Self::Request { subscribers, events } => {
                let mut fanout = connect(subscribers)?;
                fanout.in_step(count, events, QUIET)?;
                let verdict = fanout.verdict()?;
                ensure!(verdict.is_clean(), "not a result: {verdict}");
            }
            Self::Cycle => {
                Load::Churn(Churn { count: usize::try_from(count)? }).run(server)?;
            }
            Self::Second => connect(SUBSCRIBERS)?.listen(Duration::from_secs(count))?,
        }
        Ok(())
    }
}

/// Waits until the server has noticed that its clients are gone: what it would do for them at its
/// end is something else.
fn wait_for_rest(server: &Server) -> Result<()> {
    let deadline = Instant::now() + REST_LIMIT;
    loop {
        let before = server.clock()?;
        std::thread::sleep(REST_WINDOW);
        if server.clock()?.since(&before).on_core < REST_WINDOW / REST_SHARE {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the server is still busy {REST_LIMIT:?} after the load"
        );
    }
}

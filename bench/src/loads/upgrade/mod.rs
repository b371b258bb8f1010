//! Upgrades of the running server, or of each node of a cluster in turn, under load.

mod webhooks;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::disturbed::slow::{RECEIVE_BUFFER, is_slow};
use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::Server;
use crate::simulation::engine::{ClientId, Simulation};
use crate::simulation::members::User;
use crate::wire::event_loop::CHANNEL;
use crate::wire::frames::MIN_SIZE;
use webhooks::Webhooks;

/// Events before the first upgrade, and after each one.
const EVENTS: u32 = 10;

/// Maximum number of subscriptions, and of requests, without an answer.
const AT_ONCE: u64 = 100;

/// The channel of the slow readers.
const BACKLOG: &str = "backlog";

/// Bytes that the kernel takes for a client that reads nothing, at most.
const KERNEL_BYTES: usize = 256 << 10;

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Upgrade {
    #[arg(long, default_value_t = 20_000)]
    pub(crate) connections: usize,
    /// Number of upgrades, one after the other.
    #[arg(long, default_value_t = 10)]
    pub(crate) upgrades: usize,
    /// Events per second.
    #[arg(long, default_value_t = 10)]
    pub(crate) rate: u32,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// Members of each presence channel. 0: the clients are not on presence channels.
    #[arg(long, default_value_t = 0)]
    pub(crate) members: usize,
    /// Percentage of clients that read nothing from before an upgrade until after it.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) slow: f64,
    /// Bytes in the send queue of each of them.
    #[arg(long, default_value_t = 512 << 10)]
    pub(crate) queued: usize,
    /// Port on which webhooks are expected. The server must send them to http://127.0.0.1:PORT/.
    #[arg(long)]
    pub(crate) webhooks: Option<u16>,
}

impl Upgrade {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        ensure!(self.size >= MIN_SIZE, "--size must be at least {MIN_SIZE}");
        let webhooks = self.webhooks.map(Webhooks::listen).transpose()?;
        let mut load = Load::connect(self, server)?;
        if let Some(webhooks) = &webhooks {
            let all = self.lifecycle_events();
            webhooks.wait(all, |time| load.simulation.listen(time))?;
        }
        let report = load.upgrade(server)?;
        if let Some(webhooks) = &webhooks {
            let all = self.lifecycle_events() + self.upgrades;
            webhooks.wait(all, |time| load.simulation.listen(time))?;
        }
        Ok(report)
    }

    /// Number of webhook events of the clients at the beginning.
    fn lifecycle_events(&self) -> usize {
        let slow = usize::from((0..self.connections).any(|n| is_slow(n, self.slow)));
        match self.members {
            0 => 1 + slow,
            members => 1 + slow + self.connections.div_ceil(members) + self.connections,
        }
    }
}

/// The clients, and the publisher of events at a fixed rate.
struct Load<'a> {
    options: &'a Upgrade,
    simulation: Simulation,
    slow: Vec<ClientId>,
    published: u32,
}

impl<'a> Load<'a> {
    fn connect(options: &'a Upgrade, server: &Server) -> Result<Self> {
        let mut simulation = Simulation::new(&server.target, 1, 2, options.size)?;
        let mut slow = Vec::new();
        let mut subscriptions = 0;
        for n in 0..options.connections {
            simulation.until(|c| subscriptions - c.joined < AT_ONCE)?;
            simulation.aim_at(&server.node(n).target);
            let is_slow = is_slow(n, options.slow);
            let client = simulation.open(is_slow.then_some(RECEIVE_BUFFER))?;
            simulation.join(client, CHANNEL.to_owned(), None, vec![0])?;
            if is_slow {
                simulation.join(client, BACKLOG.to_owned(), None, vec![1])?;
                slow.push(client);
            }
            if let Some(room) = n.checked_div(options.members) {
                let user = User::try_from(n % options.members)?;
                simulation.join(client, room_name(room), Some(user), Vec::new())?;
            }
            subscriptions += 1 + u64::from(is_slow) + u64::from(options.members > 0);
        }
        let mut load = Self { options, simulation, slow, published: 0 };
        load.settle()?;
        Ok(load)
    }

    /// Upgrades the nodes in turn, and reports how long that took.
    fn upgrade(&mut self, server: &Server) -> Result<Report> {
        self.begin();
        self.publish_some()?;
        let undisturbed = self.slowest();
        // Slow readers take memory, with and without upgrades.
        self.stall()?;
        self.resume()?;
        std::thread::sleep(Duration::from_secs(2));
        let memory = server.memory()?;
        let anonymous = server.anonymous_memory()?;
        let member_events = self.simulation.counts.members;
        let start = Start::now(server)?;
        let mut pauses = Vec::new();
        let mut slowest = 0.0_f64;
        for n in 0..self.options.upgrades {
            self.stall()?;
            self.begin();
            if self.options.webhooks.is_some() {
                self.subscribe_newcomer(n)?;
            }
            let mut restart = restart(server.node(n))?;
            while restart.try_wait()?.is_none() {
                self.publish()?;
            }
            pauses.push(pause(restart)?);
            self.publish_some()?;
            slowest = slowest.max(self.slowest());
            self.resume()?;
        }
        let phase = start.phase(server)?;
        let mut report = phase.judge(self.simulation.verdict()?, Pace::Open)?;
        let changes = self.simulation.counts.members - member_events;
        ensure!(changes == 0, "invalid measurement: {changes} member events");
        report_pauses(&mut pauses, &mut report);
        report.set("slowest delivery, ms", slowest);
        report.set("slowest delivery before, ms", undisturbed);
        report.set("memory before, MB", memory as f64 / 1e6);
        std::thread::sleep(Duration::from_secs(2));
        report.set("memory after, MB", server.memory()? as f64 / 1e6);
        // Without the program's code, of which an upgrade uses more.
        report.set("anonymous memory before, MB", anonymous as f64 / 1e6);
        report.set("anonymous memory after, MB", server.anonymous_memory()? as f64 / 1e6);
        Ok(report)
    }

    /// Starts the clock of the events.
    fn begin(&mut self) {
        self.simulation.restart();
        self.published = 0;
    }

    /// Publishes the next event when it is due.
    fn publish(&mut self) -> Result<()> {
        let due = Duration::from_secs(1) * self.published / self.options.rate.max(1);
        self.published += 1;
        self.simulation.wait_until(due)?;
        self.simulation.publish(0, CHANNEL, due)
    }

    fn publish_some(&mut self) -> Result<()> {
        (0..EVENTS).try_for_each(|_| self.publish())?;
        let asked = self.simulation.counts.asked;
        self.simulation.until(|c| c.answered == asked)
    }

    /// The longest time from when an event was due until a client had it, in milliseconds.
    fn slowest(&self) -> f64 {
        self.simulation.latency.max() as f64 / 1e3
    }

    /// The slow readers stop reading, and get events until their send queues are as full as they should be.
    fn stall(&mut self) -> Result<()> {
        if self.slow.is_empty() {
            return Ok(());
        }
        for client in &self.slow {
            self.simulation.stall(*client);
        }
        for _ in 0..(KERNEL_BYTES + self.options.queued) / self.options.size {
            self.simulation.until(|c| c.asked - c.answered < AT_ONCE)?;
            self.simulation.publish(1, BACKLOG, self.simulation.now())?;
        }
        let asked = self.simulation.counts.asked;
        self.simulation.until(|c| c.answered == asked)
    }

    /// The slow readers read again, and get everything.
    fn resume(&mut self) -> Result<()> {
        for client in &self.slow {
            self.simulation.resume(*client)?;
        }
        self.settle()
    }

    /// Subscribes a client to a channel of its own, which the server reports at the time of the upgrade.
    fn subscribe_newcomer(&mut self, n: usize) -> Result<()> {
        let client = self.simulation.open(None)?;
        self.simulation.join(client, format!("new-{n}"), None, Vec::new())
    }

    /// Waits until all clients have everything.
    fn settle(&mut self) -> Result<()> {
        let options = self.options;
        let users: Vec<User> = (0..User::try_from(options.members)?).collect();
        let truth = |name: &str| {
            let room: usize = name.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            let after = (room + 1) * options.members;
            &users
                [..options.members - after.saturating_sub(options.connections).min(options.members)]
        };
        let is_right = |simulation: &Simulation| simulation.wrong_lists(truth) == 0;
        let is_complete = self.simulation.settle_when(is_right)?;
        let wrong = self.simulation.wrong_lists(truth);
        ensure!(
            is_complete,
            "invalid measurement: events are missing, or {wrong} wrong member lists"
        );
        Ok(())
    }
}

fn room_name(room: usize) -> String {
    format!("presence-{room:06}")
}

/// Runs `clarim restart` of the server's own program.
pub(super) fn restart(server: &Server) -> Result<Child> {
    let program = fs::read_link(format!("/proc/{}/exe", server.id()))?;
    Command::new(&program)
        .args(["restart", "--port", &server.target.port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))
}

/// The pause that a restart has reported, in milliseconds.
pub(super) fn pause(restart: Child) -> Result<u64> {
    let output = restart.wait_with_output()?;
    ensure!(output.status.success(), "invalid measurement: a restart has failed");
    let text = String::from_utf8(output.stdout)?;
    let pause = text.split("pause: ").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(pause.context("the restart reports no pause")?.parse()?)
}

/// Reports the pauses of all upgrades, in milliseconds.
pub(super) fn report_pauses(pauses: &mut [u64], report: &mut Report) {
    pauses.sort_unstable();
    let Some(last) = pauses.last() else { return };
    report.set("pause, at least, ms", pauses[0] as f64);
    report.set("pause, median, ms", pauses[pauses.len() / 2] as f64);
    report.set("pause, at most, ms", *last as f64);
}

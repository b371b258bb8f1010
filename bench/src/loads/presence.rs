//! A storm on one presence channel: all members join, leave and reconnect at once.

use anyhow::{Result, ensure};
use clap::Args;

use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::{Server, Target};
use crate::simulation::engine::{ClientId, Simulation};
use crate::simulation::members::User;

const CHANNEL: &str = "presence-bench";

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Presence {
    #[arg(long, default_value_t = 1_000)]
    pub(crate) connections: usize,
    /// Handshakes in flight when all members reconnect.
    #[arg(long, default_value_t = 100)]
    pub(crate) at_once: usize,
}

impl Presence {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        let (mut simulation, clients) = self.connect(&server.target)?;
        let start = Start::now(server)?;
        self.join(&mut simulation, &clients)?;
        let joining = start.phase(server)?;
        let member_events = simulation.counts.members;
        let start = Start::now(server)?;
        simulation.drop_all();
        self.reconnect(&mut simulation)?;
        let returning = start.phase(server)?;

        let mut report = joining.judge(simulation.verdict()?, Pace::Closed)?;
        let count = self.connections as u64;
        report.set("joining, CPU per join, µs", joining.each(count));
        report.set("joining, CPU per member event, µs", joining.each(member_events.max(1)));
        report.set("joining, ms", joining.wall.as_secs_f64() * 1e3);
        report.set("coming back, CPU per connection, µs", returning.each(count));
        report.set("coming back, ms", returning.wall.as_secs_f64() * 1e3);
        report.mark_repeated_members(simulation.repeated_members());
        Ok(report)
    }

    pub(crate) fn connect(&self, target: &Target) -> Result<(Simulation, Vec<ClientId>)> {
        ensure!(self.connections > 0, "--connections must be at least 1");
        ensure!(self.at_once > 0, "--at-once must be at least 1");
        let mut simulation = Simulation::new(target, 0, 0, 128)?;
        let mut clients = Vec::with_capacity(self.connections);
        for n in 0..self.connections as u64 {
            simulation.until(|c| n - c.connected < self.at_once as u64)?;
            clients.push(simulation.open(None)?);
        }
        simulation.until(|c| c.connected == self.connections as u64)?;
        Ok((simulation, clients))
    }

    pub(crate) fn join(&self, simulation: &mut Simulation, clients: &[ClientId]) -> Result<()> {
        for (user, client) in clients.iter().enumerate() {
            simulation.join(
                *client,
                CHANNEL.to_owned(),
                Some(User::try_from(user)?),
                Vec::new(),
            )?;
        }
        self.check(simulation)
    }

    pub(crate) fn reconnect(&self, simulation: &mut Simulation) -> Result<()> {
        let before = simulation.counts.joined;
        for user in 0..self.connections as u64 {
            simulation.until(|c| before + user - c.joined < self.at_once as u64)?;
            let client = simulation.open(None)?;
            simulation.join(client, CHANNEL.to_owned(), Some(User::try_from(user)?), Vec::new())?;
        }
        self.check(simulation)
    }

    /// Waits until all members are subscribed and have the full member list.
    fn check(&self, simulation: &mut Simulation) -> Result<()> {
        let users: Vec<User> = (0..User::try_from(self.connections)?).collect();
        let wrong = |simulation: &Simulation| simulation.wrong_lists(|_| &users);
        let all_in = simulation.settle_when(|simulation| wrong(simulation) == 0)?;
        ensure!(all_in, "invalid measurement: {} member lists are wrong", wrong(simulation));
        Ok(())
    }
}

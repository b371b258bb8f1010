//! A storm on one presence channel: all join, all leave, all come back.

use anyhow::{Result, ensure};
use clap::Args;

use crate::members::User;
use crate::report::{Pace, Report, Start};
use crate::server::{Server, Target};
use crate::stage::{Stage, Ticket};

const CHANNEL: &str = "presence-bench";

/// The load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Presence {
    #[arg(long, default_value_t = 1_000)]
    pub(crate) connections: usize,
    /// Handshakes at a time, when all come back.
    #[arg(long, default_value_t = 100)]
    pub(crate) at_once: usize,
}

impl Presence {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        let (mut stage, tickets) = self.connect(&server.target)?;
        let start = Start::now(server)?;
        self.join(&mut stage, &tickets)?;
        let joining = start.phase(server)?;
        let told = stage.counts.members;
        let start = Start::now(server)?;
        stage.drop_all();
        self.come_back(&mut stage)?;
        let returning = start.phase(server)?;

        let mut report = joining.judge(stage.verdict()?, Pace::Closed)?;
        let count = self.connections as u64;
        report.set("joining, CPU per join, µs", joining.each(count));
        report.set("joining, CPU per member event, µs", joining.each(told.max(1)));
        report.set("joining, ms", joining.wall.as_secs_f64() * 1e3);
        report.set("coming back, CPU per connection, µs", returning.each(count));
        report.set("coming back, ms", returning.wall.as_secs_f64() * 1e3);
        report.mark_told_again(&stage);
        Ok(report)
    }

    pub(crate) fn connect(&self, target: &Target) -> Result<(Stage, Vec<Ticket>)> {
        ensure!(self.connections > 0 && self.at_once > 0, "at least one connection is needed");
        let mut stage = Stage::new(target, 0, 0, 128)?;
        let mut tickets = Vec::with_capacity(self.connections);
        for n in 0..self.connections as u64 {
            stage.until(|c| n - c.connected < self.at_once as u64)?;
            tickets.push(stage.open(None)?);
        }
        stage.until(|c| c.connected == self.connections as u64)?;
        Ok((stage, tickets))
    }

    pub(crate) fn join(&self, stage: &mut Stage, tickets: &[Ticket]) -> Result<()> {
        for (user, ticket) in tickets.iter().enumerate() {
            stage.join(*ticket, CHANNEL.to_owned(), Some(User::try_from(user)?), Vec::new())?;
        }
        self.check(stage)
    }

    pub(crate) fn come_back(&self, stage: &mut Stage) -> Result<()> {
        let before = stage.counts.joined;
        for user in 0..self.connections as u64 {
            stage.until(|c| before + user - c.joined < self.at_once as u64)?;
            let ticket = stage.open(None)?;
            stage.join(ticket, CHANNEL.to_owned(), Some(User::try_from(user)?), Vec::new())?;
        }
        self.check(stage)
    }

    /// All are in, and all know all.
    fn check(&self, stage: &mut Stage) -> Result<()> {
        let users: Vec<User> = (0..User::try_from(self.connections)?).collect();
        let wrong = |stage: &Stage| stage.wrong_lists(|_| &users);
        let all_in = stage.settle_when(|stage| wrong(stage) == 0)?;
        ensure!(all_in, "not a result: {} member lists are wrong", wrong(stage));
        Ok(())
    }
}

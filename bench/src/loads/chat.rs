//! Chat rooms with messages, typing notices, joins and leaves.

use anyhow::{Result, ensure};
use clap::Args;

use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::{Server, Target};
use crate::simulation::engine::Simulation;
use crate::simulation::rooms::Rooms;
use crate::simulation::schedule::Schedule;
use crate::wire::frames::MIN_SIZE;

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Chat {
    #[arg(long, default_value_t = 50)]
    pub(crate) rooms: usize,
    /// Members of each room.
    #[arg(long, default_value_t = 20)]
    pub(crate) members: usize,
    /// Messages per second in all rooms together, published over the HTTP API.
    #[arg(long, default_value_t = 100.0)]
    pub(crate) messages: f64,
    /// Client events per second in all rooms together, such as typing notices.
    #[arg(long, default_value_t = 200.0)]
    pub(crate) whispers: f64,
    /// Leaves and joins per second in all rooms together.
    #[arg(long, default_value_t = 40.0)]
    pub(crate) changes: f64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u32,
}

impl Chat {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        let (mut simulation, mut rooms) = self.connect(&server.target)?;
        let member_events = simulation.counts.members;
        let start = Start::now(server)?;
        self.simulate(&mut simulation, &mut rooms)?;
        let phase = start.phase(server)?;
        let deliveries = simulation.counts.delivered + simulation.counts.members - member_events;
        let mut report = phase.judge(simulation.verdict()?, Pace::Open)?;
        report.set("CPU, % of a core", phase.share(phase.server.on_core) * 100.0);
        report.set("CPU per delivery, µs", phase.each(deliveries));
        report.set("deliveries", deliveries as f64);
        report.set_latency(&simulation.latency, simulation.late);
        report.mark_repeated_members(simulation.repeated_members());
        Ok(report)
    }

    pub(crate) fn connect(&self, target: &Target) -> Result<(Simulation, Rooms)> {
        ensure!(
            self.rooms > 0 && self.members > 1,
            "--rooms must be at least 1 and --members at least 2"
        );
        ensure!(self.size >= MIN_SIZE, "--size must be at least {MIN_SIZE}");
        let mut rooms = Rooms::new(self.rooms, self.members, true);
        let mut simulation = Simulation::new(target, 1, rooms.streams(), self.size)?;
        rooms.fill(&mut simulation)?;
        Ok((simulation, rooms))
    }

    pub(crate) fn simulate(&self, simulation: &mut Simulation, rooms: &mut Rooms) -> Result<()> {
        simulation.restart();
        let mut counts = [0; 3];
        for (what, due) in
            Schedule::new(self.seconds, &[self.messages, self.whispers, self.changes])
        {
            simulation.wait_until(due)?;
            let n = counts[what];
            counts[what] += 1;
            match what {
                0 => rooms.message(simulation, n, due)?,
                // A stride, so that neighbours do not always talk one after the other.
                1 => rooms.whisper(simulation, n * 7, due)?,
                _ => rooms.change(simulation, n)?,
            }
        }
        rooms.settle(simulation)
    }
}
